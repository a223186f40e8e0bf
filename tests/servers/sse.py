"""A client of server-sent events that have names, over a real connection."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import msgspec


class Event(msgspec.Struct, frozen=True):
    """One server-sent event."""

    name: str
    data: dict[str, Any]
    id: str | None


class Events:
    """A stream that is read event by event."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.seen: list[Event] = []

    async def next(self, deadline_s: float = 20.0) -> Event:
        """The next event, comments passed over. Raises StopAsyncIteration where the stream has ended."""
        name, data, identity = "message", "", None
        async with asyncio.timeout(deadline_s):
            while True:
                line = await anext(self._lines)
                if line.startswith("event: "):
                    name = line.removeprefix("event: ")
                elif line.startswith("data: "):
                    data += line.removeprefix("data: ")
                elif line.startswith("id: "):
                    identity = line.removeprefix("id: ")
                elif not line and data:
                    event = Event(name, json.loads(data), identity)
                    self.seen.append(event)
                    return event

    async def until(self, holds: Callable[[Event], Any], deadline_s: float = 30.0) -> Event:
        """The first event that is as wanted; those before it are in `seen`."""
        async with asyncio.timeout(deadline_s):
            while not holds(event := await self.next(deadline_s)):
                pass
        return event

    async def lines(self, count: int, deadline_s: float = 30.0) -> list[dict[str, Any]]:
        """Wait until so many lines have come; all of them so far."""
        try:
            async with asyncio.timeout(deadline_s):
                while len(self.told) < count:
                    await self.next(deadline_s)
        except TimeoutError:
            events = [event.name for event in self.seen]
            raise AssertionError(f"{len(self.told)} lines in {deadline_s:g} s instead of {count}: {events}") from None
        return self.told

    @property
    def told(self) -> list[dict[str, Any]]:
        """Every log line so far."""
        return [line for event in self.seen if event.name == "lines" for line in event.data["lines"]]

    @property
    def position(self) -> str | None:
        """Where to go on."""
        return next((event.id for event in reversed(self.seen) if event.id is not None), None)


@asynccontextmanager
async def events_of(url: str, path: str, token: str, last_event_id: str | None = None) -> AsyncIterator[Events]:
    """The stream at ``path`` below /api/v1, open before the block begins."""
    headers = {"Authorization": f"Bearer {token}"}
    if last_event_id is not None:
        headers["Last-Event-ID"] = last_event_id
    async with (
        httpx.AsyncClient(base_url=url, timeout=None) as client,
        client.stream("GET", f"/api/v1{path}", headers=headers) as answer,
    ):
        assert answer.status_code == 200, await answer.aread()
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.aiter_lines()
        async with asyncio.timeout(10):
            assert await anext(lines) == ": following"
        yield Events(lines)
