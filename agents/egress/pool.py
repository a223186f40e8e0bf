"""Idle connections, kept for the next poll."""

import time
from collections import OrderedDict

from agents.egress.connection import Connection
from control_plane.security.addresses import Origin


class IdleConnections:
    """Connections waiting for their next request, by origin; the longest idle go first when there are too many.

    Kept here and not in an HTTP library's pool, which looks at every connection for each request: with one origin a bot
    that is quadratic. All operations here take constant time, expiry included. A connection that its server closes
    leaves by itself.
    """

    def __init__(self, *, limit: int, seconds: float) -> None:
        self._limit = limit
        self._seconds = seconds
        # An ordered dict, because the first key of a plain one is found by walking over all that were taken out.
        self._by_age: OrderedDict[Connection, None] = OrderedDict()
        self._by_origin: dict[Origin, list[Connection]] = {}
        self._none_expires_before = 0.0

    def __len__(self) -> int:
        return len(self._by_age)

    def take(self, origin: Origin) -> Connection | None:
        """The most recently used good connection to `origin`, which is the caller's from now on."""
        while waiting := self._by_origin.get(origin):
            connection = waiting.pop()
            if not waiting:
                del self._by_origin[origin]
            del self._by_age[connection]
            connection.pool = None
            transport = connection.transport
            usable = transport is not None and not transport.is_closing()
            if usable and connection.idle_since + self._seconds > time.monotonic():
                return connection
            connection.close()
        return None

    def give(self, connection: Connection) -> None:
        """Keep a connection whose answer has been read to its end."""
        transport = connection.transport
        if transport is None or transport.is_closing():
            return
        now = connection.idle_since = time.monotonic()
        if now >= connection.stale_at:
            connection.close()
            return
        connection.pool = self
        self._by_age[connection] = None
        waiting = self._by_origin.get(connection.origin)
        if waiting is None:
            self._by_origin[connection.origin] = [connection]
        else:
            waiting.append(connection)
        if now >= self._none_expires_before or len(self._by_age) > self._limit:
            self._expire(now)

    def forget(self, connection: Connection) -> None:
        """It no longer waits here."""
        connection.pool = None
        del self._by_age[connection]
        waiting = self._by_origin[connection.origin]
        waiting.remove(connection)
        if not waiting:
            del self._by_origin[connection.origin]

    def close(self) -> None:
        """Close them all."""
        for connection in list(self._by_age):
            connection.close()

    def _expire(self, now: float) -> None:
        while self._by_age:
            oldest = next(iter(self._by_age))
            expires_at = oldest.idle_since + self._seconds
            if len(self._by_age) <= self._limit and expires_at > now:
                self._none_expires_before = expires_at
                return
            oldest.close()
