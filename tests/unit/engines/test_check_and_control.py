"""The short look, and telling a bot what to do: confirmed by the state that it tells later, never by its 200."""

from __future__ import annotations

from typing import Any

import pytest

from agents.egress import EgressError
from agents.engines import engine_for
from agents.engines.base import Action, ControlRefused, ReadFailure, Reason
from agents.engines.freqtrade import FreqtradeEngine
from agents.engines.tradewise import TradewiseEngine
from control_plane.engines.registry import FAMILIES
from tests.servers.bot_server import BotServer
from tests.servers.freqtrade_server import FreqtradeServer
from tests.servers.loopback import json_reply
from tests.unit.egress.support import until
from tests.unit.engines.support import Always, Looks, paths


def freqtrade(server: FreqtradeServer, password: str = "correct-horse") -> Looks:
    return Looks(FreqtradeEngine(), server.url, {"username": "freqtrader", "password": password})


def tradewise(server: BotServer, token: str | None = None) -> Looks:
    return Looks(TradewiseEngine(), server.url, {"token": token or server.token})


CONFIGS: dict[str, Any] = {
    "hummingbot": {"bot_name": "b"},
    "http": {"calls": {"a": "/a"}, "fields": {"version": {"path": "v"}}},
}
CREDENTIALS: dict[str, Any] = {
    "freqtrade": {"username": "u", "password": "p"},
    "hummingbot": {"username": "u", "password": "p"},
    "tradewise": {"token": "t"},
}


async def test_a_short_look_at_freqtrade_takes_two_calls_and_tells_what_a_full_one_does() -> None:
    async with FreqtradeServer() as server:
        bot = freqtrade(server)
        short = await bot.check()
        assert paths(server) == ["show_config", "health"]
        full = await bot.read()
    assert (short.reachable, short.credential_ok, short.full, short.reason) == (True, True, False, None)
    assert short.latency_ms is not None
    for field in ("trading_state", "simulated", "version", "identity", "started_at", "currency"):
        assert getattr(short, field) == getattr(full, field) is not None
    assert (short.equity, short.realized_profit) == (None, None)


@pytest.mark.parametrize("state", ["stopped", "reload_config", ""])
async def test_a_freqtrade_without_a_loop_that_turns_is_asked_once(state: str) -> None:
    async with FreqtradeServer() as server:
        server.trading_state = state
        short = await freqtrade(server).check()
    assert paths(server) == ["show_config"]
    assert (short.trading_state, short.loop_age_s, short.reason) == (state or "webserver", None, None)


async def test_before_the_first_loop_a_short_look_leaves_its_age_unknown() -> None:
    async with FreqtradeServer() as server:
        server.before_first_loop = True
        short = await freqtrade(server).check()
    assert (short.trading_state, short.loop_age_s, short.identity, short.reason) == ("running", None, None, None)


@pytest.mark.parametrize(("action", "state"), [("stop", "stopped"), ("pause", "paused"), ("start", "running")])
@pytest.mark.parametrize("before", ["running", "paused", "stopped"])
async def test_freqtrade_obeys_and_obeys_again(action: Action, state: str, before: str) -> None:
    async with FreqtradeServer() as server:
        server.trading_state = before
        bot = freqtrade(server)
        for _ in range(2):
            await bot.control(action)
            assert (await bot.check()).trading_state == state


async def test_an_old_freqtrade_pauses_in_silence_and_starts_by_a_reload() -> None:
    async with FreqtradeServer(api_version=2.4) as server:
        server.reload_delay = server.reload_gap = 0.0
        bot = freqtrade(server)
        assert (await bot.check()).trading_state == "running"
        await bot.control("pause")
        assert server.trading_state == "running"  # which is what it says of itself
        assert (await bot.check()).trading_state == "paused"
        assert (await bot.read()).trading_state == "paused"
        await bot.control("start")
        await until(lambda: server.max_open_trades == -1 and server.listening)
        assert paths(server)[-1] == "reload_config"
        assert (await bot.check()).trading_state == "running"


@pytest.mark.parametrize("status", [404, 405])
@pytest.mark.parametrize(("action", "asked"), [("stop", ["stop"]), ("pause", ["pause", "stopentry", "stopbuy"])])
async def test_a_freqtrade_that_knows_no_such_route_by_any_name_is_told(
    action: Action, asked: list[str], status: int
) -> None:
    async with Always(json_reply({"detail": "no"}, status)) as server:
        with pytest.raises(ControlRefused, match=f"no way to {action}"):
            await Looks(FreqtradeEngine(), server.url, CREDENTIALS["freqtrade"]).control(action)
    assert paths(server) == asked


@pytest.mark.parametrize("action", ["start", "stop", "pause"])
async def test_a_freqtrade_without_a_trader_says_so(action: Action) -> None:
    async with FreqtradeServer() as server:
        server.trading_state = ""
        with pytest.raises(ControlRefused, match="no trader"):
            await freqtrade(server).control(action)


@pytest.mark.parametrize("action", ["start", "stop", "pause"])
async def test_control_tells_a_wrong_password_and_a_bot_that_is_away(action: Action) -> None:
    async with FreqtradeServer() as server:
        with pytest.raises(ReadFailure) as refused:
            await freqtrade(server, "wrong").control(action)
        await server.close_port()
        with pytest.raises(EgressError) as away:
            await freqtrade(server).control(action)
    assert (refused.value.reason, refused.value.credential_ok) == (Reason.AUTH, False)
    assert away.value.code == "unreachable"


async def test_a_short_look_at_our_own_takes_one_call() -> None:
    async with BotServer(bot_id="b-7") as server:
        short = await tradewise(server).check()
        assert paths(server) == ["state"]
        refused = await tradewise(server, "another-token").check()
        await server.close_port()
        away = await tradewise(server).check()
    assert (short.reachable, short.credential_ok, short.full, short.trading_state) == (True, True, False, "running")
    assert (short.identity, short.currency, short.simulated) == ("tradewise:b-7", "USDT", True)
    assert short.loop_age_s is not None
    assert (refused.reason, refused.reachable, refused.credential_ok) == (Reason.AUTH, True, False)
    assert (away.reason, away.reachable) == (Reason.UNREACHABLE, False)


@pytest.mark.parametrize(("action", "state"), [("stop", "stopped"), ("pause", "paused"), ("start", "running")])
async def test_our_own_obeys(action: Action, state: str) -> None:
    async with BotServer() as server:
        bot = tradewise(server)
        await bot.control(action)
        assert (await bot.check()).trading_state == state


async def test_a_bot_of_our_api_that_has_no_such_route_is_told_apart() -> None:
    async with BotServer() as server:
        server.overrides["pause"] = json_reply({"code": "not_found"}, 404)
        with pytest.raises(ControlRefused, match="no way to pause"):
            await tradewise(server).control("pause")


@pytest.mark.parametrize("engine", sorted(FAMILIES))
@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize(
    ("told", "seconds"),
    [("17", 17), ("0", 0), (" 5 ", 5), ("99999999999", 3600), ("Wed, 21 Oct 2026 07:28:00 GMT", None), ("-1", None),
     ("1.5", None), ("²", None), ("", None)],
)  # fmt: skip
async def test_429_carries_how_long_to_wait(engine: str, full: bool, told: str, seconds: float | None) -> None:
    async with Always(json_reply({}, 429, Retry_After=told.replace("²", "\xb2"))) as server:
        bot = Looks(engine_for(engine), server.url, CREDENTIALS.get(engine, {}), CONFIGS.get(engine))
        reading = await bot.look(full=full)
    assert (reading.reason, reading.reachable, reading.retry_after_s) == (Reason.RATE_LIMITED, True, seconds)


@pytest.mark.parametrize("engine", sorted(FAMILIES))
@pytest.mark.parametrize("full", [False, True])
async def test_a_refusal_says_nothing_of_waiting(engine: str, full: bool) -> None:
    async with Always(json_reply({}, 403, Retry_After="5")) as server:
        bot = Looks(engine_for(engine), server.url, CREDENTIALS.get(engine, {}), CONFIGS.get(engine))
        reading = await bot.look(full=full)
    assert (reading.reason, reading.retry_after_s, reading.credential_ok) == (Reason.AUTH, None, False)
