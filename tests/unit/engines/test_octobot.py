"""OctoBot's two faces; above all, that looking at one neither locks it nor stops it."""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from agents.egress import Limits
from agents.engines.base import ControlRefused, ReadFailure, Reason
from agents.engines.octobot import OctobotEngine
from tests.servers.loopback import Reply, json_reply
from tests.servers.octobot_server import OctobotNodeServer, OctobotServer
from tests.unit.engines.support import Always, Looks, paths

PASSWORD = "correct-horse&?"
NOW = datetime.now(UTC)
QUICK = Limits(total_timeout=0.3)


def classic(server: OctobotServer | Always, password: str | None = None, **config: Any) -> Looks:
    return Looks(OctobotEngine(), server.url, {} if password is None else {"password": password}, config)


def node(server: OctobotNodeServer, passphrase: str = "correct-horse") -> Looks:
    return Looks(OctobotEngine(), server.url, {"username": "0xABCDEF", "password": passphrase}, {"mode": "node"})


def profit(pnl: Any, currency: str = "USDT") -> dict[str, Any]:
    return {"ex_t": 1764000000, "ex_d": "2026-11-20", "pnl": pnl, "pnl_a": 0.1, "q": currency, "tc": 1}


def position(kind: str | None, pnl: Any = 1, market: str = "USDT") -> dict[str, Any]:
    return {"symbol": "BTC/USDT:USDT", "side": "long", "market": market, "unrealized_pnl": pnl, "SoR": kind}


def value(amount: str, age: timedelta) -> dict[str, Any]:
    return {"time": (NOW - age).timestamp(), "value": amount}


async def test_a_classic_one_without_a_password_is_read_in_full() -> None:
    async with OctobotServer() as server:
        server.pnl = [profit(12.5), profit("-2.5"), profit(1), profit(2)]
        server.history = [value("1000", timedelta(days=9)), value("1012.25", timedelta(hours=3))]
        server.positions = [position("Simulated", -1.5)]
        reading = await classic(server).read()
    assert (reading.reachable, reading.credential_ok, reading.full, reading.reason) == (True, True, True, None)
    assert (reading.version, reading.simulated, reading.trading_state) == ("OctoBot 2.0.13", True, None)
    assert reading.started_at == datetime(2026, 11, 20, 8, 15, 30, tzinfo=UTC)
    assert (reading.currency, reading.realized_profit, reading.open_profit) == ("USDT", Decimal(13), Decimal("-1.5"))
    assert (reading.equity, reading.capital_base) == (Decimal("1012.25"), Decimal(1000))
    assert (reading.closed_trades, reading.win_rate, reading.open_positions) == (4, Decimal("0.75"), 1)


@pytest.mark.parametrize(
    ("kinds", "simulated"),
    [
        (["Simulated"] * 3, True),
        (["Real"], False),
        (["Real", "Simulated"], None),
        (["Virtual"], None),
        (["Real", None], None),
        ([], None),
    ],
)
async def test_of_spot_trading_its_trades_tell_whether_its_money_is_real(
    kinds: list[str | None], simulated: bool | None
) -> None:
    async with OctobotServer() as server:
        server.trades = [{"symbol": "BTC/USDT", "price": 1.5, "SoR": kind} for kind in kinds]
        reading = await classic(server).read()
        assert (reading.simulated, reading.open_positions, reading.open_profit) == (simulated, 0, None)
        server.positions = [position("Real", 4)]
        server.raw["/api/trades"] = json_reply([{"SoR": "Simulated"}])
        assert (await classic(server).read()).simulated is False


@pytest.mark.parametrize("value", ["NaN", float("nan"), float("inf")])
async def test_a_profit_that_is_no_number_is_unknown_and_the_bot_well(value: object) -> None:
    async with OctobotServer() as server:
        server.pnl = [profit(12.5), profit(value)]
        reading = await classic(server).read()
    assert (reading.reason, reading.closed_trades) == (None, 2)
    assert (reading.realized_profit, reading.win_rate) == (None, None)


async def test_a_short_look_takes_two_calls() -> None:
    async with OctobotServer() as server:
        reading = await classic(server).check()
        assert [request.path for request in server.requests] == ["/api/ping", "/api/positions"]
    assert (reading.full, reading.credential_ok, reading.reason) == (False, True, None)


async def test_what_is_old_missing_or_null_stays_unknown() -> None:
    async with OctobotServer() as server:
        server.history = [value("1000", timedelta(days=9)), value("1012.25", timedelta(days=3))]
        server.pnl = [profit(None), profit(3)]
        old = await classic(server).read()
        server.history, server.pnl = [], []
        young = await classic(server).read()
    assert (old.equity, old.capital_base, old.realized_profit, old.win_rate) == (None, Decimal(1000), None, None)
    assert (young.equity, young.win_rate) == (None, None)
    assert (young.closed_trades, young.realized_profit) == (0, Decimal(0))
    assert (young.full, young.simulated, young.open_profit, young.reason) == (False, None, None, None)


async def test_currencies_and_kinds_are_never_added_up() -> None:
    async with OctobotServer() as server:
        server.pnl = [profit(1), profit(1, "BTC")]
        mixed = await classic(server).read()
        assert (mixed.realized_profit, mixed.win_rate, mixed.closed_trades) == (None, None, 2)
        assert "another currency" in (mixed.detail or "")


@pytest.mark.parametrize(
    ("told", "simulated", "open_profit", "open_positions"),
    [
        ([], None, None, 0),
        ([position("Real"), position("Real", "2.5")], False, Decimal("3.5"), 2),
        ([position("Simulated"), position("Simulated", None)], True, None, 2),
        ([position("Real"), position("Simulated")], None, None, None),
        ([position("Real"), position("Virtual")], None, None, None),
        ([position(None), position("Virtual")], None, None, 2),
        ([position("Real", market="BTC")], False, None, 1),
        ({"real_positions": [], "simulated_positions": []}, None, None, 0),
        ({"real_positions": [{"unrealized_pnl": 1}], "simulated_positions": []}, False, Decimal(1), 1),
        ({"simulated_positions": [{"unrealized_pnl": 1}] * 2}, True, Decimal(2), 2),
        ({"real_positions": [{"unrealized_pnl": 1, "market": "BTC"}]}, False, None, 1),
        ({"real_positions": [{"unrealized_pnl": 1}], "simulated_positions": [{}]}, None, None, None),
    ],
)
async def test_positions_are_read_as_a_list_and_as_older_ones_tell_them(
    told: Any, simulated: bool | None, open_profit: Decimal | None, open_positions: int | None
) -> None:
    async with OctobotServer() as server:
        server.positions = told
        reading = await classic(server).check()
    assert (reading.reason, reading.credential_ok) == (None, True)
    assert (reading.simulated, reading.open_profit, reading.open_positions) == (simulated, open_profit, open_positions)
    assert (reading.detail is None) == (open_positions is not None)


@pytest.mark.parametrize("since", ["2026-13-01 10:00:00", "2026-11-20 25:00:00", "٢٠٢٦-11-20 08:15:30", "yesterday"])
async def test_a_start_that_cannot_be_read_is_unknown_and_the_bot_is_well(since: str) -> None:
    async with OctobotServer() as server:
        server.since = since
        reading = await classic(server).check()
    assert (reading.started_at, reading.reachable, reading.reason) == (None, True, None)


async def test_a_login_is_made_once_and_anew_when_it_is_over() -> None:
    async with OctobotServer(password=PASSWORD) as server:
        bot = classic(server, PASSWORD)
        for _ in range(3):
            assert (await bot.read()).credential_ok is True
        assert len(server.sessions) == 1
        server.sessions.clear()
        assert (await bot.check()).reason is None
        assert len(server.sessions) == 1
        assert server.wrong == 0


@pytest.mark.parametrize("password", [None, "wrong"])
async def test_a_missing_or_wrong_password_is_auth(password: str | None) -> None:
    async with OctobotServer(password=PASSWORD) as server:
        reading = await classic(server, password).read()
    assert (reading.reason, reading.reachable, reading.credential_ok) == (Reason.AUTH, True, False)
    assert (reading.full, reading.latency_ms is not None) == (False, True)


async def test_a_wrong_password_is_not_tried_until_the_bot_locks_us_out() -> None:
    clock = 0.0
    async with OctobotServer(password=PASSWORD, attempts=10) as server:
        bot = Looks(OctobotEngine(clock=lambda: clock), server.url, {"password": "wrong"}, {})
        tries = []
        for later in (0.0, 899.0, 901.0, 2600.0, 2800.0, *(86_400.0 * day for day in range(1, 12))):
            clock = later
            assert (await bot.check()).reason is Reason.AUTH
            tries.append(server.wrong)
        assert tries == [1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 9, 9, 9]
        assert (await classic(server, PASSWORD).check()).reason is None


async def test_looking_never_does_anything() -> None:
    async with OctobotServer(password=PASSWORD) as server:
        bot = classic(server, PASSWORD)
        await bot.check()
        await bot.read()
        for action in ("start", "stop", "pause"):
            with pytest.raises(ControlRefused):
                await bot.control(action)
        assert not server.stopped
        assert {request.path for request in server.requests if request.method != "GET"} == {"/login"}
        assert not any("commands" in request.path for request in server.requests)


async def test_a_redirect_is_never_followed_nor_its_cookie_taken_elsewhere() -> None:
    async with OctobotServer() as elsewhere, OctobotServer() as server:
        away = Reply(302, b"", "text/html", {"Location": f"{elsewhere.url}/login", "Set-Cookie": "session=planted"})
        server.raw["/api/positions"] = away
        reading = await classic(server, PASSWORD).check()
        assert (reading.reason, elsewhere.requests) == (Reason.AUTH, [])


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (json_reply("pong"), Reason.BAD_PAYLOAD),
        (json_reply({"status": "pong"}), Reason.BAD_PAYLOAD),
        (Reply(200, b"<html>", "text/html"), Reason.BAD_PAYLOAD),
        (Reply(302, b"", "text/html", {"Location": "/login"}), Reason.HTTP_ERROR),
        (json_reply({}, 404), Reason.HTTP_ERROR),
    ],
)
async def test_what_is_no_octobot_is_told_before_any_password_goes_out(reply: Reply, reason: Reason) -> None:
    async with Always(reply) as server:
        reading = await classic(server, PASSWORD).read()
        assert len(server.requests) == 1
    assert (reading.reason, reading.reachable) == (reason, True)


@pytest.mark.parametrize(
    "form",
    [
        Reply(200, b"<form><input name='csrf_token' value=''>", "text/html"),
        Reply(200, b"", "text/html"),
        Reply(500, b"", "text/html"),
        Reply(200, b"\xff" * 100, "text/html", {"Set-Cookie": "=; ,;=,"}),
    ],
)
async def test_a_form_that_is_none_ends_the_reading_and_nothing_else(form: Reply) -> None:
    async with OctobotServer(password=PASSWORD) as server:
        server.raw["/login"] = form
        reading = await classic(server, PASSWORD).check()
    assert reading.reason in {Reason.AUTH, Reason.HTTP_ERROR}
    assert reading.reachable


async def test_a_history_too_long_to_read_leaves_the_rest_standing() -> None:
    async with OctobotServer() as server:
        server.raw["/api/pnl_history"] = Reply(200, b"[" + b" " * 1_100_000 + b"]", "application/json")
        server.history = [value("1000", timedelta(days=9)), value("1012.25", timedelta(hours=3))]
        reading = await classic(server).read()
    assert (reading.reason, reading.full, reading.equity, reading.closed_trades) == (
        None,
        False,
        Decimal("1012.25"),
        None,
    )


async def test_after_a_call_that_hangs_no_other_is_made_that_a_look_can_do_without() -> None:
    async with OctobotServer() as server:
        server.positions = [position("Real", 4)]
        server.pnl, server.history = [profit(3)], [value("1000", timedelta(hours=3))]
        server.hanging = {"/api/pnl_history", "/api/historical_portfolio_value"}
        none = await classic(server).look(full=True, limits=QUICK)
        assert paths(server)[-1] == "/api/pnl_history"
        server.hanging = {"/api/historical_portfolio_value"}
        some = await classic(server).look(full=True, limits=QUICK)
    for reading in (none, some):
        assert (reading.reason, reading.reachable, reading.credential_ok, reading.full) == (None, True, True, False)
        assert (reading.version, reading.open_profit, reading.equity) == ("OctoBot 2.0.13", Decimal(4), None)
    assert (none.closed_trades, none.realized_profit) == (None, None)
    assert (some.closed_trades, some.realized_profit) == (1, Decimal(3))


async def test_what_a_look_can_do_without_is_not_waited_for_longer_than_the_look_may_take() -> None:
    async with OctobotServer() as server:
        server.pnl, server.hanging = [profit(3)], {"/api/historical_portfolio_value"}
        bot = Looks(OctobotEngine(figures_s=0.3), server.url, {}, {})
        async with asyncio.timeout(5.0):
            reading = await bot.read()
    assert (reading.reason, reading.reachable, reading.full, reading.closed_trades) == (None, True, False, 1)


async def test_a_node_tells_its_state_and_can_be_stopped() -> None:
    async with OctobotNodeServer() as server:
        bot = node(server)
        short, full = await bot.check(), await bot.read()
        assert (short.trading_state, short.full, full.full) == ("running", False, True)
        assert (short.credential_ok, short.reason, full.equity) == (True, None, None)
        await bot.control("stop")
        assert (await bot.check()).trading_state == "stopped"
        with pytest.raises(ControlRefused, match="no way to start"):
            await bot.control("start")
        with pytest.raises(ReadFailure):
            await node(server, "wrong").control("stop")


async def test_a_node_that_is_not_set_up_or_refuses_is_reachable() -> None:
    async with OctobotNodeServer() as server:
        refused = await node(server, "wrong").check()
        server.configured = False
        unset = await node(server).check()
    assert (refused.reason, refused.credential_ok) == (Reason.AUTH, False)
    assert (unset.reason, unset.reachable, unset.credential_ok) == (Reason.HTTP_ERROR, True, None)
    assert "set up" in (unset.detail or "")


async def test_no_reading_tells_a_secret(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with OctobotServer(password=PASSWORD) as server:
        bot = classic(server, PASSWORD)
        told = repr(await bot.read()) + repr(await classic(server, "other-s3cret").read()) + repr(bot.credential)
    for secret in (PASSWORD, "other-s3cret"):
        assert secret not in told + caplog.text
