"""Bytes on a socket of a real server: what a well-behaved client's library would never send."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import AsyncIterator

import msgspec
import pytest
from structlog.testing import capture_logs

from control_plane.http import wire
from control_plane.http.wire import BoundedProtocol
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import Api, running_api
from tests.factories import Urls
from tests.servers.web_server import served
from tests.waiting import until

GET = b"GET /health/live HTTP/1.1\r\nHost: testserver.local\r\n"
POST = b"POST /api/v1/auth/sign-in HTTP/1.1\r\nHost: testserver.local\r\nContent-Type: application/json\r\n"
SMUGGLED = b"GET /health/ready HTTP/1.1\r\nHost: testserver.local\r\n\r\n"


class Answer(msgspec.Struct):
    """One answer; status 0 where the connection was closed without a word."""

    status: int
    headers: dict[str, str]
    body: bytes


@pytest.fixture
async def port(api: Api) -> AsyncIterator[int]:
    async with served(api) as url:
        yield int(url.rsplit(":", 1)[1])


async def read_answer(reader: asyncio.StreamReader) -> Answer:
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except (asyncio.IncompleteReadError, ConnectionError):
        return Answer(0, {}, b"")
    first, *lines = head.strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Answer(int(first.split(" ")[1]), headers, body)


async def send(port: int, *parts: bytes) -> Answer:
    """The first answer to what is sent; parts that the server no longer takes are dropped."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            for part in parts:
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
        except ConnectionError:
            pass  # it has answered, or closed, and listens no more
        try:
            return await read_answer(reader)
        finally:
            writer.close()


async def all_of(port: int, data: bytes) -> bytes:
    """Everything that the server says until it closes."""
    async with asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(data)
        try:
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.close()


def is_problem(answer: Answer, status: int, code: str) -> None:
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "application/problem+json"
    told = json.loads(answer.body)
    assert (told["status"], told["code"], told["type"]) == (status, code, f"/problems/{code}")
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_a_plain_request_is_answered_and_tells_no_server(port: int) -> None:
    for request in (GET + b"\r\n", GET.replace(b"1.1", b"1.0") + b"\r\n", b"GET /health/live HTTP/1.0\r\n\r\n"):
        answer = await send(port, request)
        assert answer.status == 200
        assert not {"server", "x-powered-by", "via"} & set(answer.headers)
        for word in (b"uvicorn", b"litestar", b"python"):
            assert word not in str(answer.headers).lower().encode() + answer.body.lower()


#: What is sent, and how it is refused.
UNSERVED: list[tuple[bytes, int, str]] = [
    (GET + b"X: " + b"a" * 40_000 + b"\r\n\r\n", 431, "head_too_large"),
    (GET + b"X: " + b"a" * 40_000, 431, "head_too_large"),
    (GET + b"X" * 40_000, 431, "head_too_large"),
    (GET + b"".join(b"X-%d: a\r\n" % n for n in range(101)) + b"\r\n", 431, "head_too_large"),
    (GET + b"".join(b"X-%d: %s\r\n" % (n, b"a" * 900) for n in range(60)), 431, "head_too_large"),
    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414, "target_too_long"),
    (b"GET /" + b"a" * 9000, 414, "target_too_long"),
    (b"A" * 40_000, 400, "malformed"),
    (b"\x16\x03\x01\x02\x00\x01\x00", 400, "malformed"),
    (b"GET /health/live\r\n\r\n", 400, "malformed"),
    (b"GET /health/live HTTP/2.0\r\nHost: x\r\n\r\n", 400, "malformed"),
    (b"GET /health/live HTTP/1.1\r\n\r\n", 400, "malformed"),
    (GET + b"Host: evil.example\r\n\r\n", 400, "malformed"),
    (b"GET http://evil.example/health/live HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed"),
    (b"GET ftp://x/health/live HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed"),
    (b"GET *  HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed"),
    (b"CONNECT x:443 HTTP/1.1\r\nHost: x:443\r\n\r\n", 405, "method_not_allowed"),
    (GET.replace(b"GET", b"TRACE") + b"\r\n", 405, "method_not_allowed"),
    (GET.replace(b"GET", b"PROPFIND") + b"\r\n", 405, "method_not_allowed"),
    (GET.replace(b"GET", b"BREW") + b"\r\n", 400, "malformed"),
    (GET.replace(b"GET", b"get") + b"\r\n", 400, "malformed"),
    (GET + b"X: a\nY: b\r\n\r\n", 400, "malformed"),
    (GET + b"X : a\r\n\r\n", 400, "malformed"),
    (GET + b" folded: a\r\n\r\n", 400, "malformed"),
    (GET + b"X: a\0b\r\n\r\n", 400, "malformed"),
    (POST + b"Content-Length: 2\r\nContent-Length: 4\r\n\r\n{}{}", 400, "malformed"),
    (POST + b"Content-Length: 2, 4\r\n\r\n{}{}", 400, "malformed"),
    (POST + b"Content-Length: -1\r\n\r\n", 400, "malformed"),
    (POST + b"Content-Length: +2\r\n\r\n{}", 400, "malformed"),
    (POST + b"Content-Length: 0x2\r\n\r\n{}", 400, "malformed"),
    (POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", 400, "malformed"),
    (POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + SMUGGLED, 400, "malformed"),
    (POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 400, "malformed"),
    (POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400, "malformed"),
]


async def test_what_cannot_be_served_is_refused_as_a_problem(port: int) -> None:
    for head, status, code in UNSERVED:
        is_problem(await send(port, head), status, code)


async def test_nothing_after_a_refusal_is_served(port: int) -> None:
    for first in (
        POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 2\r\nContent-Length: 4\r\n\r\n{}",
        GET + b"Host: evil.example\r\n\r\n",
        GET + b"X: a\nY: b\r\n\r\n",
    ):
        said = await all_of(port, first + SMUGGLED)
        assert said.count(b"HTTP/1.1 ") == 1, said


async def test_an_absolute_target_of_this_host_is_a_path(port: int) -> None:
    head = b"GET http://testserver.local/health/live HTTP/1.1\r\nHost: testserver.local\r\n\r\n"
    assert (await send(port, head)).status == 200


async def test_paths_that_two_readers_would_read_differently(port: int) -> None:
    for path in [b"/api%2Fv1/me", b"/api%2fv1%2fme", b"/api/v1/bots/%00", b"/api%5cv1/me", b"/a%0ab", b"/a%1b"]:
        answer = await send(port, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        is_problem(answer, 404, "not_found")


async def test_dots_in_paths_lead_nowhere(port: int) -> None:
    for path in (b"/api/v1/../../etc/passwd", b"/assets/../../etc/passwd", b"/assets/%2e%2e/app.py", b"//etc/passwd"):
        answer = await send(port, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answer.status in {303, 400, 404}, (path, answer)
        assert b"root:" not in answer.body


async def test_bodies_are_bounded_however_they_come(port: int) -> None:
    large = b'{"email": "' + b"a" * 1_100_000 + b'"}'
    length = b"Content-Length: %d\r\n\r\n" % len(large)
    is_problem(await send(port, POST + length, large), 413, "too_large")
    chunks = [
        b"%x\r\n%s\r\n" % (len(large[n : n + 60_000]), large[n : n + 60_000]) for n in range(0, len(large), 60_000)
    ]
    is_problem(await send(port, POST + b"Transfer-Encoding: chunked\r\n\r\n", *chunks, b"0\r\n\r\n"), 413, "too_large")
    packed = zlib.compress(b" " * 10_000_000)
    coded = POST + b"Content-Encoding: deflate\r\nContent-Length: %d\r\n\r\n" % len(packed)
    is_problem(await send(port, coded, packed), 415, "unsupported_media_type")
    is_problem(await send(port, POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n"), 400, "malformed")


async def test_who_is_slow_is_told_so_and_let_go(api: Api) -> None:
    class Impatient(BoundedProtocol):
        head_seconds = message_seconds = 0.2

    async with served(api, Impatient) as url:
        port = int(url.rsplit(":", 1)[1])
        is_problem(await send(port, GET), 408, "too_slow")  # a head that never ends
        is_problem(await send(port, POST + b"Content-Length: 10\r\n\r\n{"), 408, "too_slow")  # a body that never comes
        assert (await send(port)).status == 0  # who says nothing is told nothing
        # A drop now and then does not buy time: the bound is for the whole head.
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET)
        answer = asyncio.create_task(read_answer(reader))
        async with asyncio.timeout(5):
            while not answer.done():
                writer.write(b"X: a\r\n")
                await asyncio.wait([answer], timeout=0.02)
        is_problem(answer.result(), 408, "too_slow")
        writer.close()
        assert (await send(port, GET + b"\r\n")).status == 200


async def test_a_second_request_on_a_connection_has_its_own_bounds(api: Api) -> None:
    class Impatient(BoundedProtocol):
        head_seconds = 0.3

    async with served(api, Impatient) as url, asyncio.timeout(10):
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rsplit(":", 1)[1]))
        for _ in range(3):
            for _ in range(2):  # a head of 20 KiB each, which together are more than one may be
                writer.write(GET + b"X: " + b"a" * 20_000 + b"\r\n\r\n")
                assert (await read_answer(reader)).status == 200
        writer.write(GET)
        is_problem(await read_answer(reader), 408, "too_slow")
        writer.close()


async def test_connections_are_counted(api: Api) -> None:
    class Narrow(BoundedProtocol):
        most_connections = 3

    assert 16 <= wire.connection_limit() <= 2000
    async with served(api, Narrow) as url:
        port = int(url.rsplit(":", 1)[1])
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(3)]
        is_problem(await send(port, GET + b"\r\n"), 503, "too_many_connections")
        for _, writer in held:
            writer.close()
        async with asyncio.timeout(10):
            while (await send(port, GET + b"\r\n")).status != 200:
                await asyncio.sleep(0)


async def test_strange_hosts_are_refused_in_every_form(settings: Settings, urls: Urls, vault: Vault) -> None:
    strict = msgspec.structs.replace(settings, allowed_hosts=("tradewise.example",))
    async with running_api(strict, urls, vault) as api, served(api) as url:
        port = int(url.rsplit(":", 1)[1])
        target = b" /api/v1/me HTTP/1.1\r\nHost: "
        assert (await send(port, b"GET" + target + b"tradewise.example\r\n\r\n")).status == 401
        for host in (b"evil.example", b"tradewise.example.evil.example", b"evil.example/tradewise.example", b""):
            assert (await send(port, b"GET" + target + host + b"\r\n\r\n")).status == 400, host
        absolute = b"GET http://tradewise.example/api/v1/me HTTP/1.1\r\nHost: evil.example\r\n\r\n"
        assert (await send(port, absolute)).status == 400


async def test_headers_of_answers(api: Api) -> None:
    api_policy = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
    for path, status, policy in (
        ("/api/v1/me", 401, api_policy),
        ("/api/openapi.json", 200, api_policy),
        ("/api/nothing", 404, api_policy),
        ("/health/live", 200, api_policy),
        ("/sign-in", 200, "script-src 'self'"),
        ("/api/docs", 200, "script-src 'self'"),
        ("/nothing", 404, "script-src 'self'"),
    ):
        answer = await api.client.get(path)
        assert answer.status_code == status, path
        said = answer.headers
        assert policy in said["content-security-policy"], path
        assert "unsafe" not in said["content-security-policy"]
        assert "frame-ancestors 'none'" in said["content-security-policy"]
        assert said["x-content-type-options"] == "nosniff"
        assert said["cross-origin-resource-policy"] == "same-origin"
        assert said["cross-origin-opener-policy"] == "same-origin"
        assert said["cache-control"] == "no-store", path
        assert not {"server", "access-control-allow-origin"} & set(said)


async def test_a_client_that_leaves_amid_its_body_is_no_fault_of_ours(port: int) -> None:
    with capture_logs() as lines:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(POST + b'Content-Length: 100\r\n\r\n{"email": "')
        await writer.drain()
        writer.transport.abort()
        await until(lambda: any(line["event"] == "request" for line in lines), what="the request has ended")
    # The status is for our own figures: nobody is there to hear it.
    assert [(line["event"], line.get("status")) for line in lines] == [("request", 400)]
