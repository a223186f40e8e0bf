"""The published schema takes what page, bot and engine take, and refuses what they refuse: by pairs of both kinds."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from functools import cache
from typing import Any

import jsonschema
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agents.paper_bot.fields import ConfigError
from tests.unit.paper_bot.support import SCHEMA_FILE, config_of, flat, schema

DEFINITIONS: dict[str, Any] = json.loads(SCHEMA_FILE.read_text())["$defs"]
PAGE = SCHEMA_FILE.with_name("bot-api.md").read_text()
SAMPLES: dict[str, dict[str, Any]] = {
    name: json.loads(sample)
    for name, sample in re.findall(r"<!-- schema: (\w+) -->\n```json\n(.*?)```", PAGE, re.DOTALL)
}
#: What a bot can be without knowing it: "unknown is null".
UNKNOWN = {
    "state": {"created_at", "last_tick_at", "tick_count", "last_price", "market_ended"},
    "performance": {
        "equity", "cash", "position_value", "capital_base", "realized_profit", "open_profit", "fees_paid", "win_rate",
        "closed_trades", "open_positions", "max_drawdown",
    },
    "drain": {"positions", "open_orders", "open_positions"},
}  # fmt: skip
MINIMAL: dict[str, Any] = {"bot_id": "b", "token": "12345678", "config": {}}
CANDLES = flat("1", "2")


@cache
def validator(name: str) -> jsonschema.Draft202012Validator:
    """The schema of one document."""
    return jsonschema.Draft202012Validator(schema(name), format_checker=jsonschema.FormatChecker())


def fits(name: str, document: Any) -> bool:
    """Whether the schema takes it."""
    return validator(name).is_valid(document)


def taken(document: Any) -> bool:
    """Whether the reference bot takes it as its hand-over."""
    try:
        config_of(document)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize("name", sorted(UNKNOWN))
def test_what_a_bot_may_not_know_may_be_null_and_nothing_else(name: str) -> None:
    members = DEFINITIONS[name]["properties"]
    assert {member for member in members if fits(name, SAMPLES[name] | {member: None})} == UNKNOWN[name]


@pytest.mark.parametrize("name", sorted(SAMPLES))
def test_a_bot_may_add_members_of_its_own_to_its_answers_and_leave_out_none_that_is_required(name: str) -> None:
    if name == "handover":
        return
    assert fits(name, SAMPLES[name] | {"mood": "sunny"})
    for member in DEFINITIONS[name]["required"]:
        assert not fits(name, {other: SAMPLES[name][other] for other in SAMPLES[name] if other != member})


@pytest.mark.parametrize(
    ("member", "value", "well"),
    [
        ("equity", "9999999999999999.99999999", True),
        ("equity", "10000000000000000", False),
        ("equity", "-0.00000001", True),
        ("equity", "0.123456789", False),
        ("equity", "1e3", False),
        ("equity", "NaN", False),
        ("equity", 10.5, False),
        ("win_rate", "0", True),
        ("win_rate", "1.00", True),
        ("win_rate", "1.01", False),
        ("win_rate", "-0.1", False),
        ("closed_trades", 2**31 - 1, True),
        ("closed_trades", 2**31, False),
        ("closed_trades", -1, False),
        ("open_positions", "6", False),
        ("currency", "", False),
        ("simulated", "yes", False),
    ],
)
def test_figures_at_their_bounds(member: str, value: Any, well: bool) -> None:
    assert fits("performance", SAMPLES["performance"] | {member: value}) is well


HANDOVERS: list[tuple[dict[str, Any], bool]] = [
    # The least there is.
    ({}, True),
    ({"bot_id": ""}, False),
    ({"bot_id": "x" * 201}, False),
    # Tokens.
    ({"token": "1234567"}, False),
    ({"token": "x" * 4000}, True),
    ({"token": "x" * 4001}, False),
    ({"token": "1234 5678"}, False),
    ({"token": "1234\n5678"}, False),
    ({"token": "pässwörter"}, False),
    ({"token": 12345678}, False),
    # What is listened to, and where things lie.
    ({"listen": {}}, True),
    ({"listen": {"port": 65536}}, False),
    ({"listen": {"host": ""}}, False),
    ({"listen": {"host": "127.0.0.1", "colour": "red"}}, False),
    ({"data_dir": ""}, False),
    ({"unheard_of": 1}, False),
    # Cash flows.
    ({"cash_flows": []}, True),
    ({"cash_flows": [{"id": "a", "amount": 5, "at": "2026-11-21T02:00:00Z"}]}, True),
    ({"cash_flows": [{"id": "a", "amount": "-5.5", "at": "2026-11-21T02:00:00+02:00"}]}, True),
    ({"cash_flows": [{"id": "a", "amount": "5"}]}, False),
    ({"cash_flows": [{"id": "a", "amount": "five", "at": "2026-11-21T02:00:00Z"}]}, False),
    ({"cash_flows": [{"id": "a", "amount": "5", "at": "2026-11-21T02:00:00Z", "note": "x"}]}, False),
    ({"cash_flows": [{"id": "a", "amount": "5", "at": "2026-11-21 02:00"}]}, False),
    ({"cash_flows": {}}, False),
    # The configuration: all of it may be left out, and more may be in it.
    ({"config": {"currency": "EUR"}}, True),
    ({"config": {"currency": "x" * 21}}, False),
    ({"config": {"capital": "1000.5"}}, True),
    ({"config": {"capital": 1000}}, True),
    ({"config": {"capital": "a lot"}}, False),
    ({"config": {"capital": True}}, False),
    ({"config": {"strategy": "grid"}}, True),
    ({"config": {"strategy": "martingale"}}, False),
    ({"config": {"strategy": {}}}, True),
    ({"config": {"strategy": {"type": "momentum"}}}, True),
    ({"config": {"strategy": {"symbol": "BTC/EUR", "every_ticks": 3}}}, True),
    ({"config": {"strategy": {"type": "dca", "fast": 3}}}, True),
    ({"config": {"strategy": {"type": "martingale"}}}, False),
    ({"config": {"strategy": {"symbol": "x" * 51}}}, False),
    ({"config": {"strategy": 7}}, False),
    ({"config": {"market": {}}}, True),
    ({"config": {"market": {"interval_seconds": 0.25, "weather": "fine"}}}, True),
    ({"config": {"market": {"kind": "real"}}}, False),
    ({"config": {"market": {"kind": "candles", "candles": CANDLES}}}, True),
    ({"config": {"market": {"kind": "candles"}}}, False),
    ({"config": {"market": {"kind": "candles", "candles": []}}}, False),
    ({"config": {"market": {"kind": "candles", "candles": [CANDLES[0] | {"volume": "3"}]}}}, False),
    ({"config": {"market": {"seed": 1.5}}}, False),
    ({"config": {"market": "seeded"}}, False),
    ({"config": {"fees": {}}}, True),
    ({"config": {"fees": {"maker": "0.1", "rebate": "0.1"}}}, True),
    ({"config": {"fees": {"maker": "free"}}}, False),
    ({"config": {"exchange": {"key": "somebody else's"}}}, True),
    ({"config": []}, False),
]  # fmt: skip


@pytest.mark.parametrize(("change", "well"), HANDOVERS, ids=lambda one: json.dumps(one)[:60])
def test_bot_and_schema_take_and_refuse_the_same_hand_overs(change: dict[str, Any], well: bool) -> None:
    document = MINIMAL | change
    assert (taken(document), fits("handover", document)) == (well, well)


@pytest.mark.parametrize("member", sorted(MINIMAL))
def test_without_one_of_three_members_there_is_no_hand_over(member: str) -> None:
    document = {name: value for name, value in MINIMAL.items() if name != member}
    assert (taken(document), fits("handover", document)) == (False, False)


@settings(max_examples=40)
@given(st.data())
def test_any_part_of_the_samples_configuration_may_be_left_out(data: st.DataObject) -> None:
    document = deepcopy(SAMPLES["handover"])
    for part in (document, document["config"], document["config"]["strategy"], document["config"]["market"]):
        optional = sorted(set(part) - {"bot_id", "token", "config", "strategy", "market"})
        for name in data.draw(st.sets(st.sampled_from(optional))):
            del part[name]
    for name in data.draw(st.sets(st.sampled_from(["strategy", "market"]))):
        del document["config"][name]
    assert (taken(document), fits("handover", document)) == (True, True)
