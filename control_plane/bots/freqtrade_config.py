"""What the configuration of a freqtrade bot that we run must say and may not say. Pure, and far from freqtrade's whole.

It is a configuration of freqtrade's own, with two more members: the source of the strategy, `strategy_source`, beside
its name. What is checked here is what freqtrade would refuse after half a minute, and what is not the tenant's to say;
everything else is freqtrade's to judge, and its words are shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

from control_plane.errors import unacceptable

STATES: Final = ("running", "stopped", "paused")
"""What `initial_state` may be. A bot that we start trades, unless it says otherwise."""

_SERVER = "is ours: the bot listens where we publish it, with the bot's own credentials"
_PLACE = "is ours: where a bot that we run keeps its files is decided here"
#: Who says these decides what listens, or what is read and written, in a container that is ours to keep in order.
OURS: Final[Mapping[str, str]] = {
    "api_server": _SERVER,
    **dict.fromkeys(
        (
            "add_config_files", "backtest_directory", "config", "config_files", "datadir", "db_url", "export",
            "exportdirectory", "exportfilename", "freqaimodel_path", "hyperopt_path", "log_config", "logfile",
            "original_config", "recursive_strategy_search", "strategy_path", "user_data_dir",
        ),
        _PLACE,
    ),
}  # fmt: skip

_CLASS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")
_EXCHANGE = re.compile(r"[a-z0-9_]{2,40}")
_CURRENCY = re.compile(r"[A-Za-z0-9]{2,20}")

#: Members whose texts are freqtrade's own words, or a currency.
_VOCABULARY: Final = (
    "initial_state", "stake_currency", "stake_amount", "fiat_display_currency", "trading_mode", "margin_mode",
    "timeframe",
)  # fmt: skip


def check_part(config: Mapping[str, Any], field: str = "config") -> None:
    """What holds for a part of a configuration, whatever the other parts say. Raises 422."""
    for name, why in OURS.items():
        if name in config:
            raise _wrong(f"{field}.{name}", f"{why}; leave it out", code="config_not_allowed")
    _one_of(config, "initial_state", STATES, field)
    _one_of(config, "trading_mode", ("spot", "futures"), field)
    _one_of(config, "margin_mode", ("", "isolated", "cross"), field)
    _kind(config, "dry_run", bool, "true or false", field)
    _above_zero(config, "available_capital", field)
    _kind(config, "pairlists", list, "a list of pair lists", field)
    _matching(config, "stake_currency", _CURRENCY, "a currency, such as USDT", field)
    _matching(config, "strategy", _CLASS_NAME, "the name of the strategy's class", field)
    _kind(config, "strategy_source", str, "the strategy's source as text", field)
    exchange = config.get("exchange", {})
    _kind(config, "exchange", dict, "an object with a name", field)
    _matching(exchange, "name", _EXCHANGE, "the name of an exchange that freqtrade knows", f"{field}.exchange")
    _kind(exchange, "pair_whitelist", list, "a list of pairs", f"{field}.exchange")
    _kind(exchange, "ccxt_config", dict, "an object", f"{field}.exchange")


def check_whole(config: Mapping[str, Any], field: str = "config", *, brings_strategies: bool = False) -> None:
    """What holds for everything that a bot is given together. Raises 422.

    ``brings_strategies`` tells that the bot's image may hold the strategy.
    """
    exchange = config.get("exchange", {})
    if "name" not in exchange:
        raise _wrong(f"{field}.exchange.name", "is required: which exchange the bot trades on")
    if "stake_currency" not in config:
        raise _wrong(f"{field}.stake_currency", "is required: the currency that the bot trades with")
    if "pairlists" not in config and not exchange.get("pair_whitelist"):
        raise _wrong(f"{field}.exchange.pair_whitelist", "is required where no pairlists are given: the pairs to trade")
    name, source = config.get("strategy"), config.get("strategy_source")
    if name is None:
        raise _wrong(f"{field}.strategy", "is required: the name of the strategy's class")
    if source is None:
        if brings_strategies:
            return
        raise _wrong(f"{field}.strategy_source", "is required: the strategy's source, as text")
    if not re.search(rf"^class\s+{re.escape(name)}\b", source, re.MULTILINE):
        raise _wrong(f"{field}.strategy_source", "has no class of the name that strategy gives")


def plain_words(config: Mapping[str, Any], *, own: bool) -> set[str]:
    """Texts of a configuration that are no secret: freqtrade's own vocabulary and, of a bot's own, its market.

    Without this its messages would be full of holes, since each names the exchange, the currency or a state.
    """
    exchange = config.get("exchange")
    exchange = exchange if isinstance(exchange, Mapping) else {}
    words = [config.get(name) for name in _VOCABULARY] + [exchange.get("name")]
    for name in ("entry_pricing", "exit_pricing", "order_types", "order_time_in_force"):
        below = config.get(name)
        words += below.values() if isinstance(below, Mapping) else ()
    pairlists = config.get("pairlists")
    words += (
        [item.get("method") for item in pairlists if isinstance(item, Mapping)] if isinstance(pairlists, list) else []
    )
    if own:
        words.append(config.get("strategy"))
        words += exchange.get("pair_whitelist", []) if isinstance(exchange.get("pair_whitelist"), list) else []
    return {word for word in words if isinstance(word, str)}


def _wrong(field: str, message: str, *, code: str = "config_invalid") -> Exception:
    return unacceptable(field, message, code=code)


def _kind(config: Mapping[str, Any], name: str, kind: type, what: str, field: str) -> None:
    if name in config and not isinstance(config[name], kind):
        raise _wrong(f"{field}.{name}", f"must be {what}")


def _one_of(config: Mapping[str, Any], name: str, choices: tuple[str, ...], field: str) -> None:
    if name in config and config[name] not in choices:
        raise _wrong(f"{field}.{name}", f"must be one of {', '.join(choices)}")


def _matching(config: Mapping[str, Any], name: str, pattern: re.Pattern[str], what: str, field: str) -> None:
    value = config.get(name)
    if name in config and not (isinstance(value, str) and pattern.fullmatch(value)):
        raise _wrong(f"{field}.{name}", f"must be {what}")


def _above_zero(config: Mapping[str, Any], name: str, field: str) -> None:
    value = config.get(name)
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if name in config and not (number and 0 < value < 1e15):  # type: ignore[operator]  # a number, as just seen
        raise _wrong(f"{field}.{name}", "must be an amount of stake_currency, more than zero")
