"""Idle connections, kept for the next poll."""

import time
from collections import OrderedDict

from agents.egress.connection import Connection, Origin


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

    def __len__(self) -> int:
        return len(self._by_age)

    def take(self, origin: Origin) -> Connection | None:
        """The most recently used good connection to `origin`, which is the caller's from now on."""
        while waiting := self._by_origin.get(origin):
            connection = waiting[-1]
            self.forget(connection)
            if not connection.closed and connection.idle_since + self._seconds > time.monotonic():
                return connection
            connection.close()
        return None

    def give(self, connection: Connection) -> None:
        """Keep a connection whose answer has been read to its end."""
        if connection.closed:
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
            if len(self._by_age) <= self._limit and oldest.idle_since + self._seconds > now:
                return
            oldest.close()
