"""A connected stream that lets in only so much."""

import asyncio
from typing import Any

from agents.egress.errors import EgressError

_READ_AHEAD = 64 * 1024


class Inbox(asyncio.StreamReader):
    """A stream reader that knows whether bytes lie unread, which tells a spoilt idle connection from a good one."""

    def __init__(self) -> None:
        super().__init__(limit=_READ_AHEAD)
        self.unread = 0

    def feed_data(self, data: Any) -> None:
        self.unread += len(data)
        super().feed_data(data)


class Wire:
    """Bytes to and from one server, with an allowance for each answer."""

    def __init__(self, inbox: Inbox, transport: asyncio.Transport) -> None:
        self._inbox = inbox
        self._transport = transport
        self._allowance = 0
        self.received = 0
        """Bytes of the current answer so far."""
        self.ended = False
        """The other side closed the connection."""

    def begin(self, allowance: int) -> None:
        """Start counting a new answer, of which `allowance` bytes may come before `allow` grants more."""
        self.received = 0
        self._allowance = allowance

    def allow(self, more: int) -> None:
        """Let `more` bytes of the current answer follow what has come."""
        self._allowance = self.received + more

    @property
    def stale(self) -> bool:
        """Not fit for another request: closed, or holding bytes that nobody asked for."""
        return self._transport.is_closing() or self._inbox.at_eof() or self._inbox.unread > 0

    async def read(self) -> bytes:
        """What comes next; empty at the end of the connection. Raises `EgressError` when the allowance is used up."""
        room = self._allowance - self.received
        if room <= 0:
            raise EgressError("too_large", "The answer is larger than a bot's answer may be.")
        try:
            data = await self._inbox.read(min(_READ_AHEAD, room))
        except OSError:
            raise EgressError("unreachable", "The connection broke before the answer was whole.") from None
        self._inbox.unread -= len(data)
        self.received += len(data)
        self.ended = not data
        return data

    def write(self, data: bytes) -> None:
        """Send. Requests are small and the next step is to await the answer: the transport's buffer is enough."""
        self._transport.write(data)

    def close(self) -> None:
        """Drop the connection at once: nothing of ours is ever left to be sent, and a remote cannot make us linger."""
        self._transport.abort()
