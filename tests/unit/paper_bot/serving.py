"""A served bot for tests: the real server and routes on a real socket, with the clock in the test's hands."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agents.paper_bot.bot import Bot
from agents.paper_bot.routes import Api
from agents.paper_bot.server import Server
from tests.unit.paper_bot.support import SECOND, START, TOKEN, config_of, deposit, handover, seeded

AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


@dataclass(frozen=True)
class Answer:
    """One answer as it came."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def document(self) -> dict[str, Any]:
        """The body as JSON."""
        read: dict[str, Any] = json.loads(self.body)
        return read


@dataclass
class Served:
    """A bot behind its server."""

    bot: Bot
    port: int

    def run(self, ticks: int) -> None:
        """Let as many seconds go by."""
        for _ in range(ticks):
            self.bot.make_due_ticks(START + (self.bot.trader.tick_count + 1) * SECOND)

    async def ask(self, path: str, method: str = "GET", headers: dict[str, str] | None = None) -> Answer:
        """One well-formed request on a connection of its own."""
        sent = {"Host": "bot", "Connection": "close", **(AUTHORIZED if headers is None else headers)}
        lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in sent.items())]
        return parsed(await self.send(("\r\n".join(lines) + "\r\n\r\n").encode()), with_body=method != "HEAD")

    async def send(self, raw: bytes, *, end: bool = False) -> bytes:
        """Send bytes and read until the server closes the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(raw)
            if end:
                writer.write_eof()
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()


def parsed(raw: bytes, *, with_body: bool = True) -> Answer:
    """Take one answer apart, checking its length."""
    head, _, body = raw.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert len(body) == (int(headers["content-length"]) if with_body else 0)
    return Answer(int(status.split(" ")[1]), headers, body)


@asynccontextmanager
async def serving(data_dir: Path, *, request_seconds: float = 10, **changes: Any) -> AsyncIterator[Served]:
    """Serve a grid bot with a deposit and a withdrawal that was refused."""
    strategy: dict[str, object] = {"type": "grid", "span": "0.05", "levels": 20}
    flows = [deposit("10000"), deposit("-20000", "too-much")]
    document = handover(strategy, seeded(), data_dir=data_dir, flows=flows, **changes)
    bot = Bot(config_of(document), START)
    server = Server(Api(bot), request_seconds=request_seconds)
    port = await server.start("127.0.0.1", 0)
    try:
        yield Served(bot, port)
    finally:
        await server.stop()
        bot.close()
