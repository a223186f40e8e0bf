"""A cable between the program and its database: counts what passes, and can be cut and mended."""

from __future__ import annotations

import asyncio
import struct
from types import TracebackType
from typing import Self

from sqlalchemy.engine import make_url

_SSL_REQUEST, _GSS_REQUEST = 80877103, 80877104


class DatabaseProxy:
    """Listens on a loopback port and passes everything on to the server of ``target``. Use as ``async with``."""

    def __init__(self, target: str) -> None:
        self._target = make_url(target)
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._port = 0
        self.trips: list[str] = []
        """Every message that the client waits on: a simple query's text, or ``sync`` for a prepared statement."""

    @property
    def url(self) -> str:
        """``target`` by way of this proxy."""
        query = {name: value for name, value in self._target.query.items() if name not in {"host", "port"}}
        through = self._target.set(host="127.0.0.1", port=self._port, query=query)
        return through.render_as_string(hide_password=False)

    async def __aenter__(self) -> Self:
        await self.mend()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.cut()

    async def mend(self) -> None:
        """Let connections through, on the same port as before."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self._port)
        self._port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """End every connection and refuse new ones."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        upstream: asyncio.StreamWriter | None = None
        try:
            answers, upstream = await self._connect()
            async with asyncio.TaskGroup() as group:
                group.create_task(self._forward(reader, upstream))
                group.create_task(self._backward(answers, writer))
        except (BaseExceptionGroup, OSError, asyncio.CancelledError):
            # One side left, or the cable was cut: both sides are closed below, and there is nobody to tell.
            pass
        finally:
            self._tasks.discard(task)
            writer.close()
            if upstream is not None:
                upstream.close()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        folder, port = self._target.query.get("host"), self._target.query.get("port") or self._target.port or 5432
        if isinstance(folder, str) and folder.startswith("/"):
            return await asyncio.open_unix_connection(f"{folder}/.s.PGSQL.{port}")
        return await asyncio.open_connection(self._target.host or "127.0.0.1", int(str(port)))

    async def _forward(self, reader: asyncio.StreamReader, upstream: asyncio.StreamWriter) -> None:
        started = False
        while True:
            kind = await reader.readexactly(1) if started else b""
            length = await reader.readexactly(4)
            body = await reader.readexactly(struct.unpack("!I", length)[0] - 4)
            if not started:
                started = struct.unpack("!I", body[:4])[0] not in {_SSL_REQUEST, _GSS_REQUEST}
            elif kind == b"Q":
                self.trips.append(body.rstrip(b"\0").decode())
            elif kind == b"S":
                self.trips.append("sync")
            upstream.write(kind + length + body)
            await upstream.drain()

    @staticmethod
    async def _backward(answers: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await answers.read(65536):
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError
