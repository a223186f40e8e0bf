"""Many bots behind one hummingbot-api: what is known of each, and what is not."""

from __future__ import annotations

import asyncio
from decimal import Decimal
from typing import Any

import pytest

from agents.egress import Limits
from agents.engines.base import ControlRefused, ReadFailure, Reason
from agents.engines.hummingbot import HummingbotEngine
from tests.servers.hummingbot_server import HummingbotServer, performance, position
from tests.servers.loopback import Reply, json_reply
from tests.unit.engines.support import Always, Looks, Raw

CREDENTIAL = {"username": "admin", "password": "correct-horse"}


def bot(
    server: HummingbotServer | Always,
    name: str = "alpha",
    engine: HummingbotEngine | None = None,
    credential: Raw | None = None,
    **config: Any,
) -> Looks:
    """One bot of a server; with an engine of its own unless one is given."""
    return Looks(engine or HummingbotEngine(), server.url, credential or CREDENTIAL, {"bot_name": name, **config})


def asked(server: HummingbotServer, path: str = "/bot-orchestration/status") -> int:
    return sum(request.path == path for request in server.requests)


async def test_a_bot_is_read_in_full() -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"] = {
            "maker": performance("12.5", -2.25, position("BTC-USDT"), position("ETH-USDT", 0), TAKE_PROFIT=3),
            "taker": performance(1, "0.25", position("SOL-USDT"), STOP_LOSS=1, EARLY_STOP=9),
        }
        reading = await bot(server, capital="1000", currency="usdt").read()
    assert (reading.reachable, reading.credential_ok, reading.full, reading.reason) == (True, True, True, None)
    assert (reading.trading_state, reading.simulated, reading.version) == ("running", False, "1.0.1")
    assert (reading.currency, reading.realized_profit, reading.open_profit) == ("USDT", Decimal("13.5"), Decimal(-2))
    assert (reading.capital_base, reading.equity) == (Decimal(1000), Decimal("1011.5"))
    assert (reading.closed_trades, reading.win_rate, reading.open_positions) == (4, Decimal("0.75"), 2)
    assert (reading.loop_age_s, reading.max_drawdown, reading.detail) == (None, None, None)
    assert reading.latency_ms is not None


async def test_one_controller_is_read_alone() -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"] = {
            "maker": performance("12.5", 0, position("BTC-USDT")),
            "taker": performance(1, 0, position("SOL-BTC")),
        }
        reading = await bot(server, controller_id="maker").read()
        absent = await bot(server, controller_id="other").read()
    assert (reading.currency, reading.realized_profit) == ("USDT", Decimal("12.5"))
    assert (absent.full, absent.realized_profit, absent.reason) == (True, None, None)
    assert absent.detail == "It has no controller other: see its controller_id. Its figures are unknown."


async def test_without_a_stated_capital_there_is_no_equity() -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"] = {"maker": performance(1, 2, position("BTC-USDT"))}
        reading = await bot(server).read()
    assert (reading.realized_profit, reading.equity, reading.capital_base) == (Decimal(1), None, None)


@pytest.mark.parametrize(
    ("positions", "config", "word"),
    [
        ([position("BTC-USDT"), position("ETH-BTC")], {}, "different quote"),
        ([position("BTC-USDT")], {"currency": "EUR"}, "another than you stated"),
        ([], {}, "state it"),
        ([position("BTC-USDT"), position("ETH-USDT", connector="kucoin_paper_trade")], {}, "on paper"),
    ],
)
async def test_different_currencies_and_paper_with_real_are_never_added_up(
    positions: list[Any], config: dict[str, Any], word: str
) -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"] = {"maker": performance(1, 2, *positions, TAKE_PROFIT=2)}
        reading = await bot(server, **config).read()
    assert (reading.realized_profit, reading.open_profit, reading.currency) == (None, None, None)
    assert (reading.reason, reading.full, reading.closed_trades) == (None, True, 2)
    assert word in (reading.detail or "")


@pytest.mark.parametrize(
    ("config", "told", "simulated", "word"),
    [
        ({}, (None, None, None, None), None, "not added up: state it"),
        (
            {"currency": "USDT", "capital": "1000"},
            ("USDT", Decimal("100.5"), Decimal(2), Decimal("1102.5")),
            None,
            None,
        ),
        ({"currency": "BTC", "capital": "1"}, (None, None, None, None), None, "another than you stated"),
        ({"controller_id": "silent"}, (None, None, None, None), None, "state it"),
        ({"controller_id": "silent", "currency": "BTC"}, ("BTC", Decimal("0.5"), Decimal(0), None), None, None),
        ({"controller_id": "maker"}, ("USDT", Decimal(100), Decimal(2), None), False, None),
    ],
)
async def test_positions_of_one_controller_do_not_tell_what_the_amounts_of_another_are(
    config: dict[str, Any], told: tuple[Any, ...], simulated: bool | None, word: str | None
) -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"] = {
            "maker": performance(100, 2, position("BTC-USDT"), TAKE_PROFIT=2),
            "silent": performance("0.5", 0, TAKE_PROFIT=1),
        }
        reading = await bot(server, **config).read()
    assert (reading.currency, reading.realized_profit, reading.open_profit, reading.equity) == told
    assert (reading.full, reading.reason, reading.simulated) == (True, None, simulated)
    assert reading.detail is None if word is None else word in (reading.detail or "")


async def test_a_controller_without_amounts_has_no_say() -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"] = {"maker": performance(1, 2, position("BTC-USDT")), "fresh": performance(0, "0.0")}
        reading = await bot(server).read()
    assert (reading.currency, reading.realized_profit, reading.simulated) == ("USDT", Decimal(1), False)


async def test_a_controller_that_tells_nothing_leaves_the_sums_unknown() -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"] = {"maker": performance(1, 2, position("BTC-USDT"), TAKE_PROFIT=2)}
        server.bots["alpha"]["taker"] = {"status": "error", "error": "Some metrics are not numeric"}
        reading = await bot(server, currency="USDT", capital="1000").read()
    assert (reading.realized_profit, reading.open_profit, reading.equity) == (None, None, None)
    assert (reading.closed_trades, reading.open_positions, reading.full) == (None, None, True)


@pytest.mark.parametrize(
    ("connectors", "simulated"),
    [(["a_paper_trade", "b_paper_trade"], True), (["binance"], False), ([], None), (["a_paper_trade", "b"], None)],
)
async def test_paper_is_told_by_the_connectors(connectors: list[str], simulated: bool | None) -> None:
    async with HummingbotServer() as server:
        positions = [position("BTC-USDT", connector=name) for name in connectors]
        server.bots["alpha"] = {"maker": performance(1, 2, *positions)}
        assert (await bot(server).read()).simulated is simulated


@pytest.mark.parametrize("closes", [{"TIME_LIMIT": 1, "TAKE_PROFIT": 1}, {"COMPLETED": 1}, {}, {"EARLY_STOP": 4}])
async def test_a_win_rate_that_cannot_be_known_is_unknown(closes: dict[str, int]) -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"] = {"maker": performance(1, 2, position("BTC-USDT"), **closes)}
        reading = await bot(server).read()
    assert reading.win_rate is None
    assert reading.closed_trades == sum(number for name, number in closes.items() if name != "EARLY_STOP")


@pytest.mark.parametrize(
    ("closes", "tally"),
    [({"EARLY_STOP": 3000}, 3000), ({"EARLY_STOP": 9, "TAKE_PROFIT": 2, "POSITION_HOLD": 1}, 12), ({}, 0)],
)
async def test_however_its_executors_closed_they_are_counted(closes: dict[str, int], tally: int) -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"] = {"maker": performance(1, 2, **closes)}
        server.bots["beta"] = {"maker": performance(1, 2, **closes), "taker": {"performance": {}}}
        one, other = await bot(server).read(), await bot(server, "beta").read()
    assert (one.tally, other.tally) == (tally, None)


async def test_null_stays_unknown() -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"] = {"maker": performance(None, None, position("BTC-USDT"))}
        server.bots["beta"] = {"maker": {"performance": {}}, "taker": {"status": "error"}}
        one, other = await bot(server).read(), await bot(server, "beta", currency="USDT").read()
    assert (one.realized_profit, one.open_profit, one.equity, one.reason) == (None, None, None, None)
    assert (other.realized_profit, other.closed_trades, other.open_positions) == (None, None, None)


async def test_a_silent_bot_is_idle() -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"], server.silent = {"maker": performance()}, {"alpha"}
        assert (await bot(server).check()).trading_state == "idle"


@pytest.mark.parametrize(("run", "state"), [("STOPPED", "stopped"), ("RUNNING", None), ("CREATED", None), (None, None)])
async def test_no_figures_is_stopped_only_where_the_newest_run_says_so(run: str | None, state: str | None) -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"] = {}
        server.runs = {} if run is None else {"alpha": run}
        short, full = await bot(server).check(), await bot(server).read()
    assert (short.trading_state, full.trading_state) == (state, state)
    assert (short.reason, short.reachable, short.full, full.full) == (None, True, False, True)
    assert ("unknown" in (short.detail or "")) is (state is None)


@pytest.mark.parametrize(
    "ill",
    [
        *(json_reply({"detail": "no"}, status) for status in (404, 500, 503)),
        Reply(200, b"<html>", "text/html"),
        json_reply({"data": 7}),
        None,
    ],
    ids=["404", "500", "503", "no JSON", "another form", "too late"],
)
async def test_runs_that_cannot_be_read_leave_the_state_unknown_and_the_bot_well(ill: Reply | None) -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"], server.ill = {}, ill
        if ill is None:
            server.runs_answer.clear()
        for full in (False, True):
            reading = await bot(server).look(full=full, limits=Limits(total_timeout=0.5))
            assert (reading.reason, reading.reachable, reading.credential_ok) == (None, True, True)
            assert (reading.trading_state, reading.full) == (None, full)
            assert "unknown" in (reading.detail or "")


@pytest.mark.parametrize(
    ("status", "reason", "credential_ok"), [(401, Reason.AUTH, False), (429, Reason.RATE_LIMITED, True)]
)
async def test_runs_that_are_refused_are_a_refusal(status: int, reason: Reason, credential_ok: bool) -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"], server.ill = {}, json_reply({"detail": "no"}, status)
        reading = await bot(server).check()
    assert (reading.reason, reading.reachable, reading.credential_ok) == (reason, True, credential_ok)


async def test_a_stopped_bot_costs_no_call_of_its_own_at_every_look() -> None:
    async with HummingbotServer() as server:
        server.bots, server.runs = {"alpha": {}, "beta": {}}, {"alpha": "STOPPED", "beta": "RUNNING"}
        engine = HummingbotEngine(fresh_for_s=0.0)
        for _ in range(3):
            looks = (bot(server, "alpha", engine), bot(server, "beta", engine))
            assert [(await one.check()).trading_state for one in looks] == ["stopped", None]
        assert asked(server, "/bot-orchestration/bot-runs") == 2
        server.ill = json_reply({}, 500)
        await looks[0].control("stop")
        # What was known before it was told to is of no use any more; and that nothing is known is not kept.
        assert (await looks[0].check()).trading_state is None
        server.ill = None
        assert (await looks[0].check()).trading_state == "stopped"


async def test_an_unknown_bot_is_not_reached_though_its_api_answers() -> None:
    async with HummingbotServer() as server:
        server.bots["beta"] = {"maker": performance()}
        reading = await bot(server).check()
    assert (reading.reason, reading.reachable, reading.credential_ok) == (Reason.UNREACHABLE, False, True)
    async with Always(json_reply({"status": "success", "data": {"alpha": {"status": "not_found"}}})) as other:
        assert (await bot(other).check()).reason is Reason.UNREACHABLE


async def test_a_wrong_password_is_auth() -> None:
    async with HummingbotServer() as server:
        reading = await bot(server, credential={"username": "admin", "password": "wrong"}).read()
    assert (reading.reason, reading.reachable, reading.credential_ok) == (Reason.AUTH, True, False)


async def test_what_one_bot_reports_cannot_hurt_another() -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"] = {"maker": {"performance": {"realized_pnl_quote": "many"}}}
        server.bots["beta"] = {"maker": performance(1, 2, position("BTC-USDT"))}
        engine = HummingbotEngine()
        ill, well = await bot(server, engine=engine).read(), await bot(server, "beta", engine).read()
    assert (ill.reason, ill.reachable, ill.credential_ok) == (Reason.BAD_PAYLOAD, True, True)
    assert (well.reason, well.realized_profit) == (None, Decimal(1))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity"])
async def test_an_amount_that_is_no_number_is_unknown_and_nothing_else_with_it(value: str) -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"] = {"maker": performance(1, value, position("BTC-USDT"))}
        reading = await bot(server).read()
    assert (reading.reason, reading.open_profit, reading.equity) == (None, None, None)
    assert (reading.realized_profit, reading.trading_state) == (Decimal(1), "running")


@pytest.mark.parametrize("value", ["1e400", "-1e17"])
async def test_amounts_that_cannot_be_are_a_bad_payload(value: str) -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"] = {"maker": performance(value, 1, position("BTC-USDT"))}
        assert (await bot(server).read()).reason is Reason.BAD_PAYLOAD


@pytest.mark.parametrize(
    "reply", [json_reply([]), json_reply({"data": []}), Reply(200, b"<html>", "text/html"), json_reply({}, 404)]
)
async def test_what_is_no_hummingbot_api_is_told(reply: Reply) -> None:
    async with Always(reply) as server:
        reading = await bot(server).check()
    assert reading.reason in {Reason.BAD_PAYLOAD, Reason.HTTP_ERROR}
    assert reading.reachable


async def test_one_call_serves_many_bots_at_once_and_soon_after() -> None:
    async with HummingbotServer() as server:
        for number in range(40):
            server.bots[f"bot-{number}"] = {"maker": performance(number, 0, position("BTC-USDT"))}
        engine = HummingbotEngine(fresh_for_s=600.0)
        bots = [bot(server, name, engine) for name in server.bots]
        readings = await asyncio.gather(*(one.read() for one in bots))
        again = [await one.check() for one in bots]
        assert [reading.realized_profit for reading in readings] == [Decimal(number) for number in range(40)]
        assert all(reading.reason is None for reading in again)
        assert (asked(server), asked(server, "/")) == (1, 1)
        [key] = {one.engine.shared_key(one.url, one.credential, one.config) for one in bots}
        assert "correct-horse" not in repr(key)


async def test_another_credential_shares_nothing() -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"] = {"maker": performance()}
        engine = HummingbotEngine()
        assert (await bot(server, engine=engine).check()).reason is None
        other = bot(server, engine=engine, credential={"username": "admin", "password": "wrong"})
        assert (await other.check()).reason is Reason.AUTH


async def test_a_failure_is_not_kept() -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"] = {"maker": performance()}
        one = bot(server)
        await server.close_port()
        assert (await one.check()).reason is Reason.UNREACHABLE
        await server.open_port()
        assert (await one.check()).reason is None


async def test_stop_and_start_are_seen_at_the_next_look() -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"] = {"maker": performance()}
        one = bot(server)
        states = [(await one.check()).trading_state]
        for action in ("stop", "start"):
            await one.control(action)
            states.append((await one.check()).trading_state)
    assert states == ["running", "stopped", "running"]


class Abrupt(HummingbotServer):
    """Does what it is told, and says that it failed."""

    def _command(self, route: str, name: str) -> Reply:
        super()._command(route, name)
        return json_reply({"detail": "Internal Server Error"}, 500)


async def test_after_a_command_that_failed_it_is_looked_at_anew() -> None:
    async with Abrupt() as server:
        server.bots["alpha"] = {"maker": performance()}
        one = bot(server)
        states = [(await one.check()).trading_state]
        with pytest.raises(ReadFailure):
            await one.control("stop")
        states.append((await one.check()).trading_state)
    assert states == ["running", "stopped"]


async def test_a_command_that_reached_nobody_is_no_success_and_there_is_no_pause() -> None:
    async with HummingbotServer() as server:
        server.bots["alpha"], server.refuses = {"maker": performance()}, True
        with pytest.raises(ControlRefused, match="refuses to stop"):
            await bot(server).control("stop")
        with pytest.raises(ControlRefused, match="no pause"):
            await bot(server).control("pause")
