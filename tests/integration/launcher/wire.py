"""A wire to the real engine that a test can cut: the engine lives on, and the launcher cannot reach it."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path


class Wire:
    """A Unix socket whose every connection is carried to the engine's own socket while the wire is whole."""

    def __init__(self, path: Path, engine_url: str) -> None:
        self._path = path
        self._engine = engine_url.removeprefix("unix://")
        self._server: asyncio.Server | None = None
        self._carrying: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The wire as a value for DOCKER_HOST."""
        return f"unix://{self._path}"

    async def join(self) -> None:
        """Carry connections from now on."""
        self._path.unlink(missing_ok=True)
        self._server = await asyncio.start_unix_server(self._carry, self._path)

    async def cut(self) -> None:
        """End every connection and take no new ones."""
        if self._server is not None:
            self._server.close()
        for task in self._carrying:
            task.cancel()
        await asyncio.gather(*self._carrying, return_exceptions=True)
        self._path.unlink(missing_ok=True)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._carrying.add(task)
        far_reader, far_writer = await asyncio.open_unix_connection(self._engine)
        try:
            await asyncio.gather(self._ask(reader, far_writer, writer), _pump(far_reader, writer))
        except (OSError, asyncio.CancelledError):
            return
        finally:
            self._carrying.discard(task)
            for end in (far_writer, writer):
                with contextlib.suppress(OSError):
                    end.close()

    async def _ask(self, source: asyncio.StreamReader, far: asyncio.StreamWriter, back: asyncio.StreamWriter) -> None:  # noqa: ARG002
        """Carry what the client asks; ``back`` is the way to it, for wires that answer themselves."""
        await _pump(source, far)


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
    while chunk := await source.read(65536):
        sink.write(chunk)
        await sink.drain()
    if sink.can_write_eof():
        sink.write_eof()
