"""The baseline: aiohttp on uvloop making the same requests as the poller, and nothing else: `-m tests.bench.bare`.

It reads one line of JSON: `bots`, each a list of `[url, share]` (how many calls of it a check makes, on average), the
`token`, how many checks a `rate` second, the `tick` of its clock in seconds, and what each answer must hold. For each
further line it tells how many checks it has made, and how many went wrong.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
from typing import Any

import aiohttp
import msgspec
import uvloop


class _Answer(msgspec.Struct):
    """Enough of every answer that something is decoded."""

    status: str | None = None
    trading_state: str | None = None
    equity: str | None = None


class Loop:
    """Checks that are due at each tick begin together; those of a check follow each other."""

    def __init__(self, wanted: dict[str, Any], session: aiohttp.ClientSession) -> None:
        self._session = session
        self._headers = {"Authorization": f"Bearer {wanted['token']}"}
        self._bots: list[list[list[Any]]] = [
            [[url, share, number * 0.618 % 1.0] for url, share in calls] for number, calls in enumerate(wanted["bots"])
        ]
        self._rate: float = wanted["rate"]
        self._tick: float = wanted["tick"]
        self._holds = wanted["holds"].encode()
        self._decode = msgspec.json.Decoder(_Answer).decode if wanted["json"] else None
        self._tasks: set[asyncio.Task[None]] = set()
        self.made = 0
        self.wrong = 0

    async def run(self, ended: asyncio.Event) -> None:
        """Until it has ended."""
        loop = asyncio.get_running_loop()
        began, begun = loop.time(), 0

        def turn() -> None:
            nonlocal begun
            due = int((loop.time() - began) * self._rate)
            for number in range(begun, due):
                task = loop.create_task(self._check(self._bots[number % len(self._bots)]))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            begun = due
            if not ended.is_set():
                loop.call_later(self._tick, turn)

        turn()
        await ended.wait()

    async def _check(self, calls: list[list[Any]]) -> None:
        try:
            for call in calls:
                call[2] += call[1]
                while call[2] >= 1.0:
                    call[2] -= 1.0
                    await self._call(call[0])
            self.made += 1
        except (aiohttp.ClientError, TimeoutError, ValueError):
            self.wrong += 1

    async def _call(self, url: str) -> None:
        async with self._session.get(url, headers=self._headers, allow_redirects=False) as answer:
            body = await answer.read()
            if answer.status != 200 or self._holds not in body:
                raise ValueError
            if self._decode is not None:
                self._decode(body)


async def _main(wanted: dict[str, Any]) -> None:
    ended = asyncio.Event()
    running = asyncio.get_running_loop()
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=150)
    timeout = aiohttp.ClientTimeout(total=10)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:
        loop = Loop(wanted, session)

        def tell() -> None:
            for _ in sys.stdin:
                print(json.dumps({"made": loop.made, "wrong": loop.wrong}), flush=True)
            running.call_soon_threadsafe(ended.set)

        threading.Thread(target=tell, daemon=True).start()
        await loop.run(ended)


if __name__ == "__main__":
    uvloop.run(_main(json.loads(sys.stdin.readline())))
