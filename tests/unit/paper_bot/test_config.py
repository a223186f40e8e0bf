"""Whatever is wrong with the hand-over document, the answer names the field and never repeats a value."""

import json
import os
from copy import deepcopy
from decimal import Decimal
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.paper_bot import handover as standard_input
from agents.paper_bot.config import parse
from agents.paper_bot.fields import ConfigError
from tests.unit.paper_bot.support import TOKEN, config_of, deposit, flat, handover, schema

ABSENT = object()


def changed(path: str, value: object, document: dict[str, Any] | None = None) -> dict[str, Any]:
    """A valid document with one member set, or left out."""
    document = deepcopy(document or handover())
    *parents, name = path.split(".")
    place = document
    for parent in parents:
        place = place[parent]
    if value is ABSENT:
        del place[name]
    else:
        place[name] = value
    return document


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("bot_id", ABSENT),
        ("bot_id", ""),
        ("bot_id", 7),
        ("token", ABSENT),
        ("token", "short"),
        ("token", "with a space in the middle"),
        ("token", "line\nbreak-0123456789"),
        ("listen", []),
        ("listen.port", 70000),
        ("listen.port", True),
        ("listen.colour", "red"),
        ("cash_flows", {}),
        ("config", ABSENT),
        ("config.capital", "-1"),
        ("config.strategy.type", "martingale"),
        ("config.strategy.levels", 0),
        ("config.strategy.levels", "10"),
        ("config.market.seed", 1.5),
        ("config.market.start_price", "0"),
        ("config.market.start_price", "NaN"),
        ("config.market.start_price", "1e400"),
        ("config.market.start_price", "0.123456789"),
        ("config.market.volatility", "0.6"),
        ("config.market.interval_seconds", 0),
        ("config.fees.maker", "-0.1"),
        ("config.fees.taker", "free"),
        ("config.strategy", 7),
        ("config.market", []),
        ("unexpected", 1),
    ],
)
def test_names_the_field(path: str, value: object) -> None:
    with pytest.raises(ConfigError) as refused:
        config_of(changed(path, value))
    assert str(refused.value).startswith(f"{path}: ")
    assert TOKEN not in str(refused.value)


def test_never_repeats_a_value() -> None:
    """A secret that was put in the wrong place must not get into a log."""
    for path in ("listen.port", "config.strategy.type", "config.market.seed", "config.fees.maker", "config.currency"):
        with pytest.raises(ConfigError) as refused:
            config_of(changed(path, TOKEN))
        assert TOKEN not in str(refused.value)


@pytest.mark.parametrize(
    ("flows", "named"),
    [
        ([deposit("0")], "cash_flows[0].amount"),
        ([deposit("1"), {"amount": "1", "at": "2026-01-31T12:00:00Z"}], "cash_flows[1].id"),
        ([{**deposit("1"), "at": "2026-01-31 12:00"}], "cash_flows[0].at"),
        ([{**deposit("1"), "note": "x"}], "cash_flows[0].note"),
        ([deposit("1"), deposit("2")], "cash_flows"),
        ([7], "cash_flows[0]"),
    ],
)
def test_names_the_cash_flow(flows: list[Any], named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config_of(handover(flows=flows))
    assert refused.value.field == named


@pytest.mark.parametrize(
    ("strategy", "market", "named"),
    [
        ({"type": "grid", "lower": "5"}, None, "config.strategy.upper"),
        ({"type": "grid", "lower": "5", "upper": "4"}, None, "config.strategy.upper"),
        ({"type": "momentum", "fast": 9, "slow": 9}, None, "config.strategy.fast"),
        ({"type": "dca"}, {"kind": "candles", "candles": []}, "config.market.candles"),
        ({"type": "arbitrage"}, {"kind": "candles", "candles": flat("1")}, "config.market.secondary_candles"),
        (
            {"type": "arbitrage"},
            {"kind": "candles", "candles": flat("1", "2"), "secondary_candles": flat("1")},
            "config.market.secondary_candles",
        ),
        (
            {"type": "dca"},
            {"kind": "candles", "candles": [*flat("1"), {"open": "2", "high": "1", "low": "1", "close": "1"}]},
            "config.market.candles[1]",
        ),
    ],
)
def test_names_what_does_not_fit_together(strategy: dict[str, object], market: Any, named: str) -> None:
    with pytest.raises(ConfigError) as refused:
        config_of(handover(strategy, market))
    assert refused.value.field == named


@pytest.mark.parametrize("text", ["", "  \n", "{", "[]", "null", '{"a": NaN}', '{"a": 1, "a": 2}', "[" * 100_000])
def test_what_is_not_one_object(text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        parse(text)
    assert refused.value.field == "document"


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_json_is_refused_in_order(value: object) -> None:
    with pytest.raises(ConfigError):
        parse(json.dumps(value))


def test_defaults_and_numbers() -> None:
    document = changed("config.fees", ABSENT)
    document = changed("listen", ABSENT, changed("data_dir", ABSENT, document))
    document["config"]["market"]["interval_seconds"] = 0.25
    config = config_of(document)
    assert (config.host, config.port, str(config.data_dir)) == ("0.0.0.0", 8080, "/data")
    assert (config.fees.maker, config.fees.taker) == (Decimal("0.001"), Decimal("0.001"))
    assert config.interval.total_seconds() == 0.25
    assert TOKEN not in repr(config)


def test_the_documented_schema_takes_what_the_bot_takes() -> None:
    for document in (handover(), handover({"type": "dca"}, {"kind": "candles", "candles": flat("1", "2")})):
        jsonschema.validate(document, schema("handover"))
    for path in ("token", "bot_id", "config"):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(changed(path, ABSENT), schema("handover"))


class Pipe:
    """A pipe with something written into it."""

    def __init__(self, content: bytes, *, ended: bool) -> None:
        self.reader, self._writer = os.pipe()
        os.write(self._writer, content)
        self._open = not ended
        if ended:
            os.close(self._writer)

    def close(self) -> None:
        os.close(self.reader)
        if self._open:
            os.close(self._writer)


@pytest.mark.parametrize(("ending", "ended", "indent"), [("\n", False, None), ("", True, None), ("", True, 2)])
def test_one_line_needs_no_end_of_input_and_several_lines_do(ending: str, ended: bool, indent: int | None) -> None:
    pipe = Pipe((json.dumps(handover(), indent=indent) + ending).encode(), ended=ended)
    assert standard_input.read(pipe.reader, wait_seconds=5).bot_id == "bot-1"
    pipe.close()


@pytest.mark.parametrize(
    ("content", "ended"),
    [(b"", True), (b"\n", True), (b"garbage\n", True), (b"\xff\xfe", True), (b"", False), (b'{"bot_id":', False)],
)
def test_nothing_usable_on_standard_input(content: bytes, ended: bool) -> None:
    pipe = Pipe(content, ended=ended)
    with pytest.raises(ConfigError) as refused:
        standard_input.read(pipe.reader, wait_seconds=0.05)
    assert refused.value.field == "document"
    pipe.close()


def test_every_member_of_the_configuration_has_a_default() -> None:
    bare = config_of(changed("config", {}))
    assert (bare.currency, bare.symbol, bare.strategy_type) == ("USDT", "BTC/USDT", "dca")
    assert bare.market.candle(3, "primary") == config_of(changed("config", {})).market.candle(3, "primary")


def test_a_strategy_may_be_named_in_one_word() -> None:
    assert config_of(changed("config", {"strategy": "grid"})).strategy_type == "grid"


def test_members_meant_for_others_are_passed_over_and_named() -> None:
    config = config_of(changed("config", {"exchange_key": TOKEN, "strategy": {"type": "dca", "fast": 3}}))
    assert config.ignored == ("config.exchange_key", "config.strategy.fast")
    assert TOKEN not in str(config.ignored)
