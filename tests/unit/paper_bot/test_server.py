"""What hostile and broken clients get: a clear answer and a closed connection, and nobody else notices."""

import asyncio
from pathlib import Path

import pytest

from agents.paper_bot.server import MOST_CONNECTIONS
from agents.paper_bot.wire import BODY_LIMIT, HEAD_LIMIT
from tests.unit.paper_bot.serving import parsed, serving
from tests.unit.paper_bot.support import TOKEN

PING = b"GET /api/v1/ping HTTP/1.1\r\nHost: bot\r\n"
LAST = b"Connection: close\r\n\r\n"


@pytest.mark.parametrize(
    ("raw", "status", "code"),
    [
        (b"nonsense\r\n\r\n", 400, "malformed_request"),
        (b"GET /api/v1/ping\r\n\r\n", 400, "malformed_request"),
        (b"GET  /api/v1/ping HTTP/1.1\r\n\r\n", 400, "malformed_request"),
        (b"GET http://other/ HTTP/1.1\r\nHost: bot\r\n\r\n", 400, "malformed_request"),
        (b"G\x00T / HTTP/1.1\r\nHost: bot\r\n\r\n", 400, "malformed_request"),
        (b"GET /api/v1/ping HTTP/2.0\r\nHost: bot\r\n\r\n", 505, "version_not_supported"),
        (b"GET /api/v1/ping HTTP/1.1\r\n\r\n", 400, "malformed_request"),
        (PING + b"no colon\r\n\r\n", 400, "malformed_request"),
        (PING + b" folded: yes\r\n\r\n", 400, "malformed_request"),
        (PING + b"Name : space\r\n\r\n", 400, "malformed_request"),
        (PING + b"Host: twice\r\n\r\n", 400, "malformed_request"),
        (PING + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400, "malformed_request"),
        (PING + b"Content-Length: -1\r\n\r\n", 400, "malformed_request"),
        (PING + b"Content-Length: +1\r\n\r\na", 400, "malformed_request"),
        (PING + b"Content-Length: \xb2\r\n\r\n", 400, "malformed_request"),
        (PING + b"Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 411, "length_required"),
        (PING + f"Content-Length: {BODY_LIMIT + 1}\r\n\r\n".encode(), 413, "body_too_large"),
        (PING + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n", 413, "body_too_large"),
        (PING + b"X: " + b"a" * HEAD_LIMIT + b"\r\n\r\n", 431, "headers_too_large"),
        (b"GET /api/v1/ping?" + b"a=1&" * 50 + b" HTTP/1.1\r\nHost: bot\r\n\r\n", 400, "malformed_request"),
    ],
)
async def test_malformed_requests(tmp_path: Path, raw: bytes, status: int, code: str) -> None:
    async with serving(tmp_path) as served:
        answer = parsed(await served.send(raw))
        assert (answer.status, answer.document["code"]) == (status, code)
        assert answer.headers["connection"] == "close"
        assert (await served.ask("/api/v1/ping")).status == 200


@pytest.mark.parametrize("raw", [PING, PING + b"Content-Length: 10\r\n\r\nshort"])
async def test_requests_that_are_cut_off(tmp_path: Path, raw: bytes) -> None:
    async with serving(tmp_path) as served:
        assert parsed(await served.send(raw, end=True)).document["code"] == "malformed_request"


@pytest.mark.parametrize("raw", [b"", b"GET /api", PING, PING + b"Content-Length: 10\r\n\r\nslow"])
async def test_slow_clients_are_hung_up_on(tmp_path: Path, raw: bytes) -> None:
    async with serving(tmp_path, request_seconds=0.1) as served:
        assert await served.send(raw) == b""


async def test_a_connection_is_kept_and_requests_can_be_sent_ahead(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        body = b"Content-Length: 4\r\n\r\nGET "
        answers = await served.send(PING + b"\r\n" + PING + body + PING + LAST)
        assert answers.count(b"HTTP/1.1 200 OK") == 3
        assert answers.count(b"Connection: keep-alive") == 2
        assert answers.count(b"Connection: close") == 1


async def test_old_clients_get_one_answer(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        assert parsed(await served.send(b"GET /api/v1/ping HTTP/1.0\r\n\r\n")).status == 200


async def test_a_client_may_wait_for_leave_to_send_its_body(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        head = f"POST /api/v1/pause HTTP/1.1\r\nHost: bot\r\nAuthorization: Bearer {TOKEN}\r\n".encode()
        raw = await served.send(head + b"Expect: 100-continue\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
        leave, _, rest = raw.partition(b"\r\n\r\n")
        assert leave == b"HTTP/1.1 100 Continue"
        assert parsed(rest).document["trading_state"] == "paused"


async def test_too_many_connections_are_told_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        held = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(MOST_CONNECTIONS)]
        try:
            for reader, writer in held:
                writer.write(PING + b"\r\n")
                assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            answer = parsed(await served.send(PING + LAST))
            assert (answer.status, answer.document["code"]) == (503, "too_many_connections")
            assert answer.headers["retry-after"] == "1"
        finally:
            for _, writer in held:
                writer.close()


async def test_stopping_ends_idle_connections(tmp_path: Path) -> None:
    async with serving(tmp_path) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(PING + b"\r\n")
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
    assert await asyncio.wait_for(reader.read(), 5)
    writer.close()
