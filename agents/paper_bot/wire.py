"""HTTP/1.1 on the wire: reads one request with limits on its size, writes one answer. Nothing about the API here."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qsl

HEAD_LIMIT = 16 * 1024
"""Bytes of a request line with its headers."""
BODY_LIMIT = 16 * 1024
"""Bytes of a request body."""

_TOKEN_CHARACTERS = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class ApiError(Exception):
    """An error answer (RFC 9457). `code` is stable for programs, `detail` tells people what to do."""

    def __init__(self, status: int, code: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(detail)
        self.status = status
        self.code = code
        self.detail = detail
        self.headers = dict(headers or {})


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read whole."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    keep_alive: bool
    body: bytes = b""


@dataclass(frozen=True, slots=True)
class Response:
    """One JSON answer."""

    status: int
    document: Mapping[str, object]
    headers: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "application/json"


def problem_response(problem: ApiError) -> Response:
    """The answer that tells a problem."""
    document = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "code": problem.code,
    }
    return Response(problem.status, document, problem.headers, "application/problem+json")


def encode(response: Response, *, keep_alive: bool, with_body: bool = True) -> bytes:
    """The bytes of an answer; `with_body` is false for HEAD, whose headers are those of GET."""
    body = json.dumps(response.document, separators=(",", ":")).encode()
    headers = {
        "Content-Type": response.content_type,
        "Content-Length": str(len(body)),
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
        "Connection": "keep-alive" if keep_alive else "close",
        **response.headers,
    }
    lines = [
        f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}",
        *(f"{k}: {v}" for k, v in headers.items()),
    ]
    head = ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")
    return head + body if with_body else head


async def read_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
    """Read the next request of a connection; None when the client is done.

    Raises ApiError for anything malformed or too large: the connection cannot be used further then.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as cut:
        if not cut.partial.strip():
            return None
        raise ApiError(400, "malformed_request", "The request ended within its headers.") from None
    except asyncio.LimitOverrunError:
        raise ApiError(431, "headers_too_large", f"Send at most {HEAD_LIMIT} bytes of headers.") from None
    request_line, _, rest = head[:-4].lstrip(b"\r\n").decode("latin-1").partition("\r\n")
    method, target, version = _request_line(request_line)
    headers = _headers(rest)
    if version == "HTTP/1.1" and "host" not in headers:
        raise ApiError(400, "malformed_request", "Send a Host header.")
    body = await _read_body(headers, reader, writer)
    path, _, query = target.partition("?")
    connection = headers.get("connection", "").lower()
    return Request(method, path, _query(query), headers, version == "HTTP/1.1" and connection != "close", body)


def _request_line(line: str) -> tuple[str, str, str]:
    parts = line.split(" ")
    if len(parts) != 3 or not parts[0] or not set(parts[0]) <= _TOKEN_CHARACTERS or not parts[1].startswith("/"):
        raise ApiError(400, "malformed_request", "Send a request line such as GET /api/v1/ping HTTP/1.1.")
    method, target, version = parts
    if version not in {"HTTP/1.1", "HTTP/1.0"}:
        raise ApiError(505, "version_not_supported", "Use HTTP/1.1.")
    return method, target, version


def _headers(text: str) -> dict[str, str]:
    headers: dict[str, str] = {}
    for line in text.split("\r\n") if text else []:
        name, colon, value = line.partition(":")
        if not colon or not name or not set(name) <= _TOKEN_CHARACTERS or "\n" in value or "\x00" in value:
            raise ApiError(400, "malformed_request", "Send one header a line, as Name: value.")
        name = name.lower()
        # Two different lengths or hosts are how requests are smuggled, two credentials are never meant.
        if name in headers and name in {"content-length", "host", "authorization", "transfer-encoding"}:
            raise ApiError(400, "malformed_request", f"Send the {name} header once.")
        headers[name] = value.strip()
    return headers


async def _read_body(headers: Mapping[str, str], reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    if "transfer-encoding" in headers:
        raise ApiError(411, "length_required", "Send a Content-Length instead of a Transfer-Encoding.")
    length = headers.get("content-length", "0")
    if not (length.isascii() and length.isdigit()):
        raise ApiError(400, "malformed_request", "Send the Content-Length as a number.")
    if len(length) > 12 or int(length) > BODY_LIMIT:
        raise ApiError(413, "body_too_large", f"Send at most {BODY_LIMIT} bytes.")
    if headers.get("expect", "").lower() == "100-continue":
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    try:
        return await reader.readexactly(int(length))
    except asyncio.IncompleteReadError:
        raise ApiError(400, "malformed_request", "The body is shorter than its Content-Length.") from None


def _query(text: str) -> dict[str, str]:
    try:
        return dict(parse_qsl(text, keep_blank_values=True, max_num_fields=20))
    except ValueError:
        raise ApiError(400, "malformed_request", "Send at most 20 query parameters.") from None
