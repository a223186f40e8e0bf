"""A wire to the real engine that a test can make lie: some requests get another answer than the engine's, or none."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.integration.launcher.wire import Wire

#: A listing of no container at all.
EMPTY_LISTING: Final = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n[]\n"

#: What a request, by its first line, is answered: None is the engine's own answer, no bytes are none at all.
Answers = Callable[[str], bytes | None]


class LyingWire(Wire):
    """Carries every connection, and looks at the first line of each request: clients send one at a time."""

    def __init__(self, path: Path, engine_url: str) -> None:
        super().__init__(path, engine_url)
        self.answer: Answers = lambda _line: None
        self.asked: list[str] = []

    async def _ask(self, source: asyncio.StreamReader, far: asyncio.StreamWriter, back: asyncio.StreamWriter) -> None:
        while chunk := await source.read(65536):
            line = chunk.split(b"\r\n", 1)[0].decode("latin-1")
            if " HTTP/1.1" in line:
                self.asked.append(line)
                told = self.answer(line)
                if told is not None:
                    back.write(told)
                    await back.drain()
                    continue
            far.write(chunk)
            await far.drain()
        if far.can_write_eof():
            far.write_eof()
