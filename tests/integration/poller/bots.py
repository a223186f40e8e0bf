"""Bots for the poller to look at, beyond the contract servers: one that hangs, and the hosted program itself."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from uuid_utils.compat import uuid7

from tests.factories import Owner
from tests.servers.bot_server import BotServer
from tests.servers.loopback import Reply, Request


class HangingBot(BotServer):
    """Takes every call and answers none until ``answering`` is set."""

    def __init__(self, *, token: str, host: str = "127.0.0.1") -> None:
        super().__init__(token=token)
        self.host = host
        self.answering = asyncio.Event()

    async def handle(self, request: Request) -> Reply:
        await self.answering.wait()
        return await super().handle(request)


class PaperBot:
    """The hosted program as a process of this machine, listening on loopback."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self.process = process
        self.port = port

    async def kill(self) -> None:
        """End it as a crash would."""
        self.process.kill()
        await self.process.wait()


@asynccontextmanager
async def paper_bot(folder: Path, *, token: str, port: int = 0) -> AsyncIterator[PaperBot]:
    """Start the program as a container would be started: one document on standard input."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "agents.paper_bot",
        stdin=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(_document(folder, token, port)).encode() + b"\n")
        await process.stdin.drain()
        yield PaperBot(process, await asyncio.wait_for(_port_of(process), 20))
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


def _document(folder: Path, token: str, port: int) -> dict[str, Any]:
    return {
        "bot_id": "paper-1",
        "token": token,
        "listen": {"host": "127.0.0.1", "port": port},
        "data_dir": str(folder),
        "cash_flows": [{"id": "first", "amount": "5000", "at": "2026-01-01T00:00:00Z"}],
        "config": {
            "currency": "USDT",
            "strategy": {"type": "dca", "symbol": "BTC/USDT"},
            "market": {"kind": "seeded", "seed": 7, "interval_seconds": 0.05, "start_price": "50000"},
        },
    }


async def _port_of(process: asyncio.subprocess.Process) -> int:
    assert process.stderr is not None
    while line := await process.stderr.readline():
        told = json.loads(line)
        if told["event"] == "listening":
            return int(told["port"])
    raise AssertionError("the paper bot ended before it listened")


async def launched(admin: asyncpg.Connection, owner: Owner, bot: UUID, *, port: int, generation: int) -> UUID:
    """The row that the launcher writes of a container that runs, in the two steps in which it writes it."""
    instance = uuid7()
    await admin.execute(
        "insert into bot_instances (id, tenant_id, bot_id, generation, runtime, image, host_port, started_at)"
        " values ($1, $2, $3, $4, 'docker', 'tradewise/paper-bot:latest', $5, now())",
        instance,
        owner.tenant_id,
        bot,
        generation,
        port,
    )
    await admin.execute("update bot_instances set state = 'running' where id = $1", instance)
    return instance
