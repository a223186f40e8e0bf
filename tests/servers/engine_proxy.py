"""A way to the engine that understands HTTP: counts what is asked, and can cut a listing short."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Shorten = Callable[[list[Any]], list[Any]]


class EngineProxy:
    """A Unix socket that leads to the engine. Use as ``async with``.

    Every connection carries one request: the engine is asked to close it, so that each request passes here by itself.
    """

    def __init__(self, path: Path, engine_url: str) -> None:
        self._path = path
        self._engine = engine_url.removeprefix("unix://")
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.requests: list[str] = []
        """Method and target of each request, in the order of their coming."""
        self.shorten: Shorten | None = None
        """What is left of a listing of containers; None for all of it."""
        self.torn = False
        """End a listing in the middle of its text."""

    @property
    def url(self) -> str:
        """The proxy as a value for DOCKER_HOST."""
        return f"unix://{self._path}"

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_unix_server(self._accept, self._path)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        far: asyncio.StreamWriter | None = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            line, _, fields = head.partition(b"\r\n")
            asked = b" ".join(line.split()[:2]).decode()
            self.requests.append(asked)
            answers, far = await asyncio.open_unix_connection(self._engine)
            if b"upgrade" not in fields.lower():
                kept = [field for field in fields.split(b"\r\n") if not field.lower().startswith(b"connection:")]
                head = line + b"\r\nConnection: close\r\n" + b"\r\n".join(kept)
            far.write(head)
            if "/containers/json" in asked and (self.shorten is not None or self.torn):
                writer.write(self._cut(await answers.read()))
                await writer.drain()
            else:
                await asyncio.gather(_pump(reader, far), _pump(answers, writer, last=True))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError, _Ended):
            return
        finally:
            self._tasks.discard(task)
            for end in (far, writer):
                if end is not None:
                    with contextlib.suppress(OSError):
                        end.close()

    def _cut(self, answer: bytes) -> bytes:
        head, _, body = answer.partition(b"\r\n\r\n")
        whole = json.loads(_joined(body) if b"chunked" in head.lower() else body)
        left = json.dumps(whole if self.shorten is None else self.shorten(whole)).encode()
        status = head.partition(b"\r\n")[0]
        told = status + b"\r\nContent-Type: application/json\r\nConnection: close\r\nContent-Length: %d\r\n\r\n"
        return told % len(left) + (left[: len(left) // 2] if self.torn else left)


class _Ended(Exception):  # noqa: N818 - the normal end of a connection
    pass


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, last: bool = False) -> None:
    """Carry bytes until the source ends; the end of an answer ends the connection."""
    while chunk := await source.read(65536):
        sink.write(chunk)
        await sink.drain()
    if last:
        raise _Ended
    if sink.can_write_eof():
        sink.write_eof()


def _joined(chunks: bytes) -> bytes:
    """The body of an answer that came in chunks."""
    found = b""
    while chunks:
        size, _, rest = chunks.partition(b"\r\n")
        length = int(size, 16)
        found, chunks = found + rest[:length], rest[length + 2 :] if length else b""
    return found
