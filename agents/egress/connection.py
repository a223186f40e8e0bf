"""One connection to one origin: a request goes out, its answer comes in, and bytes nobody asked for spoil it."""

from __future__ import annotations

import asyncio
import math
import time
from typing import TYPE_CHECKING, cast

from agents.egress.answer import Answer
from agents.egress.errors import EgressCode
from control_plane.security.addresses import Origin

if TYPE_CHECKING:
    from agents.egress.pool import IdleConnections


class Connection(asyncio.Protocol):
    """A protocol and not a stream: an answer is read in the very turn of the loop in which it comes, without a task."""

    __slots__ = ("_answer", "_waiter", "idle_since", "origin", "pool", "stale_at", "transport")

    def __init__(self, origin: Origin) -> None:
        self.origin = origin
        self.idle_since = 0.0
        self.stale_at = math.inf
        """From then on it is kept for no further request."""
        self.pool: IdleConnections | None = None
        """Where it waits for its next request, if it does."""
        self.transport: asyncio.Transport | None = None
        """None before there is one, and once it is gone."""
        self._answer: Answer | None = None
        self._waiter: asyncio.Future[None] | None = None

    def ask(self, request: bytes, answer: Answer) -> asyncio.Future[None]:
        """Send a request; the future is done when `answer` is settled."""
        waiter = asyncio.get_running_loop().create_future()
        if self.transport is None or answer.error is not None:
            answer.end(clean=False)
            waiter.set_result(None)
            return waiter
        self._answer = answer
        self._waiter = waiter
        answer.connection = self
        # Requests are small and the next step is to await the answer: the transport's buffer is enough.
        self.transport.write(request)
        return waiter

    def give_up(self, code: EgressCode, message: str) -> None:
        """Stop waiting for the answer."""
        if self._answer is not None:
            self._answer.fail(code, message)
            self._settle(self._answer)

    def close(self) -> None:
        """Drop the connection at once: nothing of ours is ever left to be sent, and a remote cannot make us linger."""
        if self._answer is not None:
            self._answer.end(clean=False)
            self._answer = None
        if self.pool is not None:
            self.pool.forget(self)
        if self.transport is not None:
            self.transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The transport's side of the connection."""
        self.transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Bytes came: of the answer, or else unasked."""
        answer = self._answer
        if answer is None:
            self.close()
        elif answer.feed(data):
            self._settle(answer)

    def eof_received(self) -> None:
        """The other side says no more. The transport closes itself after that."""
        self._over(clean=True)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone; it was cut unless there is no error."""
        self._over(clean=exc is None)
        self.transport = None

    def _over(self, *, clean: bool) -> None:
        if self.pool is not None:
            self.pool.forget(self)
        answer = self._answer
        if answer is not None:
            answer.end(clean=clean)
            self._settle(answer)

    def _settle(self, answer: Answer) -> None:
        self._answer = None
        answer.ended_at = time.monotonic()
        answer.connection = None
        if not answer.reusable:
            self.close()
        waiter = self._waiter
        self._waiter = None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
