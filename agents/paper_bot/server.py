"""A small HTTP/1.1 server: keeps connections alive, and lets no client hold more than its share of time and memory."""

import asyncio
from collections.abc import Callable

from .wire import HEAD_LIMIT, ApiError, Request, Response, encode, problem_response, read_request

Answer = Callable[[Request], Response]
"""Answers one request; raises ApiError for an error answer."""

REQUEST_SECONDS = 10.0
"""From the end of one answer to the end of the next request, idling included."""
MOST_CONNECTIONS = 128


class Server:
    """Serves one answering function on one address."""

    def __init__(self, answer: Answer, *, request_seconds: float = REQUEST_SECONDS) -> None:
        self._answer = answer
        self._request_seconds = request_seconds
        self._connections: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Begin to listen; returns the port, which is of the system's choosing when 0 is asked for. Raises OSError."""
        self._server = await asyncio.start_server(
            self._connected, host, port, limit=HEAD_LIMIT, backlog=MOST_CONNECTIONS
        )
        bound: int = self._server.sockets[0].getsockname()[1]
        return bound

    async def stop(self) -> None:
        """Stop listening and end all connections at once. Answers are written whole, so none is cut off by this."""
        if self._server is not None:
            self._server.close()
        for task in self._connections:
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._connections.add(task)
        try:
            if len(self._connections) > MOST_CONNECTIONS:
                busy = ApiError(
                    503, "too_many_connections", "Close idle connections and try again.", {"Retry-After": "1"}
                )
                writer.write(encode(problem_response(busy), keep_alive=False))
            else:
                await self._converse(reader, writer)
            await asyncio.wait_for(writer.drain(), self._request_seconds)
        except (ConnectionError, TimeoutError, asyncio.CancelledError):
            # The client left or the bot is stopping; either way there is nobody to tell.
            return
        finally:
            self._connections.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        keep_alive = True
        while keep_alive:
            try:
                async with asyncio.timeout(self._request_seconds):
                    request = await read_request(reader, writer)
            except ApiError as problem:
                writer.write(encode(problem_response(problem), keep_alive=False))
                return
            if request is None:
                return
            keep_alive = request.keep_alive
            try:
                response = self._answer(request)
            except ApiError as problem:
                response = problem_response(problem)
            writer.write(encode(response, keep_alive=keep_alive, with_body=request.method != "HEAD"))
            async with asyncio.timeout(self._request_seconds):
                await writer.drain()
