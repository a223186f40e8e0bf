"""Bots of our own API."""

import json
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.egress import GuardedClient
from agents.engines.base import Reading, Reason
from agents.engines.tradewise import TradewiseEngine
from control_plane.security.addresses import parse_bot_url
from control_plane.security.credentials import TradewiseCredential
from tests.servers.bot_server import BotServer
from tests.servers.loopback import Reply, json_reply
from tests.unit.egress.support import LOOPBACK
from tests.unit.paper_bot.support import schema


async def read(server: BotServer, *, token: str | None = None, now: datetime | None = None) -> Reading:
    """One reading of the bot."""
    async with GuardedClient.for_hosted(LOOPBACK) as client:
        credential = TradewiseCredential(token or server.token)
        return await TradewiseEngine().read(
            client, parse_bot_url(server.url), credential, None, now=now or datetime.now(UTC)
        )


async def test_a_bot_is_read_in_full() -> None:
    async with BotServer(bot_id="b-7") as server:
        reading = await read(server)
    assert (reading.reachable, reading.credential_ok, reading.full, reading.reason) == (True, True, True, None)
    assert (reading.trading_state, reading.simulated, reading.version) == ("running", True, "1.4.0")
    assert (reading.identity, reading.started_at, reading.currency) == ("tradewise:b-7", server.started_at, "USDT")
    assert (reading.equity, reading.capital_base) == (Decimal("10105.25"), Decimal(10000))
    assert (reading.realized_profit, reading.open_profit) == (Decimal("125.5"), Decimal("-20.25"))
    assert (reading.win_rate, reading.max_drawdown) == (Decimal("0.625"), Decimal("0.031"))
    assert (reading.closed_trades, reading.open_positions) == (8, 1)
    assert [request.path for request in server.requests] == [
        "/api/v1/ping",
        "/api/v1/state",
        "/api/v1/performance",
    ]
    assert "authorization" not in server.requests[0].headers
    assert server.connections == 1


async def test_unknown_stays_unknown() -> None:
    async with BotServer() as server:
        server.open_profit = server.win_rate = server.max_drawdown = None
        server.ticked = False
        reading = await read(server)
    assert (reading.full, reading.reason) == (True, None)
    assert (reading.equity, reading.open_profit, reading.win_rate) == (None, None, None)
    assert (reading.max_drawdown, reading.loop_age_s) == (None, None)


async def test_the_loops_age_is_told() -> None:
    now = datetime.now(UTC)
    async with BotServer() as server:
        server.last_tick_at = now - timedelta(seconds=90)
        assert (await read(server, now=now)).loop_age_s == 90


@pytest.mark.parametrize("state", ["running", "paused", "stopped"])
async def test_a_stopped_bot_is_not_ill(state: str) -> None:
    async with BotServer() as server:
        server.trading_state = state
        reading = await read(server)
    assert (reading.trading_state, reading.reason) == (state, None)


async def test_a_wrong_token_is_auth() -> None:
    async with BotServer() as server:
        reading = await read(server, token="another-token")
    assert (reading.reason, reading.reachable, reading.credential_ok) == (Reason.AUTH, True, False)


async def test_a_closed_port_is_unreachable() -> None:
    async with BotServer() as server:
        await server.close_port()
        reading = await read(server)
    assert (reading.reason, reading.reachable, reading.latency_ms) == (Reason.UNREACHABLE, False, None)


FIGURES: dict[str, Any] = {
    "currency": "USDT",
    "simulated": True,
    "equity": "1",
    "capital_base": "1",
    "realized_profit": "0",
    "open_profit": "0",
    "win_rate": None,
    "max_drawdown": None,
    "closed_trades": 0,
    "open_positions": 0,
}


@pytest.mark.parametrize(
    "change",
    [
        {"equity": "1e999999999"},
        {"equity": "10000000000000000"},
        {"equity": "9999999999999999.999999999"},
        {"equity": True},
        {"closed_trades": -1},
        {"closed_trades": 2**31},
        {"closed_trades": 1.5},
        {"currency": "EUR"},
        {"simulated": False},
        {"simulated": None},
    ],
)
async def test_figures_that_cannot_be_are_a_bad_payload(change: dict[str, Any]) -> None:
    async with BotServer() as server:
        server.overrides["performance"] = json_reply(FIGURES | change)
        reading = await read(server)
    assert (reading.reason, reading.full, reading.equity) == (Reason.BAD_PAYLOAD, False, None)
    assert (reading.reachable, reading.credential_ok, reading.trading_state) == (True, True, "running")


@pytest.mark.parametrize("value", ["NaN", "sNaN", "Infinity", float("nan"), float("-inf")])
async def test_a_figure_that_is_no_number_is_unknown_and_the_others_stand(value: object) -> None:
    async with BotServer() as server:
        server.overrides["performance"] = json_reply(FIGURES | {"equity": value})
        reading = await read(server)
    assert (reading.reason, reading.full, reading.equity) == (None, True, None)
    assert reading.open_profit == 0


async def test_a_missing_field_is_named_and_a_share_that_is_none_is_unknown() -> None:
    async with BotServer() as server:
        server.overrides["performance"] = json_reply({name: FIGURES[name] for name in FIGURES if name != "equity"})
        missing = await read(server)
        server.overrides["performance"] = json_reply(FIGURES | {"win_rate": "62.5", "max_drawdown": "-0.1"})
        strange = await read(server)
    assert missing.reason == Reason.BAD_PAYLOAD
    assert (strange.win_rate, strange.max_drawdown, strange.reason) == (None, None, None)


async def test_amounts_come_to_the_eight_decimals_that_are_kept() -> None:
    change = {"equity": "1.000000005", "open_profit": "-0.000000001", "capital_base": 1.5}
    async with BotServer() as server:
        server.overrides["performance"] = Reply(200, json.dumps(FIGURES | change).encode())
        reading = await read(server)
    assert str(reading.equity) == "1.00000000"
    assert str(reading.capital_base) == "1.50000000"
    assert reading.open_profit is not None
    assert (reading.open_profit.is_zero(), reading.open_profit.is_signed()) == (True, False)


async def test_texts_from_a_bot_are_cut_and_printable() -> None:
    async with BotServer(bot_id="x" * 500) as server:
        server.version = "1.0\n\x1b[31mred" + "y" * 500
        server.trading_state = "<script>"
        reading = await read(server)
    assert reading.version is not None
    assert reading.version.startswith("1.0[31mredyy")
    assert len(reading.version) == 64
    assert reading.identity == "tradewise:" + "x" * 64
    assert reading.trading_state is None


def _documents(name: str) -> st.SearchStrategy[dict[str, Any]]:
    """What the published schema takes for one of the bot API's documents."""
    published = schema(name)["$defs"]

    def values(part: dict[str, Any]) -> st.SearchStrategy[Any]:
        if "$ref" in part:
            return values(published[part["$ref"].rpartition("/")[2]])
        if "anyOf" in part:
            return st.one_of([values(choice) for choice in part["anyOf"]])
        if isinstance(part.get("type"), list):
            return st.one_of([values(part | {"type": kind}) for kind in part["type"]])
        if part.get("format") == "date-time":
            return st.datetimes(timezones=st.just(UTC)).map(datetime.isoformat)
        if "enum" in part:
            return st.sampled_from(part["enum"])
        if "pattern" in part and part["type"] == "string":
            return st.from_regex(part["pattern"], fullmatch=True)
        kinds: dict[str, st.SearchStrategy[Any]] = {
            "null": st.none(),
            "boolean": st.booleans(),
            "integer": st.integers(part.get("minimum"), part.get("maximum")),
            "number": st.floats(0.01, 86400),
            "string": st.text(min_size=part.get("minLength", 0)),
            "array": st.just([]),
        }
        return kinds[part["type"]]

    members = published[name]["properties"]
    required = published[name]["required"]
    return st.fixed_dictionaries(
        {member: values(members[member]) for member in required},
        optional={member: values(members[member]) for member in members if member not in required},
    )


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_documents("performance"), _documents("state"))
async def test_whatever_fits_the_published_schema_is_read(figures: dict[str, Any], state: dict[str, Any]) -> None:
    async with BotServer() as server:
        server.overrides["state"] = json_reply(state)
        server.overrides["performance"] = json_reply(
            figures | {name: state[name] for name in ("currency", "simulated")}
        )
        reading = await read(server)
    assert (reading.reason, reading.full, reading.trading_state) == (None, True, state["trading_state"])
    for name in ("equity", "capital_base", "realized_profit", "open_profit", "win_rate", "max_drawdown"):
        told, known = figures[name], getattr(reading, name)
        assert known == (None if told is None else Decimal(told))
    assert (reading.closed_trades, reading.open_positions) == (figures["closed_trades"], figures["open_positions"])


@pytest.mark.parametrize("name", sorted(set(FIGURES) - {"currency", "simulated"}))
async def test_each_figure_may_be_unknown(name: str) -> None:
    async with BotServer() as server:
        server.overrides["performance"] = json_reply(FIGURES | {name: None})
        reading = await read(server)
    assert (reading.reason, reading.full, getattr(reading, name)) == (None, True, None)


_FIGURE = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.decimals().map(str),
    st.sampled_from(["1e-999999999", "0e999999999", "-1e999999999", "9" * 5000, "-0", "1_0"]),
    st.lists(st.none(), max_size=2),
)


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(sorted(FIGURES)), _FIGURE))
async def test_whatever_the_figures_there_is_a_reading_that_can_be_kept(change: dict[str, Any]) -> None:
    async with BotServer() as server:
        server.overrides["performance"] = json_reply(FIGURES | change)
        reading = await read(server)
    assert reading.reason in {None, Reason.BAD_PAYLOAD}
    for value in (reading.equity, reading.capital_base, reading.realized_profit, reading.open_profit):
        assert value is None or (value.is_finite() and abs(value) < 10**16 and value.as_tuple().exponent == -8)
