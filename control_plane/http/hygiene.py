"""Headers on every answer, and one access line a request. Cheaper than the framework's own, and in one place."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import Any

import msgspec
import structlog
from litestar.connection import ASGIConnection
from litestar.datastructures import MutableScopeHeaders
from litestar.enums import ScopeType
from litestar.middleware import ASGIMiddleware
from litestar.types import ASGIApp, Message, Receive, Scope, Send
from prometheus_client import Counter, Histogram

from control_plane.http.address import request_id
from control_plane.http.problems import MEDIA_TYPE

_log = structlog.get_logger("access")

REQUESTS = Counter("tradewise_http_requests_total", "Requests answered.", ["method", "route", "status"])
SECONDS = Histogram("tradewise_http_request_seconds", "Time to the start of the answer.", ["route"])

PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "font-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

API_POLICY = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"

_ALWAYS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
#: Answers for programs and files: nothing in them is ever to be run, whoever makes a browser show them.
_FOR_PROGRAMS = ("/api/", "/health/", "/assets/")
_PAGES_THERE = frozenset({"/api/docs"})
#: Bytes that a proxy before us and we would read differently, whatever either does with them.
_AMBIGUOUS = (b"%2f", b"%5c", b"%00", b"\\")
_HSTS = "max-age=31536000; includeSubDomains"


class HygieneMiddleware(ASGIMiddleware):
    """Security headers, no caching of what is somebody's, the request's id, and the access line."""

    scopes = (ScopeType.HTTP,)

    def __init__(self, *, https: bool) -> None:
        self._https = https

    async def handle(self, scope: Scope, receive: Receive, send: Send, next_app: ASGIApp) -> None:
        """Wrap ``send``; nothing of the body is looked at."""
        started = time.perf_counter()
        path = str(scope["path"])
        identity = str(request_id(ASGIConnection(scope)))
        policy = API_POLICY if path.startswith(_FOR_PROGRAMS) and path not in _PAGES_THERE else PAGE_POLICY

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableScopeHeaders.from_message(message)
                for name, value in _ALWAYS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Content-Security-Policy", policy)
                if self._https:
                    headers.setdefault("Strict-Transport-Security", _HSTS)
                headers.setdefault("Cache-Control", "no-store")
                headers["X-Request-ID"] = identity
                self._note(scope, message["status"], time.perf_counter() - started, path)
            await send(message)

        refused = _refusal(scope)
        if refused is not None:
            await _tell(send_with_headers, *refused)
            return
        # On every line that is logged meanwhile: what a client quotes finds them all, and the audit log's entries.
        with structlog.contextvars.bound_contextvars(request_id=identity):
            await next_app(scope, receive, send_with_headers)

    @staticmethod
    def _note(scope: Any, status: int, seconds: float, path: str) -> None:
        route = str(scope.get("path_template") or "unmatched")
        method = str(scope["method"])
        REQUESTS.labels(method, route, str(status)).inc()
        SECONDS.labels(route).observe(seconds)
        if not path.startswith(("/health", "/assets")):
            _log.info("request", method=method, route=route, status=status, ms=round(seconds * 1000, 1))


def _refusal(scope: Any) -> tuple[int, str, str] | None:
    """Status, code and words for a request that no route may see."""
    raw = scope.get("raw_path", b"").lower()
    if any(part in raw for part in _AMBIGUOUS) or any(character < " " for character in scope["path"]):
        return 404, "not_found", "no address here holds an encoded slash, a backslash or a control character"
    coding = next((value for name, value in scope["headers"] if name == b"content-encoding"), b"identity")
    if coding.strip().lower() not in {b"", b"identity"}:
        return 415, "unsupported_media_type", "bodies are taken as they are: leave out Content-Encoding"
    return None


async def _tell(send: Send, status: int, code: str, detail: str) -> None:
    title = HTTPStatus(status).phrase
    told = {"type": f"/problems/{code}", "title": title, "status": status, "detail": detail, "code": code}
    body = msgspec.json.encode(told)
    headers = [(b"content-type", MEDIA_TYPE.encode()), (b"content-length", str(len(body)).encode())]
    start: Any = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body, "more_body": False})
