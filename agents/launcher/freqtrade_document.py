"""What a hosted freqtrade bot is handed: freqtrade's own configuration out of layers, with ours on top. Pure.

Where it listens and where it keeps its files is written by the program in its image (`agents/freqtrade_bot`), which
knows the places; it makes the two secrets that nobody outside needs itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

import msgspec

from agents.launcher.handover import Opened, SecretUnreadable
from agents.launcher.runtimes.base import BOT_PORT, DATA_DIR
from control_plane.bots.freqtrade_config import OURS, STATES
from control_plane.bots.layers import merged
from control_plane.security.credentials import FreqtradeCredential

#: What freqtrade insists on and most people leave as its documentation has it.
_PRICING: Final = {"price_side": "same", "use_order_book": True, "order_book_top": 1}
_DEFAULTS: Final[Mapping[str, Any]] = {
    "dry_run": True,
    "initial_state": "running",
    "max_open_trades": 3,
    "stake_amount": "unlimited",
    "entry_pricing": _PRICING,
    "exit_pricing": _PRICING,
    "pairlists": [{"method": "StaticPairList"}],
}
_PAPER_CAPITAL: Final = 10_000
#: Members that are for the program in the image, not for freqtrade's configuration file.
_APART: Final = frozenset({"strategy", "strategy_source"})


def document(bot_id: UUID, opened: Opened, cash_flows: Iterable[Mapping[str, str]]) -> bytes:
    """The hand-over document on one line. Raises SecretUnreadable where the credentials are another family's."""
    if not isinstance(opened.credential, FreqtradeCredential):
        raise SecretUnreadable("A freqtrade bot takes a user name and a password. Enter them, then start it again.")
    config = configuration(opened, cash_flows)
    return (
        msgspec.json.encode(
            {
                "bot_id": str(bot_id),
                "credentials": {"username": opened.credential.username, "password": opened.credential.password},
                # Inside the container, where the published port decides who reaches it.
                "listen": {"host": "0.0.0.0", "port": BOT_PORT},  # noqa: S104
                "data_dir": DATA_DIR,
                "strategy": {"name": config.get("strategy"), "source": config.get("strategy_source")},
                "config": {name: value for name, value in config.items() if name not in _APART},
            }
        )
        + b"\n"
    )


def configuration(opened: Opened, cash_flows: Iterable[Mapping[str, str]] = ()) -> dict[str, Any]:
    """freqtrade's configuration: live only where it says so, never with more capital than the bot has.

    The capital is what a subscriber has put in and not taken out again; without a subscription, what the configuration
    says, and where that says nothing either, all of the account, or ten thousand in simulation.
    """
    currency = opened.template.get("currency")
    said = {"stake_currency": currency} if currency else {}
    config = merged(_DEFAULTS, said, opened.parameters, opened.template_config, opened.own_config)
    for name in OURS:
        config.pop(name, None)
    if config["initial_state"] not in STATES:
        config["initial_state"] = _DEFAULTS["initial_state"]
    # Whatever else stands there, only a plain false trades with real money.
    config["dry_run"] = config["dry_run"] is not False
    flows = [Decimal(flow["amount"]) for flow in cash_flows]
    if flows:
        # A number for freqtrade, which reckons in binary fractions; our own books stay exact.
        config["available_capital"] = float(max(Decimal(0), sum(flows, Decimal(0))))
    if config["dry_run"]:
        config["dry_run_wallet"] = _wallet(config)
    return config


def ready_state(opened: Opened) -> str:
    """The trading state that the bot is told to come up in."""
    return str(configuration(opened)["initial_state"])


def _wallet(config: Mapping[str, Any]) -> Any:
    """A simulated account that holds the bot's capital at least: freqtrade does not check that it does."""
    said, capital = config.get("dry_run_wallet"), config.get("available_capital")
    if said is None:
        return _PAPER_CAPITAL if capital is None else capital
    if capital is None:
        return said
    if isinstance(said, dict):
        currency = str(config.get("stake_currency"))
        return {**said, currency: _more(said.get(currency), capital)}
    return _more(said, capital)


def _more(said: Any, capital: float) -> float:
    number = isinstance(said, int | float) and not isinstance(said, bool)
    return max(float(said), capital) if number else capital
