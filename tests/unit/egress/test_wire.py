"""The client over real sockets, on the agents' loop and on asyncio's own: connections end badly, and none stays."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeAlias

import pytest
import uvloop
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.egress import Authorization, EgressError, GuardedClient, Limits
from tests.servers.hostile_server import Exchange, HostileServer, Script, always, hostile_server, http
from tests.unit.egress.support import SECRET, Names, at, certificate, failure, local_client, outcome, until
from tests.unit.egress.test_answer import read

OK = http(b'{"ok": true}')
UNTIL_CLOSED = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{"ok": true}'

Run: TypeAlias = Callable[[Awaitable[None]], None]


@pytest.fixture(params=[uvloop.new_event_loop, asyncio.new_event_loop], ids=["uvloop", "asyncio"])
def run(request: pytest.FixtureRequest) -> Iterator[Run]:
    """Runs a scenario to its end on one of the loops."""

    async def whole(scenario: Awaitable[None]) -> None:
        await scenario

    with asyncio.Runner(loop_factory=request.param) as runner:
        yield lambda scenario: runner.run(whole(scenario))


def at_rest(client: GuardedClient) -> bool:
    """No call under way holds anything."""
    turns = client._shared.turns
    return not (turns._hosts.taken or turns._tenants.taken or turns._queue or len(client._shared.deadlines)) and (
        turns._free == client._shared.limits.concurrency
    )


async def reset(exchange: Exchange) -> None:
    exchange.reset()


async def say_no_more(exchange: Exchange) -> None:
    exchange.say_no_more()
    await exchange.until_given_up()


async def half_an_answer(exchange: Exchange) -> None:
    await exchange.send(OK[:-2])
    exchange.say_no_more()
    await exchange.until_given_up()


async def hang(exchange: Exchange) -> None:
    await exchange.until_given_up()


ENDS: dict[str, tuple[Script, str]] = {
    "reset": (reset, "unreachable"),
    "closed in one direction": (say_no_more, "unreachable"),
    "closed in one direction, in the body": (half_an_answer, "unreachable"),
    "nothing said": (hang, "timeout"),
    "too much said": (always(http(b" " * 3000)), "too_large"),
    "no HTTP": (always(b"+OK ready\r\n"), "bad_payload"),
    "another place": (always(http(b"{}", status="302 Found")), "redirected"),
}


@pytest.mark.parametrize("name", ENDS)
def test_connections_that_end_badly_are_closed_and_hold_nothing(run: Run, name: str) -> None:
    script, code = ENDS[name]

    async def scenario() -> None:
        limits = Limits(total_timeout=0.2 if code == "timeout" else 5.0, body_bytes=2000)
        async with hostile_server(script) as server, local_client(limits) as client:
            for _ in range(2):
                assert (await failure(client, at(server.port))).code == code
                assert at_rest(client)
                assert len(client._shared.idle) == 0
            await until(lambda: server.open == 0)
            assert server.connections == 2

    run(scenario())


def test_a_reset_is_no_end_of_a_body_without_a_length(run: Run) -> None:
    release = asyncio.Event()

    async def cut(exchange: Exchange) -> None:
        await exchange.send(UNTIL_CLOSED)
        await release.wait()
        exchange.reset()

    async def scenario() -> None:
        async with hostile_server(cut) as server, local_client() as client:
            call = asyncio.create_task(outcome(client, at(server.port)))
            await until(lambda: len(server.heads) == 1)
            release.set()
            assert await call == "unreachable"

    run(scenario())


@pytest.mark.parametrize("ending", ["hang_up", "say_no_more", "reset"])
def test_a_connection_that_ends_while_idle_leaves_by_itself_and_is_no_error(run: Run, ending: str) -> None:
    async def then_end(exchange: Exchange) -> None:
        await exchange.send(OK)
        getattr(exchange, ending)()

    async def scenario() -> None:
        async with hostile_server(then_end) as server, local_client() as client:
            for number in range(1, 4):
                assert await outcome(client, at(server.port)) == "answer"
                await until(lambda: len(client._shared.idle) == 0)
                assert server.connections == number

    run(scenario())


def test_bytes_nobody_asked_for_spoil_an_idle_connection(run: Run) -> None:
    more = asyncio.Event()

    async def surplus(exchange: Exchange) -> None:
        await exchange.send(OK)
        await more.wait()
        await exchange.send(http(b'{"ok": false}'))

    async def scenario() -> None:
        async with hostile_server(surplus) as server, local_client() as client:
            assert await outcome(client, at(server.port)) == "answer"
            assert len(client._shared.idle) == 1
            more.set()
            await until(lambda: len(client._shared.idle) == 0 and server.open == 0)

    run(scenario())


def test_many_calls_that_hang_end_together_under_one_timer(run: Run) -> None:
    names = Names(**{f"n{number}": [["127.0.0.1"]] for number in range(100)})

    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        async with hostile_server(hang) as server, local_client(Limits(total_timeout=0.6), names) as client:
            calls = [asyncio.create_task(failure(client, at(server.port, name))) for name in names.answers]
            await until(lambda: len(server.heads) == 100)
            assert len(client._shared.deadlines) == 100
            began = loop.time()
            assert {error.code for error in await asyncio.gather(*calls)} == {"timeout"}
            assert loop.time() - began < 5
            assert at_rest(client)
            await until(lambda: server.open == 0)

    run(scenario())


def test_calls_cancelled_at_any_moment_hold_nothing(run: Run) -> None:
    async def sometimes(exchange: Exchange) -> None:
        if exchange.number % 2:
            await exchange.send(OK)
        else:
            await exchange.until_given_up()

    async def scenario() -> None:
        limits = Limits(per_host=2, per_tenant=2, concurrency=2)
        async with hostile_server(sometimes) as server, local_client(limits) as client:
            acting = client.acting_for("one")
            for steps in range(24):
                calls = [asyncio.create_task(outcome(acting, at(server.port))) for _ in range(4)]
                for _ in range(steps):
                    await asyncio.sleep(0)
                for call in calls:
                    call.cancel()
                await asyncio.gather(*calls, return_exceptions=True)
                assert at_rest(client)
                assert len(client._shared.idle) <= 2
            client.close()
            await until(lambda: server.open == 0)

    run(scenario())


def test_a_connection_under_tls_is_kept_and_pinned(run: Run, tmp_path: Path) -> None:
    tls, trusting = certificate(tmp_path, "bot.test")
    names = Names(bot_test=[["127.0.0.1"]])

    async def scenario() -> None:
        async with hostile_server(always(OK), tls=tls) as server:
            async with local_client(names=names, ssl_context=trusting) as client:
                for _ in range(3):
                    assert await outcome(client, at(server.port, "bot.test", "https")) == "answer"
                assert server.connections == 1
                assert set(server.server_names) == {"bot.test"}
            async with local_client(names=names) as client:
                assert await outcome(client, at(server.port, "bot.test", "https")) == "unreachable"
            await until(lambda: server.open == 0)

    run(scenario())


# Answers are never confused

_TAGGED = http(b'"<@@@@>"')
_CHUNKED = (
    b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n8\r\n"<@@@@>"\r\n0\r\n\r\n'
)
_FRAGMENTS = st.sampled_from(
    [
        _TAGGED,
        _TAGGED,
        _TAGGED[:-3],
        http(b'"<@@@@>"', "Connection: close"),
        http(b'"<@@@@>"', status="401 No"),
        http(b"<@@@@>", status="502 No", content_type="text/html"),
        _CHUNKED,
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 204 No\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"\r\n",
        b'"<@@@@>"',
        b"0\r\n\r\n",
    ]
)
_ANSWER = st.tuples(
    st.lists(st.one_of(_FRAGMENTS, st.binary(max_size=4)), min_size=1, max_size=3).map(b"".join).filter(bool),
    st.lists(st.integers(0, 300), max_size=4),
    st.booleans(),
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answers=st.lists(_ANSWER, min_size=1, max_size=4))
def test_an_answer_is_the_answer_to_its_own_request(run: Run, answers: list[tuple[bytes, list[int], bool]]) -> None:
    ended = 0

    async def script(exchange: Exchange) -> None:
        nonlocal ended
        number = len(exchange.server.heads)
        data, cuts, closing = answers[(number - 1) % len(answers)]
        data = data.replace(b"@@@@", b"%04d" % number)
        places = sorted({cut % len(data) for cut in cuts} - {0})
        try:
            for begin, end in zip([0, *places], [*places, len(data)], strict=True):
                await exchange.send(data[begin:end])
                await asyncio.sleep(0)
            # What is no whole answer would only cost time.
            if closing or read(data).error == "unreachable" or read(data + b"x").error is None:
                exchange.hang_up()
        finally:
            ended += 1

    async def scenario() -> None:
        async with hostile_server(script) as server:
            async with local_client(Limits(total_timeout=20.0)) as client:
                for _ in range(4):
                    before = len(server.heads)
                    await _checked(client, server, before)
                    await until(lambda: ended == len(server.heads))
                    for _ in range(3):
                        await asyncio.sleep(0)
                assert at_rest(client)
                assert len(client._shared.idle) <= 1
            await until(lambda: server.open == 0)

    run(scenario())


async def _checked(client: GuardedClient, server: HostileServer, before: int) -> None:
    try:
        response = await client.get_json(at(server.port), "/x")
    except EgressError as error:
        assert error.code in {"unreachable", "bad_payload", "too_large"}  # noqa: PT017
    else:
        for tag in re.findall(rb"<(\d{4})>", response.body):
            assert int(tag) > before


# Signed bodies


async def _receive(reader: asyncio.StreamReader, got: list[bytes]) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    length = re.search(rb"Content-Length: (\d+)\r\n", head)
    assert length is not None
    got += [head, await reader.readexactly(int(length[1]))]


@pytest.mark.parametrize("body", [b"", b'{"a":1}', bytes(range(256)) * 3000])
def test_a_signed_body_goes_out_byte_for_byte(run: Run, body: bytes) -> None:
    got: list[bytes] = []
    served = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await _receive(reader, got)
        writer.write(b"HTTP/1.1 202 Accepted\r\nContent-Type: text/plain\r\nContent-Length: 4\r\n\r\nfine")
        await reader.read()
        writer.close()
        await writer.wait_closed()
        served.set()

    async def scenario() -> None:
        listener = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with listener, local_client() as client:
            url = at(listener.sockets[0].getsockname()[1])
            headers = {"webhook-id": "msg_1", "Content-Type": "application/json", "Webhook-Signature": "v1,abc= v1,d"}
            response = await client.post(url, "/hook?x=1", body, headers)
            assert (response.status, response.body) == (202, b"fine")
            client.close()
            await served.wait()

    run(scenario())
    head, received = got
    assert received == body
    assert head.startswith(b"POST /hook?x=1 HTTP/1.1\r\nHost: 127.0.0.1:")
    for line in (b"webhook-id: msg_1", b"Content-Type: application/json", b"Webhook-Signature: v1,abc= v1,d"):
        assert head.count(b"\r\n" + line + b"\r\n") == 1
    assert head.count(b"User-Agent: TradeWise\r\n") == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("X", "a\r\nHost: evil"), ("X", "a\nb"), ("X", "a\0"), ("X", "ä"), ("X", " a"), ("X", "a\t"), ("X\r\nY", "a"),
        ("X Y", "a"), ("X:", "a"), ("", "a"), ("Host", "evil"), ("content-length", "1"),
        ("Transfer-Encoding", "chunked"), ("Connection", "close"), ("Expect", "100-continue"), ("x-A", "given twice"),
    ],
)  # fmt: skip
async def test_headers_that_would_break_their_line_or_the_clients_rules_never_go_out(name: str, value: str) -> None:
    async with hostile_server(always(OK)) as server, local_client() as client:
        with pytest.raises(ValueError, match="header") as caught:
            await client.post(at(server.port), "/", b"", {"X-a": SECRET, name: value})
    assert SECRET not in str(caught.value)
    assert server.connections == 0


@pytest.mark.parametrize("path", ["/a b", "/a\r\nX: y", "/ä", "/\0", "x", "/a\x7f"])
async def test_paths_that_would_break_their_line_never_go_out(path: str) -> None:
    async with hostile_server(always(OK)) as server, local_client() as client:
        with pytest.raises(ValueError, match="path"):
            await client.get_json(at(server.port), path, auth=Authorization.bearer(SECRET))
    assert server.connections == 0
