"""What is checked of a freqtrade configuration before anything is started."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.bots.freqtrade_config import OURS, check_part, check_whole, plain_words
from control_plane.bots.layers import merged
from control_plane.errors import UnacceptableError

WHOLE: dict[str, Any] = {
    "exchange": {"name": "binance", "key": "planted-key", "pair_whitelist": ["BTC/USDT"]},
    "stake_currency": "USDT",
    "strategy": "Eager",
    "strategy_source": "from freqtrade.strategy import IStrategy\n\nclass Eager(IStrategy):\n    pass\n",
}


def refused(config: dict[str, Any], *, whole: bool = True, **options: Any) -> UnacceptableError | None:
    try:
        check_part(config)
        if whole:
            check_whole(config, **options)
    except UnacceptableError as error:
        return error
    return None


def test_what_is_whole_passes() -> None:
    assert refused(WHOLE) is None
    live = {"dry_run": False, "initial_state": "stopped", "available_capital": 250.5, "trading_mode": "futures"}
    assert refused({**WHOLE, **live, "margin_mode": "isolated", "telegram": {"enabled": False}}) is None


@pytest.mark.parametrize("name", sorted(OURS))
def test_what_is_ours_is_refused_by_name_wherever_it_stands(name: str) -> None:
    error = refused({name: "planted"}, whole=False)
    assert error is not None
    assert (error.code, error.errors[0].field) == ("config_not_allowed", f"config.{name}")
    assert "planted" not in str(error.errors)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"exchange": {"pair_whitelist": ["BTC/USDT"]}}, "exchange.name"),
        ({"exchange": "binance"}, "exchange"),
        ({"exchange": {"name": "Not One"}}, "exchange.name"),
        ({"exchange": {"name": "binance"}}, "exchange.pair_whitelist"),
        ({"exchange": {"name": "binance", "pair_whitelist": []}}, "exchange.pair_whitelist"),
        ({"exchange": {"name": "binance", "pair_whitelist": "BTC/USDT"}}, "exchange.pair_whitelist"),
        ({"exchange": {"name": "binance", "ccxt_config": []}}, "exchange.ccxt_config"),
        ({"stake_currency": None}, "stake_currency"),
        ({"stake_currency": "US DOLLARS"}, "stake_currency"),
        ({"strategy": {"type": "dca"}}, "strategy"),
        ({"strategy": "no class"}, "strategy"),
        ({"strategy": "Other"}, "strategy_source"),
        ({"strategy_source": 1}, "strategy_source"),
        ({"initial_state": "on"}, "initial_state"),
        ({"initial_state": ["running"]}, "initial_state"),
        ({"trading_mode": "margin"}, "trading_mode"),
        ({"margin_mode": "x"}, "margin_mode"),
        ({"dry_run": "no"}, "dry_run"),
        ({"available_capital": 0}, "available_capital"),
        ({"available_capital": True}, "available_capital"),
        ({"available_capital": "300"}, "available_capital"),
        ({"pairlists": {}}, "pairlists"),
    ],
)
def test_what_cannot_work_is_told_at_once_with_its_place(change: dict[str, Any], field: str) -> None:
    error = refused({**WHOLE, **change})
    assert error is not None
    assert (error.code, error.errors[0].field) == ("config_invalid", f"config.{field}")


@pytest.mark.parametrize("missing", ["exchange", "stake_currency", "strategy", "strategy_source"])
def test_what_is_missing_is_named(missing: str) -> None:
    error = refused({name: value for name, value in WHOLE.items() if name != missing})
    assert error is not None
    assert error.errors[0].field.startswith(f"config.{missing}")
    assert "is required" in error.errors[0].message


def test_a_part_need_not_be_whole_and_an_image_may_bring_the_strategy() -> None:
    assert refused({"exchange": {"key": "k"}}, whole=False) is None
    without = {name: value for name, value in WHOLE.items() if name != "strategy_source"}
    assert refused(without, brings_strategies=True) is None
    assert refused(without) is not None


def test_other_pair_lists_need_no_pairs() -> None:
    assert refused({**WHOLE, "exchange": {"name": "kraken"}, "pairlists": [{"method": "VolumePairList"}]}) is None


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)


@settings(deadline=None)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys((*WHOLE, "pairlists", "entry_pricing"), _JSON)))
def test_whatever_comes_in_is_taken_or_refused_and_never_a_fault(config: dict[str, Any]) -> None:
    refused(config)
    words = plain_words(config, own=True)
    assert all(isinstance(word, str) for word in words)


def test_merging_leaves_its_layers_alone() -> None:
    below: dict[str, Any] = {"exchange": {"name": "binance"}}
    assert merged(below, {"exchange": {"key": "k"}})["exchange"] == {"name": "binance", "key": "k"}
    assert below == {"exchange": {"name": "binance"}}
