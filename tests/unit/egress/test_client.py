"""Where the client connects, under which name, how often, and what it keeps."""

import asyncio
import socket
import time
from ipaddress import ip_network
from pathlib import Path

import msgspec
import pytest

from agents.egress import Authorization, EgressError, GuardedClient, Limits
from control_plane.security.addresses import Address, parse_bot_url
from tests.servers.hostile_server import Exchange, HostileServer, always, hostile_server, http, then_hang_up
from tests.unit.egress.support import LOOPBACK, SECRET, Names, at, certificate, failure, local_client, until

OK = http(b'{"ok": true}')
FRESH = Limits(idle_connections=0)


class Ok(msgspec.Struct):
    """The body of `OK`."""

    ok: bool


async def hang(exchange: Exchange) -> None:
    """Accept the request and never answer."""
    await asyncio.Event().wait()


def headers(head: str) -> dict[str, str]:
    """The headers of a request head, names in lower case."""
    pairs = (line.split(": ", 1) for line in head.strip().split("\r\n")[1:])
    return {name.lower(): value for name, value in pairs}


async def test_a_call_says_what_it_must_and_nothing_else() -> None:
    async with hostile_server(always(OK)) as server, local_client(names=Names(bot_test=[["127.0.0.1"]])) as client:
        url = parse_bot_url(f"http://Bot.Test:{server.port}/prefix/api/v1/")
        response = await client.get_json(url, "/api/v1/ping", auth=Authorization.basic("u", "p"))
        await client.post_json(url, "/api/v1/start", {"a": 1})
    assert response.decode(Ok).ok
    assert 0 < response.latency_ms < 5000
    assert server.heads[0].startswith("GET /prefix/api/v1/ping HTTP/1.1\r\n")
    assert headers(server.heads[0]) == {
        "host": f"bot.test:{server.port}",
        "user-agent": "TradeWise",
        "accept": "application/json",
        "accept-encoding": "identity",
        "authorization": "Basic dTpw",
    }
    assert headers(server.heads[1])["content-length"] == "7"
    assert "authorization" not in headers(server.heads[1])


async def test_settings_of_the_environment_and_cookies_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    answer = http(b'{"ok": true}', "Set-Cookie: session=1; Path=/")
    async with hostile_server(always(answer)) as server, local_client() as client:
        for _ in range(2):
            await client.get_json(at(server.port), "/x")
    assert all("cookie" not in head.lower() for head in server.heads)


# Connections


async def test_a_connection_is_kept_for_the_next_poll() -> None:
    names = Names(bot_test=[["127.0.0.1"]])
    async with hostile_server(always(OK)) as server, local_client(names=names) as client:
        for _ in range(3):
            await client.get_json(at(server.port, "bot.test"), "/x")
    assert (len(server.heads), server.connections, names.looked_up) == (3, 1, ["bot.test"])


async def test_connections_outlive_a_usual_poll_interval() -> None:
    assert Limits().idle_seconds > 60


async def test_a_connection_closed_while_idle_is_no_error() -> None:
    async with hostile_server(then_hang_up(OK)) as server, local_client() as client:
        for _ in range(3):
            assert (await client.get_json(at(server.port), "/x")).status == 200
    assert server.connections == 3


async def test_a_connection_closed_on_the_next_request_is_no_error() -> None:
    async def first_only(exchange: Exchange) -> None:
        if exchange.number == 1:
            await exchange.send(OK)
        else:
            exchange.hang_up()

    async with hostile_server(first_only) as server, local_client() as client:
        for _ in range(3):
            assert (await client.get_json(at(server.port), "/x")).status == 200
    assert server.connections == 3
    assert len(server.heads) == 5


async def test_a_fresh_connection_is_not_tried_twice() -> None:
    async with hostile_server(then_hang_up(b"")) as server, local_client() as client:
        assert (await failure(client, at(server.port))).code == "unreachable"
    assert server.connections == 1


async def test_half_an_answer_on_a_kept_connection_is_an_error() -> None:
    async def half(exchange: Exchange) -> None:
        await exchange.send(OK if exchange.number == 1 else OK[:-4])
        if exchange.number > 1:
            exchange.hang_up()

    async with hostile_server(half) as server, local_client() as client:
        await client.get_json(at(server.port), "/x")
        assert (await failure(client, at(server.port))).code == "unreachable"
    assert server.connections == 1


async def test_a_post_is_sent_once_on_a_connection_of_its_own() -> None:
    async def gets_only(exchange: Exchange) -> None:
        if exchange.server.heads[-1].startswith("GET"):
            await exchange.send(OK)
        else:
            exchange.hang_up()

    async with hostile_server(gets_only) as server, local_client() as client:
        await client.get_json(at(server.port), "/x")
        with pytest.raises(EgressError) as caught:
            await client.post_json(at(server.port), "/stop", None)
    assert caught.value.code == "unreachable"
    assert [head.split(" ")[0] for head in server.heads] == ["GET", "POST"]
    assert server.connections == 2


@pytest.mark.parametrize("surplus", [http(b'{"ok": false}'), b"surplus", b"HTTP/1.1 200 OK\r\n"])
async def test_an_answer_nobody_asked_for_is_never_taken_for_the_next(surplus: bytes) -> None:
    async with hostile_server(always(OK + surplus)) as server, local_client() as client:
        for _ in range(3):
            assert (await client.get_json(at(server.port), "/x")).decode(Ok).ok
    assert server.connections == 3


async def test_idle_connections_are_bounded_and_expire() -> None:
    async with (
        hostile_server(always(OK)) as one,
        hostile_server(always(OK)) as two,
        local_client(Limits(idle_connections=1)) as bounded,
        local_client(Limits(idle_seconds=0.0)) as impatient,
    ):
        for server in (one, two, two, one):
            await bounded.get_json(at(server.port), "/x")
        assert (one.connections, two.connections) == (2, 1)
        await impatient.get_json(at(one.port), "/x")
        await impatient.get_json(at(one.port), "/x")
        assert one.connections == 4


async def test_a_connection_idle_for_too_long_is_not_used_again() -> None:
    async with hostile_server(always(OK)) as server, local_client(Limits(idle_seconds=0.05)) as client:
        await client.get_json(at(server.port), "/x")
        over = time.monotonic() + 0.06
        await until(lambda: time.monotonic() > over)
        await client.get_json(at(server.port), "/x")
        assert server.connections == 2


# Names and addresses


async def test_a_connection_to_a_name_is_made_anew_after_a_while_and_meets_the_check_again() -> None:
    names = Names(bot_test=[["127.0.0.1"], ["127.0.0.2"]])
    async with hostile_server(always(OK)) as server, local_client(Limits(names_seconds=0.0), names) as client:
        for _ in range(2):  # an address leads nowhere else
            await client.get_json(at(server.port), "/x")
        assert server.connections == 1
        assert (await client.get_json(at(server.port, "bot.test"), "/x")).status == 200
        assert (await failure(client, at(server.port, "bot.test"))).code == "egress_refused"


async def test_private_addresses_are_refused_unless_allowed() -> None:
    async with hostile_server(always(OK)) as server, GuardedClient.for_tenants() as client:
        for host in ("127.0.0.1", "::1", "169.254.169.254", "10.0.0.1", "::ffff:127.0.0.1"):
            assert (await failure(client, at(server.port, host))).code == "egress_refused"
        assert (await failure(client, at(server.port, "localhost"))).code == "egress_refused"
    assert server.connections == 0


async def test_the_systems_resolver_answers_and_knows_no_invalid_names() -> None:
    async with hostile_server(always(OK)) as server:
        allow = [*LOOPBACK, ip_network("::1/128")]
        async with GuardedClient.for_tenants(allow=allow) as client:
            assert (await client.get_json(at(server.port, "localhost"), "/x")).status == 200
            assert (await failure(client, at(server.port, "a..b"))).code == "unreachable"


async def test_a_rebound_name_is_refused_at_the_next_connection() -> None:
    names = Names(bot_test=[["127.0.0.1"], ["127.0.0.2"]])
    async with hostile_server(always(OK)) as server, local_client(FRESH, names) as client:
        url = at(server.port, "bot.test")
        assert (await client.get_json(url, "/x")).status == 200
        assert (await failure(client, url)).code == "egress_refused"
    assert names.looked_up == ["bot.test"] * 2
    assert server.connections == 1


@pytest.mark.parametrize(
    "bad", ["10.0.0.1", "169.254.169.254", "::1", "fe80::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1"]
)
@pytest.mark.parametrize("first", [True, False])
async def test_one_bad_address_spoils_the_answer(bad: str, *, first: bool) -> None:
    answer = [bad, "127.0.0.1"] if first else ["127.0.0.1", bad]
    async with hostile_server(always(OK)) as server, local_client(names=Names(bot_test=[answer])) as client:
        error = await failure(client, at(server.port, "bot.test"))
    assert error.code == "egress_refused"
    assert bad not in str(error)
    assert server.connections == 0


async def test_the_next_address_is_tried_when_one_refuses() -> None:
    names = Names(bot_test=[["127.0.0.3", "127.0.0.1"]])
    async with hostile_server(always(OK)) as server:
        allow = [ip_network("127.0.0.0/8")]
        async with GuardedClient.for_tenants(allow=allow, resolver=names) as client:
            assert (await client.get_json(at(server.port, "bot.test"), "/x")).status == 200


async def test_unknown_names_and_closed_ports_are_unreachable() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        async with local_client(names=Names(empty_test=[[]])) as client:
            assert (await failure(client, at(port))).code == "unreachable"
            assert (await failure(client, at(port, "nowhere.test"))).code == "unreachable"
            assert (await failure(client, at(port, "empty.test"))).code == "unreachable"


async def test_a_name_server_that_hangs_is_a_timeout() -> None:
    async def hanging(_host: str, _port: int) -> list[Address]:
        await asyncio.Event().wait()
        return []

    async with GuardedClient.for_tenants(limits=Limits(connect_timeout=0.1), resolver=hanging) as client:
        assert (await failure(client, at(8080, "bot.test"))).code == "timeout"


async def test_hosted_bots_are_reached_at_our_addresses_only() -> None:
    async with hostile_server(always(OK)) as server, GuardedClient.for_hosted(LOOPBACK) as client:
        assert (await client.get_json(at(server.port), "/x")).status == 200
        for host in ("127.0.0.2", "10.0.0.1", "8.8.8.8", "localhost", "bot.example.com"):
            assert (await failure(client, at(server.port, host))).code == "egress_refused"


# TLS


async def test_certificates_are_checked_against_the_name(tmp_path: Path) -> None:
    tls, trusting = certificate(tmp_path, "bot.test")
    names = Names(bot_test=[["127.0.0.1"]], other_test=[["127.0.0.1"]])
    async with hostile_server(always(OK), tls=tls) as server:
        async with local_client(names=names, ssl_context=trusting) as client:
            for _ in range(2):
                assert (await client.get_json(at(server.port, "bot.test", "https"), "/x")).status == 200
            wrong_name = await failure(client, at(server.port, "other.test", "https"))
            wrong_kind = await failure(client, at(server.port, "127.0.0.1", "https"))
        async with local_client(names=names) as client:
            untrusted = await failure(client, at(server.port, "bot.test", "https"))
    for error in (wrong_name, wrong_kind, untrusted):
        assert error.code == "unreachable"
        assert "certificate" in error.message
    assert server.server_names[0] == "bot.test"
    assert len(server.heads) == 2
    assert server.heads[0].count(f"Host: bot.test:{server.port}\r\n") == 1


@pytest.mark.parametrize("said", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b""])
@pytest.mark.parametrize("reads", [0, 4096])
async def test_plain_http_where_tls_was_asked_for_is_told_so_and_not_as_a_certificate(said: bytes, reads: int) -> None:
    async def complain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(reads)
        writer.write(said)
        writer.close()

    listener = await asyncio.start_server(complain, "127.0.0.1", 0)
    async with listener, local_client() as client:
        port = listener.sockets[0].getsockname()[1]
        error = await failure(client, at(port, scheme="https"))
    assert error.code == "unreachable"
    assert "http://" in error.message


# Turns


async def counted(servers: list[HostileServer]) -> int:
    """Requests that have arrived, once no more do."""
    await until(lambda: any(server.heads for server in servers))
    seen = -1
    while seen != (now := sum(len(server.heads) for server in servers)):
        seen = now
        for _ in range(200):
            await asyncio.sleep(0)
    return seen


async def test_a_host_gets_two_calls_at_once_whatever_its_ports_and_others_do_not_wait() -> None:
    names = Names(slow_test=[["127.0.0.1"]], quick_test=[["127.0.0.1"]])
    limits = Limits(total_timeout=3.0)
    async with (
        hostile_server(hang) as one,
        hostile_server(hang) as two,
        hostile_server(always(OK)) as quick,
        local_client(limits, names) as client,
        asyncio.TaskGroup() as group,
    ):
        slow = [
            group.create_task(client.get_json(at(server.port, "slow.test"), "/x"))
            for server in (one, two, one, two, one, two)
        ]
        assert await counted([one, two]) == 2
        assert (await client.get_json(at(quick.port, "quick.test"), "/x")).status == 200
        for task in slow:
            task.cancel()


async def test_hosted_bots_at_one_address_do_not_share_turns() -> None:
    async with (
        hostile_server(hang) as one,
        hostile_server(hang) as two,
        GuardedClient.for_hosted(LOOPBACK) as client,
        asyncio.TaskGroup() as group,
    ):
        calls = [group.create_task(client.get_json(at(server.port), "/x")) for server in (one, two) for _ in range(3)]
        assert await counted([one, two]) == 4
        for task in calls:
            task.cancel()


async def test_there_is_a_limit_for_all_hosts_together() -> None:
    names = Names(**{f"n{number}": [["127.0.0.1"]] for number in range(6)})
    async with (
        hostile_server(hang) as server,
        local_client(Limits(concurrency=3), names) as client,
        asyncio.TaskGroup() as group,
    ):
        calls = [group.create_task(client.get_json(at(server.port, name), "/x")) for name in names.answers]
        assert await counted([server]) == 3
        for task in calls:
            task.cancel()


async def test_waiting_in_vain_is_a_timeout_and_turns_come_back() -> None:
    hanging = True

    async def hang_at_first(exchange: Exchange) -> None:
        if hanging:
            await hang(exchange)
        await exchange.send(OK)

    async with hostile_server(hang_at_first) as server, local_client(Limits(per_host=1, total_timeout=0.2)) as client:
        codes = await asyncio.gather(*(failure(client, at(server.port)) for _ in range(2)))
        assert [error.code for error in codes] == ["timeout", "timeout"]
        hanging = False
        assert (await client.get_json(at(server.port), "/x")).status == 200


async def test_a_cancelled_call_gives_everything_back() -> None:
    async def hang_first(exchange: Exchange) -> None:
        if len(exchange.server.heads) == 1:
            await hang(exchange)
        await exchange.send(OK)

    async with hostile_server(hang_first) as server, local_client(Limits(per_host=1)) as client:
        call = asyncio.create_task(client.get_json(at(server.port), "/x"))
        await until(lambda: len(server.heads) == 1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        response = await client.get_json(at(server.port), "/x", auth=Authorization.bearer(SECRET))
    assert response.status == 200
    assert server.connections == 2


async def test_one_tenant_with_many_hosts_leaves_turns_for_the_others() -> None:
    names = Names(**{f"h{number}_test": [["127.0.0.1"]] for number in range(9)})
    limits = Limits(per_host=2, per_tenant=3, concurrency=6)
    async with hostile_server(hang) as slow, hostile_server(always(OK)) as quick, local_client(limits, names) as client:
        hoarding = client.acting_for("one")
        calls = [asyncio.create_task(hoarding.get_json(at(slow.port, f"h{n}.test"), "/x")) for n in range(8)]
        await until(lambda: len(slow.heads) == 3)
        # The others are served at once, and so is a call for nobody; the tenant's own ninth host waits.
        assert (await client.acting_for("two").get_json(at(quick.port, "h8.test"), "/x")).status == 200
        assert (await client.get_json(at(quick.port, "h8.test"), "/x")).status == 200
        waiting = asyncio.create_task(hoarding.get_json(at(quick.port, "h8.test"), "/x"))
        assert await counted([slow]) == 3
        assert not waiting.done()
        for call in calls[:3]:
            call.cancel()
        await until(lambda: len(slow.heads) == 6)  # turns come back to whoever of the tenant waits longest
        for call in calls:
            call.cancel()
        assert (await waiting).status == 200
        await asyncio.gather(*calls, return_exceptions=True)


async def test_a_tenant_that_waits_in_vain_is_told_in_time() -> None:
    limits = Limits(per_tenant=1, total_timeout=0.2)
    names = Names(a_test=[["127.0.0.1"]], b_test=[["127.0.0.1"]])
    async with hostile_server(hang) as slow, local_client(limits, names) as client:
        acting = client.acting_for("one")
        codes = await asyncio.gather(*(failure(acting, at(slow.port, f"{name}.test")) for name in "ab"))
    assert [error.code for error in codes] == ["timeout", "timeout"]
