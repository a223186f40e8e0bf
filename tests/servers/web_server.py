"""The application on a real port, for what a test transport cannot show: answers that never end."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec
import uvicorn

from control_plane.http.wire import BoundedProtocol
from tests.api import Api
from tests.waiting import until


@asynccontextmanager
async def served(api: Api, http: type[BoundedProtocol] = BoundedProtocol) -> AsyncIterator[str]:
    """Serve the running application by uvicorn as well; gives its base URL."""
    transport = api.client._transport
    assert isinstance(transport, httpx.ASGITransport)
    config = uvicorn.Config(
        transport.app,
        host="127.0.0.1",
        port=0,
        http=http,
        lifespan="off",
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    await until(lambda: server.started, what="the server listens")
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = server.force_exit = True
        await task


class Told(msgspec.Struct, frozen=True):
    """One server-sent event."""

    kind: str
    id: str | None
    event_id: str | None


class Stream:
    """A client of the live stream."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines

    async def next(self) -> Told:
        """The next event, comments passed over. Raises StopAsyncIteration where the stream has ended."""
        identity: str | None = None
        data: dict[str, Any] | None = None
        async with asyncio.timeout(10):
            while True:
                line = await anext(self._lines)
                if line.startswith("id: "):
                    identity = line.removeprefix("id: ")
                elif line.startswith("data: "):
                    data = json.loads(line.removeprefix("data: "))
                elif not line and data is not None:
                    return Told(data["kind"], data["id"], identity)

    async def until(self, kind: str, identity: str | None) -> Told:
        """The first event about one thing; everything else before it is passed over."""
        while True:
            told = await self.next()
            if (told.kind, told.id) == (kind, identity):
                return told


@asynccontextmanager
async def following(url: str, token: str, last_event_id: str | None = None) -> AsyncIterator[Stream]:
    """The stream of the tenant that ``token`` belongs to, open before the block begins."""
    headers = {"Authorization": f"Bearer {token}"}
    if last_event_id is not None:
        headers["Last-Event-ID"] = last_event_id
    async with (
        httpx.AsyncClient(base_url=url, timeout=None) as client,
        client.stream("GET", "/api/v1/events", headers=headers) as answer,
    ):
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        async with asyncio.timeout(10):
            first = await anext(lines)
        assert first == ": following"
        yield Stream(lines)
