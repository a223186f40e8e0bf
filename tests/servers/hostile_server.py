"""A server that sends whatever bytes a test wants, for answers that no HTTP library would agree to produce."""

import asyncio
import gzip
import json
import os
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TypeAlias

Script: TypeAlias = Callable[["Exchange"], Awaitable[None]]


@dataclass
class HostileServer:
    """What happened at one port."""

    port: int = 0
    heads: list[str] = field(default_factory=list)
    """Request heads, in order of arrival."""
    connections: int = 0
    open: int = 0
    """Connections that nobody has closed yet."""
    server_names: list[str | None] = field(default_factory=list)
    """Names that TLS clients asked for."""


class Exchange:
    """One request at the server, to be answered or not."""

    def __init__(
        self, server: HostileServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self.server = server
        self._reader = reader
        self.number = number
        """Counts the requests on this connection, from 1."""
        self._writer = writer

    async def send(self, data: bytes) -> None:
        """Send bytes, waiting while the client does not read."""
        self._writer.write(data)
        await self._writer.drain()

    def hang_up(self) -> None:
        """Close the connection."""
        self._writer.close()

    async def until_given_up(self) -> None:
        """Say nothing until the client closes the connection."""
        await self._reader.read()

    def say_no_more(self) -> None:
        """Close our direction only."""
        self._writer.write_eof()

    def reset(self) -> None:
        """Cut the connection so that the client sees a reset."""
        copy = socket.socket(fileno=os.dup(self._writer.get_extra_info("socket").fileno()))
        with copy:
            copy.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


@asynccontextmanager
async def hostile_server(script: Script, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[HostileServer]:
    """Run `script` for every request that arrives at a loopback port."""
    server = HostileServer()
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        server.connections += 1
        server.open += 1
        number = 0
        try:
            while not writer.is_closing():
                head = await reader.readuntil(b"\r\n\r\n")
                number += 1
                server.heads.append(head.decode("latin-1"))
                await script(Exchange(server, reader, writer, number))
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            # The client gave up, which is what most of these tests are about.
            pass
        finally:
            tasks.discard(task)
            writer.close()
            server.open -= 1
            with suppress(OSError):
                await writer.wait_closed()

    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: server.server_names.append(name)
    listener = await asyncio.start_server(accept, "127.0.0.1", 0, ssl=tls)
    server.port = listener.sockets[0].getsockname()[1]
    try:
        yield server
    finally:
        listener.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def http(body: bytes, *headers: str, status: str = "200 OK", content_type: str = "application/json") -> bytes:
    """A well-formed answer, to be spoilt as wanted."""
    lines = [f"HTTP/1.1 {status}", f"Content-Type: {content_type}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(lines).encode() + body


def always(data: bytes) -> Script:
    """Answer every request with the same bytes."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(data)

    return script


def then_hang_up(data: bytes) -> Script:
    """Answer with these bytes and close."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(data)
        exchange.hang_up()

    return script


def endlessly(start: bytes, more: bytes, *, pause: float = 0.0) -> Script:
    """Start an answer and never finish it."""

    async def script(exchange: Exchange) -> None:
        await exchange.send(start)
        while True:
            await exchange.send(more)
            await asyncio.sleep(pause)

    return script


def gzipped(size: int) -> bytes:
    """JSON of `size` bytes and very little in it, compressed a thousandfold."""
    return gzip.compress(json.dumps("0" * (size - 2)).encode())
