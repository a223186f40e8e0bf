"""Bots of any make, read by declaration."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.engines.base import ControlRefused, Reading, Reason
from agents.engines.http import HttpEngine
from control_plane.engines.configs import decode_config, encode_config
from control_plane.engines.family import EngineConfig
from control_plane.engines.http import HttpConfig
from control_plane.engines.http_fields import HttpFields
from control_plane.engines.registry import family_of
from tests.servers.json_server import JsonServer
from tests.servers.loopback import Reply
from tests.unit.engines.support import Looks

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
USDT = {"value": "USDT"}
WHOLE: dict[str, Any] = {
    "trading_state": {"path": "bot.active", "words": {"true": "running", "false": "stopped"}},
    "last_loop_at": {"path": "bot.beat", "unit": "ms"},
    "simulated": {"path": "bot.mode", "words": {"paper": True, "live": False}},
    "version": {"path": "bot.version"},
    "identity": {"path": 'bot["instance.id"]'},
    "started_at": {"path": "bot.since"},
    "currency": {"call": "money", "path": "unit"},
    "equity": {"call": "money", "path": "rows[0].total"},
    "capital_base": {"value": "1000"},
    "realized_profit": {"call": "money", "path": "cents", "scale": "0.01"},
    "open_profit": {"call": "money", "path": "rows[-1].total"},
    "win_rate": {"path": "bot.wins_percent", "scale": 0.01},
    "max_drawdown": {"path": "bot.drawdown"},
    "closed_trades": {"path": "bot.closed"},
    "open_positions": {"call": "money", "path": "rows#"},
}
CALLS = {"state": "/state", "money": "/money"}
STATE: dict[str, Any] = {
    "bot": {"active": True, "beat": int((NOW.timestamp() - 5) * 1000), "mode": "paper", "version": 7,
            "instance.id": "x1", "since": "2026-11-20T08:00:00Z", "wins_percent": 62.5, "drawdown": "0.25",
            "closed": 8.0}
}  # fmt: skip
MONEY: dict[str, Any] = {"unit": "USDT", "rows": [{"total": "1012.10000001"}, {"total": -0.1}], "cents": 1310}


def bot(server: JsonServer, fields: Any = None, credential: Any = None, **config: Any) -> Looks:
    """One bot of a server."""
    calls = config.pop("calls", {"state": "/state"})
    return Looks(HttpEngine(), server.url, credential or {}, {"calls": calls, "fields": fields, **config})


async def read(document: Any, fields: Any) -> Reading:
    """One reading of one document."""
    async with JsonServer(state=document) as server:
        return await bot(server, fields).look(full=True, now=NOW)


async def test_every_field_can_be_declared() -> None:
    assert set(WHOLE) == set(HttpFields.__struct_fields__)
    async with JsonServer(state=STATE, money=MONEY) as server:
        reading = await bot(server, WHOLE, calls=CALLS).look(full=True, now=NOW)
    assert (reading.reachable, reading.credential_ok, reading.full, reading.reason) == (True, True, True, None)
    assert (reading.trading_state, reading.loop_age_s, reading.simulated) == ("running", 5.0, True)
    assert (reading.version, reading.identity, reading.detail) == ("7", "x1", None)
    assert reading.started_at == datetime(2026, 11, 20, 8, tzinfo=UTC)
    assert (reading.currency, reading.equity) == ("USDT", Decimal("1012.10000001"))
    assert (reading.capital_base, reading.realized_profit) == (Decimal(1000), Decimal("13.10"))
    assert (reading.open_profit, reading.win_rate, reading.max_drawdown) == (
        Decimal("-0.1"), Decimal("0.625"), Decimal("0.25"),
    )  # fmt: skip
    assert (reading.closed_trades, reading.open_positions) == (8, 2)


async def test_a_short_look_makes_the_first_call_alone_where_that_tells_the_state() -> None:
    async with JsonServer(state=STATE, money=MONEY) as server:
        reading = await bot(server, WHOLE, calls=CALLS).look(full=False, now=NOW)
        assert [request.path for request in server.requests] == ["/state"]
    assert (reading.full, reading.trading_state, reading.equity, reading.detail) == (False, "running", None, None)
    assert reading.capital_base is None  # of a currency that the second call would tell


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        ({"version": {"path": "v"}}, ["/a"]),
        ({"version": {"call": "c", "path": "v"}, "trading_state": {"path": "s"}}, ["/a"]),
        ({"trading_state": {"call": "b", "path": "s"}}, ["/a", "/b"]),
        ({"trading_state": {"call": "c", "path": "s"}, "last_loop_at": {"path": "t", "unit": "s"}}, ["/a", "/c"]),
        ({"trading_state": {"call": "c", "path": "s"}, "last_loop_at": {"call": "b", "path": "t", "unit": "s"}},
         ["/a", "/b", "/c"]),
    ],
)  # fmt: skip
async def test_a_short_look_tells_the_state_that_a_full_one_does(fields: Any, asked: list[str]) -> None:
    document = {"v": "1", "s": "Running", "t": int(NOW.timestamp()) - 5}
    calls = {"a": "/a", "b": "/b", "c": "/c", "d": "/d"}
    async with JsonServer(a=document, b=document, c=document, d=document) as server:
        declared = bot(server, fields, calls=calls)
        short = await declared.look(full=False, now=NOW)
        assert [request.path for request in server.requests] == asked
        whole = await declared.look(full=True, now=NOW)
    assert (short.reason, short.full, whole.full) == (None, False, True)
    assert (short.trading_state, short.loop_age_s) == (whole.trading_state, whole.loop_age_s)
    assert (whole.trading_state is None) == ("trading_state" not in fields)


def kept(config: EngineConfig | None) -> EngineConfig:
    """As it comes back from a JSONB column, which orders members by the length of their names."""

    def stored(part: Any) -> Any:
        if not isinstance(part, dict):
            return part
        return {name: stored(part[name]) for name in sorted(part, key=lambda name: (len(name), name))}

    assert config is not None
    found = decode_config(family_of("http"), json.dumps(stored(json.loads(encode_config(config)))))
    assert found is not None
    return found


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("told", [{}, {"first": "pnl"}])
async def test_the_first_call_is_the_same_after_a_declaration_was_kept(full: bool, told: Any) -> None:
    fields = {"version": {"path": "v"}, "last_loop_at": {"call": "long_name", "path": "t", "unit": "s"}}
    first = told.get("first", "states")
    calls = {"states": "/states", "long_name": "/long", "pnl": "/pnl"}
    document = {"t": int(NOW.timestamp()) - 5}
    async with JsonServer(states={"v": "states"}, pnl={"v": "pnl"}, long=document) as server:
        one = bot(server, fields, calls=calls, **told)
        for _ in range(2):
            reading = await one.look(full=full, now=NOW)
            assert (reading.version, reading.loop_age_s) == (first, 5.0)
            asked = [request.path for request in server.requests]
            assert asked[0] == f"/{first}"
            assert sorted(asked) == sorted({"/states", "/long", "/pnl"} if full else {f"/{first}", "/long"})
            server.requests.clear()
            one.config = kept(one.config)


def test_what_the_order_of_calls_says_is_written_into_an_accepted_declaration() -> None:
    calls = {"state": "/s", "pnl": "/p"}
    fields = {"version": {"path": "v"}, "equity": {"call": "pnl", "path": "e"}, "currency": USDT}
    accepted = decode_config(family_of("http"), {"calls": calls, "fields": fields})
    assert isinstance(accepted, HttpConfig)
    told = json.loads(encode_config(accepted))
    assert told["first"] == "state"
    assert told["fields"] == fields | {"version": {"path": "v", "call": "state"}}
    assert kept(accepted) == accepted
    # What is shown of it, sent again, is the same; so is one that says it all by itself, in another order.
    assert decode_config(family_of("http"), told) == accepted
    assert decode_config(family_of("http"), told | {"calls": dict(reversed(calls.items()))}) == accepted
    # Without the words for it another order is another declaration, and another bot.
    other = decode_config(family_of("http"), {"calls": dict(reversed(calls.items())), "fields": fields})
    assert isinstance(other, HttpConfig)
    assert other != accepted
    assert other.part != accepted.part
    # Of one call there is nothing to say.
    alone = {"calls": {"state": "/s"}, "fields": {"version": {"path": "v"}}}
    single = decode_config(family_of("http"), alone)
    assert single is not None
    assert json.loads(encode_config(single)) == alone


def test_one_that_was_kept_without_it_goes_by_the_order_in_which_it_comes_back() -> None:
    stored = '{"calls": {"pnl": "/p", "state": "/s"}, "fields": {"version": {"path": "v"}}}'
    config = decode_config(family_of("http"), stored)
    assert isinstance(config, HttpConfig)
    assert (config.leading, json.loads(encode_config(config))) == ("pnl", json.loads(stored))


async def test_fractions_keep_every_digit() -> None:
    async with JsonServer() as server:
        server.raw["/state"] = Reply(200, b'{"a": 1234567890123456.12345678}')
        reading = await bot(server, {"equity": {"path": "a"}, "currency": USDT}).read()
    assert reading.equity == Decimal("1234567890123456.12345678")


@pytest.mark.parametrize("document", [{}, {"a": None}, {"a": {"b": None}}, [], 7, None])
async def test_what_is_not_there_is_unknown_and_named(document: Any) -> None:
    reading = await read(document, {"equity": {"path": "a.b"}, "currency": USDT})
    assert (reading.equity, reading.reason, reading.full) == (None, None, True)
    assert "equity" in (reading.detail or "")


@pytest.mark.parametrize("currency", [None, "", "\x00"])
async def test_an_amount_without_a_currency_is_no_amount(currency: str | None) -> None:
    reading = await read({"a": 1, "c": currency}, {"equity": {"path": "a"}, "currency": {"path": "c"}})
    assert (reading.equity, reading.currency, reading.reason) == (None, None, None)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("equity", {}, True),
        ("equity", {}, "many"),
        ("equity", {}, "NaN"),
        ("equity", {}, "1" * 65),
        ("equity", {}, "1_000"),
        ("equity", {}, "1,000"),
        ("equity", {}, "\u0661\u0662"),
        ("equity", {}, ""),
        ("closed_trades", {}, "1_0"),
        ("last_loop_at", {"unit": "s"}, "\uff11"),
        ("equity", {}, 10**16),
        ("equity", {"scale": 1000}, 10**14),
        ("equity", {}, {}),
        ("closed_trades", {}, 1.5),
        ("closed_trades", {}, -1),
        ("closed_trades", {}, [1]),
        ("simulated", {}, "yes"),
        ("simulated", {"words": {"yes": True}}, "no"),
        ("started_at", {}, 7),
        ("started_at", {}, "yesterday"),
        ("last_loop_at", {"unit": "s"}, "soon"),
        ("version", {}, {}),
    ],
)
async def test_what_cannot_be_meant_is_a_bad_payload(name: str, field: Any, value: Any) -> None:
    reading = await read({"a": value}, {name: {"path": "a", **field}, "currency": USDT})
    assert (reading.reason, reading.reachable, reading.full) == (Reason.BAD_PAYLOAD, True, False)


@pytest.mark.parametrize(
    ("text", "amount"),
    [("7", "7"), (" 7.50\t", "7.50"), ("+7", "7"), ("-.5", "-0.5"), ("7.", "7"), ("1e3", "1000"), ("1.5E-2", "0.015")],
)
async def test_a_text_that_is_a_number_is_one(text: str, amount: str) -> None:
    reading = await read({"a": text}, {"equity": {"path": "a"}, "currency": USDT})
    assert reading.equity == Decimal(amount)


async def test_words_and_texts_are_as_the_bot_wrote_them() -> None:
    body = b'{"a": 1e2, "b": 1.50, "c": 100, "d": 2.0, "e": 12e-1, "f": true}'
    fields = {
        "trading_state": {"path": "a", "words": {"1e2": "running", "1E+2": "stopped"}},
        "simulated": {"path": "b", "words": {"1.50": True, "1.5": False}},
        "version": {"path": "e"},
        "identity": {"path": "d"},
        "closed_trades": {"path": "a"},
        "open_positions": {"path": "d"},
        "equity": {"path": "b"},
        "currency": {"path": "f"},
    }
    async with JsonServer() as server:
        server.raw["/state"] = Reply(200, body)
        reading = await bot(server, fields).read()
    assert (reading.trading_state, reading.simulated) == ("running", True)
    assert (reading.version, reading.identity, reading.currency) == ("12e-1", "2.0", "true")
    assert (reading.closed_trades, reading.open_positions, reading.equity) == (100, 2, Decimal("1.50"))
    assert type(reading.equity) is Decimal


async def test_a_constant_is_multiplied_as_a_number_of_the_bot_is() -> None:
    reading = await read({}, {"capital_base": {"value": "100000", "scale": "0.01"}, "currency": USDT})
    assert reading.capital_base == 1000


@pytest.mark.parametrize(("value", "share"), [(1.5, None), (-0.1, None), (0, 0), ("1", 1)])
async def test_a_share_outside_its_bounds_is_unknown(value: Any, share: Any) -> None:
    assert (await read({"a": value}, {"win_rate": {"path": "a"}})).win_rate == share


@pytest.mark.parametrize(
    ("auth", "credential", "wanted"),
    [
        ({}, {}, None),
        ({"auth": "bearer"}, {"token": "t0ken"}, ("authorization", "Bearer t0ken")),
        ({"auth": "header", "header": "X-Api-Key"}, {"token": "t0ken"}, ("x-api-key", "t0ken")),
        ({"auth": "header", "header": "authorization"}, {"token": "raw"}, ("authorization", "raw")),
        ({"auth": "basic"}, {"username": "u", "password": "p"}, "basic"),
    ],
)
async def test_every_kind_of_authentication(auth: Any, credential: Any, wanted: Any) -> None:
    async with JsonServer(state={"v": "1"}) as server:
        server.wanted = None if wanted == "basic" else wanted
        if wanted == "basic":
            server.ask_basic("u", "p")
        one = bot(server, {"version": {"path": "v"}}, credential, **auth)
        assert (await one.read()).version == "1"
        server.wanted = ("authorization", "something else")
        refused = await one.read()
    assert (refused.reason, refused.credential_ok) == (Reason.AUTH, False)


async def test_a_call_that_fails_ends_the_reading_and_keeps_what_was_learned() -> None:
    async with JsonServer(state={"v": "1"}) as server:
        one = bot(server, {"version": {"path": "v"}}, calls={"state": "/state", "gone": "/gone"})
        reading = await one.read()
    assert (reading.reason, reading.reachable, reading.full) == (Reason.HTTP_ERROR, True, False)


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"a": 1e}', b"[" * 100 + b"]" * 100, b'"\xff"', b'{"a": ' + b"9" * 5000 + b"}"]
)
async def test_what_is_no_document_is_a_bad_payload(body: bytes) -> None:
    async with JsonServer() as server:
        server.raw["/state"] = Reply(200, body)
        reading = await bot(server, {"equity": {"path": "a"}, "currency": USDT}).read()
    assert (reading.reason, reading.reachable) == (Reason.BAD_PAYLOAD, True)


async def test_a_number_that_is_none_is_not_there_and_so_unknown() -> None:
    async with JsonServer() as server:
        server.raw["/state"] = Reply(200, b'{"a": NaN, "b": 2}')
        reading = await bot(server, {"equity": {"path": "a"}, "open_profit": {"path": "b"}, "currency": USDT}).read()
    assert (reading.reason, reading.equity, reading.open_profit) == (None, None, Decimal(2))
    assert "equity" in (reading.detail or "")


async def test_it_can_only_be_read() -> None:
    async with JsonServer() as server:
        with pytest.raises(ControlRefused):
            await bot(server, {"version": {"path": "v"}}).control("stop")
        assert server.requests == []


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["a", "b"]), inner, max_size=2),
    max_leaves=6,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.dictionaries(st.sampled_from(sorted(WHOLE)), _VALUES, max_size=15))
async def test_any_document_is_a_reading(document: dict[str, Any]) -> None:
    fields = {name: {"path": name} for name in WHOLE}
    async with JsonServer() as server:
        server.raw["/state"] = Reply(200, json.dumps(document).encode())
        reading = await bot(server, fields).look(full=True, now=NOW)
    assert reading.reachable
    assert reading.reason in {None, Reason.BAD_PAYLOAD}
    assert reading.full is (reading.reason is None)
