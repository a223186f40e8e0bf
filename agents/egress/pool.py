"""Idle connections, kept for the next poll, and the turns that callers take."""

import asyncio
import time
from collections.abc import AsyncIterator, Hashable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeAlias

from agents.egress.errors import EgressError
from agents.egress.http1 import Connection

Origin: TypeAlias = tuple[str, str, int]


class IdleConnections:
    """Connections waiting for their next request, by origin; the longest idle go first when there are too many.

    Kept here and not in an HTTP library's pool, which looks at every connection for each request: with one origin a bot
    that is quadratic. All operations here take constant time, expiry included.
    """

    def __init__(self, *, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        self._by_age: dict[Connection, None] = {}
        self._by_origin: dict[Origin, list[Connection]] = {}

    def __len__(self) -> int:
        return len(self._by_age)

    def take(self, origin: Origin) -> Connection | None:
        """The most recently used good connection to `origin`, which is the caller's from now on."""
        self._expire()
        while waiting := self._by_origin.get(origin):
            connection = waiting[-1]
            self._remove(connection)
            if not connection.wire.stale:
                return connection
            connection.wire.close()
        return None

    def give(self, connection: Connection) -> None:
        """Keep a connection whose answer has been read to its end."""
        connection.idle_since = time.monotonic()
        self._by_age[connection] = None
        self._by_origin.setdefault(connection.origin, []).append(connection)
        self._expire()

    def close(self) -> None:
        """Close them all."""
        for connection in list(self._by_age):
            self._drop(connection)

    def _expire(self) -> None:
        deadline = time.monotonic() - self._seconds
        while self._by_age:
            oldest = next(iter(self._by_age))
            if len(self._by_age) <= self._limit and oldest.idle_since > deadline:
                return
            self._drop(oldest)

    def _drop(self, connection: Connection) -> None:
        self._remove(connection)
        connection.wire.close()

    def _remove(self, connection: Connection) -> None:
        del self._by_age[connection]
        waiting = self._by_origin[connection.origin]
        waiting.remove(connection)
        if not waiting:
            del self._by_origin[connection.origin]


@dataclass(slots=True)
class _Queue:
    turns: asyncio.Semaphore
    users: int = 0


class Turns:
    """At most so many calls at once to one host, for one tenant, and in all. Who waits holds nobody else up."""

    def __init__(self, *, per_host: int, per_tenant: int, total: int, patience: float) -> None:
        self._per_host = per_host
        self._per_tenant = per_tenant
        self._total = asyncio.Semaphore(total)
        self._patience = patience
        self._queues: dict[Hashable, _Queue] = {}

    @asynccontextmanager
    async def turn(self, host: Hashable, tenant: Hashable | None = None) -> AsyncIterator[None]:
        """Hold a turn of the host, the tenant, and of all; raises `EgressError` with `timeout` after waiting in vain.

        In this order: what waits for its own host or tenant holds no turn that anybody else could use.
        """
        async with AsyncExitStack() as held:
            await held.enter_async_context(self._queue(("host", host), self._per_host))
            if tenant is not None:
                await held.enter_async_context(self._queue(("tenant", tenant), self._per_tenant))
            await self._wait_for(self._total)
            held.callback(self._total.release)
            yield

    @asynccontextmanager
    async def _queue(self, name: Hashable, turns: int) -> AsyncIterator[None]:
        queue = self._queues.setdefault(name, _Queue(asyncio.Semaphore(turns)))
        queue.users += 1
        try:
            await self._wait_for(queue.turns)
            try:
                yield
            finally:
                queue.turns.release()
        finally:
            queue.users -= 1
            if not queue.users:
                del self._queues[name]

    async def _wait_for(self, semaphore: asyncio.Semaphore) -> None:
        try:
            async with asyncio.timeout(self._patience):
                await semaphore.acquire()
        except TimeoutError:
            raise EgressError("timeout", "Too many calls to this host, or for this tenant, are waiting.") from None
