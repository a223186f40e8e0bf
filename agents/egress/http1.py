"""HTTP/1.1 over one wire: a request, its answer, and whether the connection is clean enough for another.

On h11, the parser under httpx, and not on httpx's own connections: those keep what a server sends after an answer and
take it for the answer to the next request.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import h11

from agents.egress.errors import EgressError
from agents.egress.wire import Wire


@dataclass(frozen=True, slots=True)
class Request:
    """What goes out. Headers carry credentials: they are in no repr."""

    method: str
    target: str
    headers: dict[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    website: bool = False
    """Any media type and a redirect are answers too."""


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of an answer. Headers by lower-case name; one sent twice keeps both values, comma between."""

    status: int
    headers: dict[str, str] = field(repr=False)


class Connection:
    """One connection to one origin. `ask`, then `next_chunk` to the end, then `finish`; any failure makes it unfit."""

    def __init__(self, origin: tuple[str, str, int], wire: Wire, *, header_bytes: int) -> None:
        self.origin = origin
        self.wire = wire
        self.idle_since = 0.0
        self._header_bytes = header_bytes
        self._state = h11.Connection(h11.CLIENT, max_incomplete_event_size=header_bytes)

    async def ask(self, request: Request) -> Head:
        """Send a request and read the head of its answer."""
        self.wire.begin(self._header_bytes)
        start = h11.Request(method=request.method, target=request.target, headers=list(request.headers.items()))
        parts = [self._state.send(start), self._state.send(h11.Data(data=request.body))]
        parts.append(self._state.send(h11.EndOfMessage()))
        self.wire.write(b"".join(part for part in parts if part))
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Response):
                return Head(event.status_code, _merged(event.headers))
            if not isinstance(event, h11.InformationalResponse):
                raise _broken_off()

    async def next_chunk(self) -> bytes | None:
        """The next piece of the body, None at its end."""
        event = await self._next_event()
        if isinstance(event, h11.Data):
            return bytes(event.data)
        if isinstance(event, h11.EndOfMessage):
            return None
        raise _broken_off()

    def finish(self) -> bool:
        """Whether both sides have said all they had to, and nothing more: then the connection can carry another."""
        if (self._state.our_state, self._state.their_state) != (h11.DONE, h11.DONE):
            return False
        if self._state.trailing_data != (b"", False):
            return False
        self._state.start_next_cycle()
        return True

    async def _next_event(self) -> object:
        try:
            while (event := self._state.next_event()) is h11.NEED_DATA:
                self._state.receive_data(await self.wire.read())
        except h11.RemoteProtocolError as error:
            # The parser's own words may quote the remote: they end here.
            if self.wire.ended:
                raise _broken_off() from None
            if error.error_status_hint == 431:
                raise EgressError("too_large", "The answer's headers are longer than a bot's may be.") from None
            raise EgressError("bad_payload", "The answer is not valid HTTP.") from None
        return event


def _broken_off() -> EgressError:
    return EgressError("unreachable", "The connection broke before the answer was whole.")


def _merged(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    merged: dict[str, str] = {}
    for raw_name, raw_value in headers:
        name, value = raw_name.decode("latin-1"), raw_value.decode("latin-1")
        merged[name] = f"{merged[name]}, {value}" if name in merged else value
    return merged
