"""What is bounded before a request becomes one: its head, its pace, its connections, and what no two readers agree on.

The server's own protocol parses whatever comes for as long as it comes. Here a head has a size, a number of fields and
a time, a message has a time to be whole, and a process has as many connections as it can serve; what could be read in
two ways (two hosts, a host in the target beside another in the head) is refused rather than chosen from.
"""

from __future__ import annotations

import asyncio
import json
import resource
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import urlsplit

import structlog
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from control_plane.http.problems import MEDIA_TYPE

HEAD_BYTES = 32 * 1024
HEAD_FIELDS = 100
TARGET_BYTES = 8 * 1024
HEAD_SECONDS = 10.0
MESSAGE_SECONDS = 30.0
_MOST_CONNECTIONS = 2000
_SPARE_FILES = 128  # the database's connections, the log, what libraries open
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})

_log = structlog.get_logger(__name__)


class RefusedError(Exception):
    """A request that is not served; raised inside the parser, answered outside of it."""

    def __init__(self, status: int, code: str, detail: str) -> None:
        super().__init__(code)
        self.status = status
        self.code = code
        self.detail = detail


def connection_limit() -> int:
    """How many connections a process may hold: fewer than the files that it may open."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS if files < 0 else max(16, min(_MOST_CONNECTIONS, files - _SPARE_FILES))


class BoundedProtocol(HttpToolsProtocol):
    """The server's protocol with bounds. The bounds are the class's, so that a test may narrow them."""

    most_connections: ClassVar[int] = connection_limit()
    head_seconds: ClassVar[float] = HEAD_SECONDS
    message_seconds: ClassVar[float] = MESSAGE_SECONDS

    _deadline: asyncio.TimerHandle | None = None
    _head_size = 0
    _in_head = True
    _fields_size = 0
    _refused: RefusedError | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or say at once that there are too many."""
        super().connection_made(transport)
        if len(self.connections) > self.most_connections:
            self._refuse(RefusedError(503, "too_many_connections", "this server holds all connections that it can"))
            return
        self._expect(self.head_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the deadline."""
        self._expect(None)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse what came, within the bounds of a head."""
        if self.transport.is_closing() or self._refused is not None:
            return
        if self._in_head:
            self._head_size += len(data)
            if self._deadline is None:
                self._expect(self.head_seconds)  # the first bytes of another request on a kept connection
        super().data_received(data)
        # Bytes of a body that came with the head are counted too, so only a head without end is judged by its size.
        if self._in_head and self._head_size > HEAD_BYTES and self._refused is None:
            self._refuse(_too_large("its head is"))

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the words are ours
        """What the parser gave up on, in the form of every other error."""
        refused = self._refused or RefusedError(400, "malformed", "this is no request that can be read")
        self._refused = None
        self._refuse(refused)

    def on_message_begin(self) -> None:
        """A new head."""
        self._in_head = True
        self._fields_size = 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        """A part of the target."""
        super().on_url(url)
        if len(self.url) > TARGET_BYTES:
            self._give_up(RefusedError(414, "target_too_long", f"its target is longer than {TARGET_BYTES} bytes"))

    def on_header(self, name: bytes, value: bytes) -> None:
        """One field of the head, or of a trailer."""
        super().on_header(name, value)
        self._fields_size += len(name) + len(value)
        if len(self.headers) > HEAD_FIELDS:
            self._give_up(_too_large(f"it has more than {HEAD_FIELDS} fields, which is"))
        if self._fields_size > HEAD_BYTES:
            self._give_up(_too_large("its head is"))

    def on_headers_complete(self) -> None:
        """Refuse what could be read in two ways; then wait for the body, for so long."""
        self._in_head = False
        self._head_size = 0
        self._check()
        self._expect(self.message_seconds)
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it is here: the answer may take its time."""
        self._expect(None)
        self._in_head = True
        super().on_message_complete()

    def _check(self) -> None:
        if self.parser.get_method().decode("ascii", "replace") not in _METHODS:
            self._give_up(RefusedError(405, "method_not_allowed", "this method is not served here"))
        if self.parser.get_http_version() not in {"1.0", "1.1"}:
            self._give_up(RefusedError(400, "malformed", "this server speaks HTTP/1.1"))
        hosts = [value for name, value in self.headers if name == b"host"]
        if len(hosts) > 1 or (not hosts and self.parser.get_http_version() != "1.0"):
            self._give_up(RefusedError(400, "malformed", "a request names one host"))
        if not self.url.startswith(b"/"):
            target = urlsplit(self.url.decode("ascii", "replace"))
            if target.scheme not in {"http", "https"} or [target.netloc.encode()] != hosts:
                self._give_up(RefusedError(400, "malformed", "its target is a path of this server"))

    def _give_up(self, refused: RefusedError) -> None:
        # The parser stops at an exception, and tells the caller no more than that there was one.
        self._refused = self._refused or refused
        raise refused

    def _expect(self, seconds: float | None) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = None if seconds is None else self.loop.call_later(seconds, self._late)

    def _late(self) -> None:
        if self.transport.is_closing():
            return
        if self._in_head and not self._head_size:
            self.transport.close()  # connected and said nothing: there is no request to answer
        elif not self._in_head and self.cycle.response_started:
            self.transport.abort()
        else:
            self._refuse(RefusedError(408, "too_slow", "the request did not arrive in time"))

    def _refuse(self, refused: RefusedError) -> None:
        self._refused = refused
        self._expect(None)
        _log.info("request_refused", status=refused.status, code=refused.code)
        cycle: Any = self.cycle  # None until there was a request
        if cycle is not None and not cycle.response_complete:
            # An answer to an earlier request of this connection, or to this one, is under way: nothing may be mixed in.
            if cycle.response_started or self._in_head:
                self.transport.abort()
                return
            cycle.disconnected = True
            cycle.message_event.set()
        self.transport.write(_answer(refused))
        self.transport.close()


def _too_large(what: str) -> RefusedError:
    return RefusedError(431, "head_too_large", f"{what} larger than {HEAD_BYTES // 1024} KiB or {HEAD_FIELDS} fields")


def _answer(refused: RefusedError) -> bytes:
    told: dict[str, Any] = {
        "type": f"/problems/{refused.code}",
        "title": HTTPStatus(refused.status).phrase,
        "status": refused.status,
        "detail": refused.detail,
        "code": refused.code,
    }
    body = json.dumps(told).encode()
    head = (
        f"content-type: {MEDIA_TYPE}\r\ncontent-length: {len(body)}\r\ncache-control: no-store\r\n"
        "x-content-type-options: nosniff\r\ncontent-security-policy: default-src 'none'; frame-ancestors 'none'\r\n"
        "connection: close\r\n\r\n"
    )
    return STATUS_LINE[refused.status] + head.encode() + body
