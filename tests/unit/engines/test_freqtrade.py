"""freqtrade's oddities, each read for what it means."""

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from agents.egress import Authorization, GuardedClient, Limits
from agents.engines.base import Reading, Reason
from agents.engines.freqtrade import FreqtradeEngine
from agents.engines.shared import FIGURES_S
from control_plane.security.addresses import parse_bot_url
from control_plane.security.credentials import FreqtradeCredential
from tests.servers.freqtrade_server import FreqtradeServer
from tests.servers.hostile_server import always, hostile_server, http
from tests.unit.egress.support import LOOPBACK, until
from tests.unit.engines.support import paths

PASSWORD = "correct-horse"
QUICK = Limits(total_timeout=0.3)


async def read(
    url: str,
    *,
    password: str = PASSWORD,
    now: datetime | None = None,
    limits: Limits | None = None,
    figures_s: float = FIGURES_S,
) -> Reading:
    """One reading of the bot at `url`."""
    async with GuardedClient.for_tenants(allow=LOOPBACK, limits=limits) as client:
        credential = FreqtradeCredential("freqtrader", password)
        engine = FreqtradeEngine(figures_s=figures_s)
        return await engine.read(client, parse_bot_url(url), credential, None, now=now or datetime.now(UTC))


async def test_a_running_bot_is_read_in_full() -> None:
    async with FreqtradeServer(bot_name="alpha") as server:
        reading = await read(server.url)
    assert (reading.reachable, reading.credential_ok, reading.full, reading.reason) == (True, True, True, None)
    assert (reading.trading_state, reading.simulated, reading.version) == ("running", True, "2026.9")
    assert reading.identity == f"freqtrade:alpha@{server.first_start}"
    assert server.process_start is not None
    assert reading.started_at == datetime.fromtimestamp(server.process_start, UTC)
    assert reading.loop_age_s is not None
    assert reading.latency_ms is not None
    assert 0 <= reading.loop_age_s < 30
    assert reading.latency_ms > 0
    assert reading.currency == "USDT"
    assert reading.equity == Decimal("9728.73")
    assert reading.capital_base == 9900
    assert reading.realized_profit == Decimal("-175.44")
    assert reading.open_profit == Decimal("-2.74")
    assert reading.win_rate == Decimal("0.45945946")
    assert reading.max_drawdown == Decimal("0.01786")
    assert (reading.closed_trades, reading.open_positions) == (37, 5)


async def test_the_credential_goes_out_by_basic_but_not_with_the_first_call() -> None:
    async with FreqtradeServer() as server:
        await read(server.url)
    first, *others = server.requests
    assert first.path == "/api/v1/ping"
    assert "authorization" not in first.headers
    assert others
    assert all(request.headers["authorization"].startswith("Basic ") for request in others)
    assert server.connections == 1


@pytest.mark.parametrize("suffix", ["", "/", "/api/v1", "/api/v1/"])
@pytest.mark.parametrize("prefix", ["", "/bots/alpha"])
async def test_any_pasted_form_and_any_prefix_work(suffix: str, prefix: str) -> None:
    async with FreqtradeServer(prefix=prefix) as server:
        assert (await read(server.url + prefix + suffix)).full


async def test_money_is_read_without_binary_noise() -> None:
    async with FreqtradeServer() as server:
        server.profit_closed, server.profit_open = 0.1, 0.2
        reading = await read(server.url)
    # The server's own sum is 0.30000000000000004.
    assert (reading.realized_profit, reading.open_profit) == (Decimal("0.1"), Decimal("0.2"))


@pytest.mark.parametrize("state", ["running", "paused", "stopped", "reload_config"])
async def test_reachable_is_not_trading_and_not_trading_is_not_ill(state: str) -> None:
    async with FreqtradeServer() as server:
        server.trading_state = state
        reading = await read(server.url)
    assert (reading.trading_state, reading.reason, reading.credential_ok) == (state, None, True)


async def test_a_stopped_bot_refuses_to_count_and_is_counted_by_its_list() -> None:
    async with FreqtradeServer() as server:
        server.trading_state, server.open_trades = "stopped", 3
        reading = await read(server.url)
    assert (reading.open_positions, reading.full, reading.reason) == (3, True, None)
    assert paths(server) == ["ping", "show_config", "health", "count", "status", "profit", "balance"]


async def test_web_server_mode_has_no_performance_and_is_not_ill() -> None:
    async with FreqtradeServer() as server:
        server.trading_state = ""
        reading = await read(server.url)
    assert (reading.trading_state, reading.full, reading.reason) == ("webserver", False, None)
    assert (reading.equity, reading.realized_profit, reading.open_positions) == (None, None, None)


async def test_money_that_waits_in_orders_to_buy_is_still_the_bots() -> None:
    async with FreqtradeServer() as server:
        server.total_bot, server.waiting = 9228.73, 500.0
        reading = await read(server.url)
        assert (reading.equity, reading.full) == (Decimal("9728.73"), True)
        assert server.requests[-1].path != "/api/v1/balance"
        server.raw["status"] = b'[{"trade_id": 1, "orders": [{"is_open": true, "ft_order_side": "buy"}]}]'
        assert (await read(server.url)).equity is None
        server.raw["status"] = b'[{"trade_id": 1}]'
        assert (await read(server.url)).equity == Decimal("9228.73")  # others' orders, on the same account


async def test_null_profits_stay_unknown_and_the_balance_is_then_no_equity() -> None:
    async with FreqtradeServer() as server:
        server.prices_known = False
        reading = await read(server.url)
    assert (reading.open_profit, reading.equity) == (None, None)
    assert (reading.realized_profit, reading.capital_base) == (Decimal("-175.44"), Decimal(9900))
    assert (reading.full, reading.reason) == (True, None)


async def test_before_the_first_loop_age_and_identity_are_unknown() -> None:
    async with FreqtradeServer() as server:
        server.before_first_loop = True
        reading = await read(server.url)
    assert (reading.loop_age_s, reading.identity, reading.started_at, reading.reason) == (None, None, None, None)


async def test_the_loops_age_is_told_and_never_negative() -> None:
    now = datetime.now(UTC)
    async with FreqtradeServer() as server:
        server.last_loop = int(now.timestamp())
        late = await read(server.url, now=now + timedelta(minutes=6))
        ahead = await read(server.url, now=now - timedelta(minutes=6))
    assert late.loop_age_s is not None
    assert 359 < late.loop_age_s < 362
    assert ahead.loop_age_s == 0


async def test_before_the_first_closed_trade_the_win_rate_is_unknown() -> None:
    async with FreqtradeServer() as server:
        server.winning_trades = server.losing_trades = 0
        reading = await read(server.url)
    assert (reading.win_rate, reading.closed_trades) == (None, 0)


@pytest.mark.parametrize("version", [2.4, 2.5])
async def test_old_and_new_api_versions_are_read_alike(version: float) -> None:
    async with FreqtradeServer(api_version=version) as server:
        assert (await read(server.url)).full


async def test_a_wrong_password_is_auth_and_not_down() -> None:
    async with FreqtradeServer() as server:
        reading = await read(server.url, password="wrong")
    assert (reading.reason, reading.reachable, reading.credential_ok) == (Reason.AUTH, True, False)
    assert (reading.full, reading.trading_state, reading.equity) == (False, None, None)


@pytest.mark.parametrize(
    "answer",
    [
        http(b'{"detail": "Unauthorized"}', status="401 Unauthorized"),
        http(b'{"detail": "Could not validate credentials"}', "WWW-Authenticate: Bearer", status="401 Unauthorized"),
        http(b"<html>", status="401 Unauthorized", content_type="text/html"),
    ],
)
async def test_every_shape_of_401_is_auth_even_from_a_proxy_that_guards_all_routes(answer: bytes) -> None:
    async with hostile_server(always(answer)) as server:
        reading = await read(f"http://127.0.0.1:{server.port}")
    assert (reading.reason, reading.reachable, reading.credential_ok) == (Reason.AUTH, True, False)
    assert "Authorization" not in server.heads[0]
    assert "Authorization: Basic" in server.heads[1]


@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"])
@pytest.mark.parametrize("body", [b"<html>", b'{"error": "upstream"}', b'{"detail": "no"}', b"[]"])
async def test_a_gateways_error_is_not_the_bots(status: str, body: bytes) -> None:
    content_type = "text/html" if body.startswith(b"<") else "application/json"
    async with hostile_server(always(http(body, status=status, content_type=content_type))) as server:
        reading = await read(f"http://127.0.0.1:{server.port}")
    assert (reading.reason, reading.reachable, reading.credential_ok) == (Reason.HTTP_ERROR, False, None)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (http(b'{"status": "pang"}'), Reason.BAD_PAYLOAD),
        (http(b"<html>FreqUI", content_type="text/html"), Reason.BAD_PAYLOAD),
        (http(b'{"detail": "Not Found"}', status="404 Not Found"), Reason.HTTP_ERROR),
        (http(b"", "Location: /login", status="302 Found"), Reason.HTTP_ERROR),
        (http(b"{}", status="429 Too Many Requests"), Reason.RATE_LIMITED),
        (http(b"{}", status="500 Internal Server Error"), Reason.HTTP_ERROR),
        (http(b"<html>", status="400 Bad Request", content_type="text/html"), Reason.HTTP_ERROR),
    ],
)
async def test_what_is_no_freqtrade_is_told_without_trying_the_credential(answer: bytes, reason: Reason) -> None:
    async with hostile_server(always(answer)) as server:
        reading = await read(f"http://127.0.0.1:{server.port}")
    assert (reading.reason, reading.reachable, reading.full) == (reason, True, False)
    assert reading.detail
    assert ("https://" in reading.detail) is (b" 400 " in answer)  # what a server says that speaks TLS alone
    assert all("authorization" not in head.lower() for head in server.heads)


async def test_a_reload_is_a_refused_connection_and_then_nothing() -> None:
    async with FreqtradeServer() as server, GuardedClient.for_tenants(allow=LOOPBACK) as client:
        engine, credential = FreqtradeEngine(), FreqtradeCredential("freqtrader", PASSWORD)
        url = parse_bot_url(server.url)
        before = await engine.read(client, url, credential, None, now=datetime.now(UTC))
        await server.close_port()
        gap = await engine.read(client, url, credential, None, now=datetime.now(UTC))
        await server.open_port()
        after = await engine.read(client, url, credential, None, now=datetime.now(UTC))
    assert (before.reason, after.reason) == (None, None)
    assert (gap.reason, gap.reachable, gap.credential_ok, gap.equity) == (Reason.UNREACHABLE, False, None, None)
    assert before.identity == after.identity


async def test_a_hanging_exchange_hangs_the_balance_and_nothing_else() -> None:
    async with FreqtradeServer() as server:
        server.exchange_answers.clear()
        reading = await read(server.url, limits=QUICK)
    assert (reading.reason, reading.reachable, reading.full) == (None, True, False)
    assert (reading.realized_profit, reading.open_positions) == (Decimal("-175.44"), 5)
    assert (reading.equity, reading.capital_base) == (None, None)


async def test_what_waits_for_prices_that_are_forgotten_is_unknown_and_the_bot_is_well() -> None:
    async with FreqtradeServer() as server:
        server.prices_forgotten = True
        server.exchange_answers.clear()
        reading = await read(server.url, limits=QUICK)
    assert (reading.reason, reading.reachable, reading.credential_ok, reading.full) == (None, True, True, False)
    assert (reading.trading_state, reading.realized_profit, reading.equity) == ("running", None, None)
    # The next would wait as long, and the whole look ends before both are over.
    assert paths(server) == ["ping", "show_config", "health", "count", "profit"]
    assert reading.open_positions == 5


async def test_a_list_of_orders_that_hangs_leaves_the_equity_unknown_and_the_rest_standing() -> None:
    async with FreqtradeServer() as server:
        server.waiting = 12.0
        server.hanging = {"status"}
        reading = await read(server.url, limits=QUICK)
    assert (reading.reason, reading.reachable, reading.full) == (None, True, False)
    assert (reading.realized_profit, reading.capital_base) == (Decimal("-175.44"), Decimal(9900))
    assert reading.equity is None


async def test_what_a_look_can_do_without_is_not_waited_for_longer_than_the_look_may_take() -> None:
    async with FreqtradeServer() as server:
        server.exchange_answers.clear()
        async with asyncio.timeout(5.0):
            reading = await read(server.url, figures_s=0.3)
    assert (reading.reason, reading.reachable, reading.full) == (None, True, False)
    assert (reading.realized_profit, reading.open_positions, reading.equity) == (Decimal("-175.44"), 5, None)


async def test_a_hanging_bot_is_a_timeout() -> None:
    async def hang(_exchange: object) -> None:
        await asyncio.Event().wait()

    async with hostile_server(hang) as server:
        reading = await read(f"http://127.0.0.1:{server.port}", limits=QUICK)
    assert (reading.reason, reading.reachable) == (Reason.TIMEOUT, False)


@pytest.mark.parametrize("value", [b"NaN", b"-Infinity", b'"NaN"', b'"Infinity"'])
async def test_a_number_that_is_none_is_unknown_and_the_bot_is_not_called_down_for_it(value: bytes) -> None:
    async with FreqtradeServer() as server:
        server.raw["profit"] = (
            b'{"profit_closed_coin": -1.5, "profit_all_coin": ' + value + b', "closed_trade_count": 3, "winrate": NaN}'
        )
        reading = await read(server.url)
    assert (reading.reason, reading.full, reading.trading_state) == (None, True, "running")
    assert (reading.realized_profit, reading.closed_trades) == (Decimal("-1.5"), 3)
    assert (reading.open_profit, reading.equity, reading.win_rate) == (None, None, None)


@pytest.mark.parametrize("value", [b"1e400", b"-1e17", b'"many"', b"true", b"{}"])
async def test_amounts_that_cannot_be_are_a_bad_payload(value: bytes) -> None:
    async with FreqtradeServer() as server:
        server.raw["profit"] = b'{"profit_closed_coin": ' + value + b"}"
        reading = await read(server.url)
    assert (reading.reason, reading.reachable, reading.credential_ok) == (Reason.BAD_PAYLOAD, True, True)
    assert (reading.trading_state, reading.realized_profit) == ("running", None)


async def test_a_private_address_without_leave_is_refused() -> None:
    async with FreqtradeServer() as server, GuardedClient.for_tenants() as client:
        reading = await FreqtradeEngine().read(
            client, parse_bot_url(server.url), FreqtradeCredential("u", "p"), None, now=datetime.now(UTC)
        )
    assert (reading.reason, reading.reachable) == (Reason.EGRESS_REFUSED, False)
    assert server.connections == 0


async def test_no_reading_and_no_log_tells_a_secret_or_repeats_the_remote(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    told = ""
    async with FreqtradeServer() as server:
        for body in (b'{"profit_closed_coin": "planted-text"}', b'{"planted-text', b"[]"):
            server.raw["profit"] = body
            told += repr(await read(server.url))
        told += repr(await read(server.url, password="other-s3cret"))
        await server.close_port()
        told += repr(await read(server.url))
    for secret in (PASSWORD, "other-s3cret", "planted-text", "127.0.0.1"):
        assert secret not in told + caplog.text


async def test_the_contract_server_obeys_commands_and_reloads_by_closing_its_port() -> None:
    auth = Authorization.basic("freqtrader", PASSWORD)
    async with FreqtradeServer() as server, GuardedClient.for_tenants(allow=LOOPBACK) as client:
        url = parse_bot_url(server.url)
        server.process_start, server.reload_delay, server.reload_gap = 1, 0.0, 0.0
        states = []
        for route in ("pause", "stop", "stop", "start", "reload_config"):
            assert (await client.post_json(url, f"/api/v1/{route}", None, auth=auth)).status == 200
            states.append(server.trading_state)
        await until(lambda: server.process_start != 1 and server.listening)
        reading = await read(server.url)
    assert states == ["paused", "stopped", "stopped", "running", "running"]
    assert (reading.trading_state, reading.reason) == ("running", None)
