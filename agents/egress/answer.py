"""One answer as it comes in: read by llhttp, held to our own rules where that is lenient, and to limits everywhere.

No socket and no clock: bytes go in by `feed`, the end of the connection by `end`, and what stands afterwards is the
answer or an error. Each answer has a parser of its own, so nothing of one can reach into the next.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from agents.egress.errors import EgressCode, EgressError
from agents.egress.payload import is_json

if TYPE_CHECKING:
    from agents.egress.connection import Connection

LITTLE: Final = 4096
"""Of an answer that is only told to people, as a webhook's is, this many bytes are kept."""

_FIRST_BYTE: Final = b"H"[0]
_MOST_FIELDS: Final = 256
_MOST_INTERIM: Final = 16
# A chunk costs time whatever its size: a megabyte sent byte by byte would hold up every other bot for seconds.
_MOST_PIECES: Final = 4096
_GZIP: Final = frozenset({b"gzip", b"x-gzip"})
_NOTED: Final = frozenset(
    {b"content-type", b"content-length", b"content-encoding", b"transfer-encoding", b"retry-after"}
)
_OF_WEBSITES: Final = _NOTED | {b"set-cookie"}
#: What is not ours to understand but an engine's.
_TOLD: Final = (b"retry-after", b"set-cookie")
#: Bytes of trailers, which nobody reads: their names and values; and as they come in pieces, of which the parser makes
#: a field anew with each, at the cost of the square of its length.
_MOST_TRAILING: Final = 4096
_MOST_TRAILING_IN_PIECES: Final = 4 * _MOST_TRAILING
_LONG: Final = 16 * 1024


class _Stop(Exception):  # noqa: N818 - a message to ourselves, through the parser
    """Ends parsing from within a callback; what it was for stands in the answer."""


class Answer:
    """The answer to one request. Callbacks of the parser are the methods `on_...`."""

    # How every answer begins stands in the class: most of it never changes in most answers, and setting it each time
    # would cost more than reading the answer.
    status = 0
    error: EgressError | None = None
    whole = False
    """Read to its end."""
    enough = False
    """What is still to come is of no use: there is an answer, but its connection is not fit for another."""
    reusable = False
    """Whole, with nothing after it, from a server that will take another request on this connection."""
    received = False
    """At least one byte came."""
    deadline = 0.0
    ended_at = 0.0
    connection: Connection | None = None
    _headed = False
    _in_interim = False
    _interim = 0
    _fields = 0
    _pieces = 0
    _keep_alive = False
    _until_closed = False
    _little = False
    _website = False
    _unpacker: zlib._Decompress | None = None
    _chunk_begun = False
    """The head of a chunk came, and nothing of the chunk: of the last one, which is empty, nothing ever comes."""
    _trailing = _trailing_fields = 0
    # Told so, the parser need not find out for each answer that nobody asks for these.
    on_message_begin = on_url = on_status = on_chunk_complete = None

    def __init__(self, header_bytes: int, body_bytes: int, *, little: bool = False, website: bool = False) -> None:
        if little or website:
            self._little, self._website = little, website
        self._body: list[bytes] = []
        self._headers: dict[bytes, bytes] = {}
        self._room = header_bytes
        """Bytes that may still come, compressed and framed as they are."""
        self._left = self._body_bytes = LITTLE if little else body_bytes
        self._parser: HttpResponseParser | None = HttpResponseParser(self)

    @property
    def settled(self) -> bool:
        """Nothing more is wanted."""
        return self.whole or self.enough or self.error is not None

    @property
    def body(self) -> bytes:
        """The body so far, unpacked; empty where an error came without JSON."""
        return b"".join(self._body)

    @property
    def headers(self) -> dict[str, str]:
        """Those that an engine has a use for."""
        return {name.decode(): self._headers[name].decode("latin-1") for name in _TOLD if name in self._headers}

    def again(self) -> None:
        """Begin anew on another connection, which is allowed as long as nothing was received."""
        self.error = None
        self._parser = HttpResponseParser(self)

    def feed(self, data: bytes) -> bool:
        """Take what came; True once nothing more is wanted."""
        if not self.received:
            self.received = True
            # llhttp skips empty lines and knows two other protocols whose answers look alike.
            if data[0] != _FIRST_BYTE:
                return self.fail("bad_payload", "The answer is not valid HTTP.")
        room = self._room - len(data)
        self._pieces += 1
        if room >= 0 and self._pieces <= _MOST_PIECES:
            self._room = room
            self._parse(data)
        else:
            self._feed_by_room(data)
        if self.whole or self.enough or self.error is not None:
            self._parser = None
            self.reusable = self.whole and self._keep_alive and self.error is None
            return True
        return False

    def end(self, *, clean: bool) -> None:
        """The connection is at its end: that ends a body without a length, and breaks off everything else."""
        self._parser = None
        if self.settled:
            return
        if not (clean and self._until_closed):
            self.fail("unreachable", "The connection broke before the answer was whole.")
        elif self._unpacked_well():
            self.whole = True

    def fail(self, code: EgressCode, message: str) -> bool:
        """Settle for an error, unless there is an answer or an error already."""
        if not self.settled:
            self.error = EgressError(code, message)
        self._parser = None
        return True

    def expire(self) -> None:
        """The time for it is over."""
        if self.connection is not None:
            self.connection.give_up("timeout", "The answer did not come in time.")
        else:
            self.fail("timeout", "The answer did not come in time.")

    def _feed_by_room(self, data: bytes) -> None:
        """Feed only what may come: while the head is not whole, that is less than may come with a body."""
        rest = memoryview(data)
        while rest and not self.settled:
            if self._pieces > _MOST_PIECES or self._room <= 0:
                self._cut_short()
            else:
                piece = rest[: self._room]
                rest = rest[self._room :]
                self._room -= len(piece)
                self._parse(piece)
        if rest:
            self._keep_alive = False

    def _parse(self, data: bytes | memoryview) -> None:
        parser = self._parser
        if parser is None:
            return
        if self._chunk_begun:
            self._trailing += len(data)
            if self._trailing > _MOST_TRAILING_IN_PIECES:
                self._cut_short()
                return
        if len(data) > _LONG:
            data = memoryview(data)
        try:
            # The last byte is fed alone: an answer that is whole without it is followed by something, and that is the
            # only exact way to know, because llhttp passes over empty lines in silence.
            parser.feed_data(data[:-1])
            if self.whole:
                self._keep_alive = False
            else:
                parser.feed_data(data[-1:])
        except (HttpParserError, HttpParserUpgrade):
            # The parser's own words end here.
            self._keep_alive = False
            if not self.settled:
                self.error = _not_http()

    # Callbacks of the parser

    def on_header(self, name: bytes, value: bytes) -> None:
        """Note a header that matters; trailers are counted and passed over."""
        self._fields += 1
        if self._fields > _MOST_FIELDS:
            self._refuse(EgressError("too_large", "The answer has more headers than a bot's may."))
        if self._headed:
            self._trailing_fields += len(name) + len(value)
            if self._trailing_fields > _MOST_TRAILING:
                self._cut_short()
                raise _Stop
            return
        name = name.lower()
        if name in (_OF_WEBSITES if self._website else _NOTED):
            value = value.strip()
            before = self._headers.get(name)
            self._headers[name] = value if before is None else before + b", " + value

    def on_headers_complete(self) -> None:
        """Judge the head: what the answer is, how its body ends, and whether anybody wants it."""
        parser = self._parser
        if self._headed or parser is None:
            raise _Stop  # a second answer, which nobody asked for
        status = parser.get_status_code()
        if status < 200:
            self._pass_over(status)
            return
        self._headed = True
        self.status = status
        self._judge_framing(status, parser)
        if 300 <= status < 400 and not self._website:
            self._refuse(
                EgressError("redirected", "The bot redirects elsewhere: give the address that it redirects to.")
            )
        self._judge_body(status)

    def on_chunk_header(self) -> None:
        """Count chunks."""
        self._chunk_begun, self._trailing = True, 0
        self._pieces += 1
        if self._pieces > _MOST_PIECES:
            self._cut_short()
            raise _Stop

    def on_body(self, chunk: bytes) -> None:
        """Keep a piece of the body, never unpacking more than may be kept: a bomb costs its limit, not its promise."""
        self._chunk_begun = False
        if self.enough or self.whole:
            return
        if self._unpacker is not None:
            if self._unpacker.eof:
                self._refuse(_damaged())
            try:
                chunk = self._unpacker.decompress(chunk, self._left + 1)
            except zlib.error:
                self._refuse(_damaged())
        self._left -= len(chunk)
        if self._left >= 0:
            self._body.append(chunk)
        elif self._little:
            self._body.append(chunk[: self._left])
            self.enough = True
        else:
            self._cut_short()
            raise _Stop

    def on_message_complete(self) -> None:
        """The end of the answer, or of an interim one."""
        if self._in_interim:
            self._in_interim = False
        elif self._unpacker is None or self._unpacked_well():
            self.whole = True
        else:
            raise _Stop

    def _pass_over(self, status: int) -> None:
        framed = b"content-length" in self._headers or b"transfer-encoding" in self._headers
        if not 100 <= status < 200 or status == 101 or framed:
            self._refuse(_not_http())
        self._interim += 1
        if self._interim > _MOST_INTERIM:
            self._refuse(EgressError("too_large", "The answer has more beginnings than a bot's may."))
        self._headers.clear()
        self._in_interim = True

    def _judge_framing(self, status: int, parser: HttpResponseParser) -> None:
        """Refuse what two readers could understand in two ways. llhttp itself refuses the rest of that."""
        coding = self._headers.get(b"transfer-encoding")
        length = self._headers.get(b"content-length")
        version = parser.get_http_version()
        if version == "1.1":
            self._keep_alive = parser.should_keep_alive()
        elif version != "1.0" or coding is not None:
            self._refuse(_not_http())
        if coding is not None and (length is not None or coding.lower() != b"chunked"):
            self._refuse(_not_http())
        if status == 204:
            if coding is not None or length not in {None, b"0"}:
                if not self._little:
                    self._refuse(_not_http())
                # A webhook's receiver that says so and sends a body all the same has said all that is wanted of it.
                self.enough, self._keep_alive = True, False
        else:
            self._until_closed = coding is None and length is None

    def _judge_body(self, status: int) -> None:
        kind = self._headers.get(b"content-type", b"")
        # What nearly all say is known at sight.
        if not (kind == b"application/json" or self._little or self._website or is_json(kind)):
            if status < 300:
                self._refuse(
                    EgressError("bad_payload", "The answer is not JSON: is this the address of the bot's API?")
                )
            # An error page tells nothing that its status does not.
            self.enough = True
            return
        encoding = self._headers.get(b"content-encoding")
        if encoding is not None and (encoding := encoding.lower()) != b"identity":
            if self._little:
                self.enough = True
                return
            if encoding not in _GZIP:
                self._refuse(EgressError("bad_payload", "The answer is compressed in a way that was not asked for."))
            self._unpacker = zlib.decompressobj(wbits=31)
        length = self._headers.get(b"content-length")
        if length is not None and not self._little and (len(length) > 18 or int(length) > self._body_bytes):
            self._refuse(_too_large())
        # As sent: compressed answers are smaller, badly chunked ones up to twice as large.
        self._room = 2 * self._body_bytes

    def _unpacked_well(self) -> bool:
        unpacker = self._unpacker
        if unpacker is None or self.enough or (unpacker.eof and not unpacker.unused_data):
            return True
        self.error = _damaged()
        return False

    def _cut_short(self) -> None:
        """More came than may: of an answer that is only told to people, its beginning is enough."""
        if self._little and self._headed:
            self.enough = True
        elif not self.settled:
            self.error = _too_large()

    def _refuse(self, error: EgressError) -> None:
        if not self.settled:
            self.error = error
        raise _Stop


def _too_large() -> EgressError:
    return EgressError("too_large", "The answer is larger than a bot's answer may be.")


def _not_http() -> EgressError:
    return EgressError("bad_payload", "The answer is not valid HTTP.")


def _damaged() -> EgressError:
    return EgressError("bad_payload", "The answer's compression is damaged.")
