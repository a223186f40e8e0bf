"""hummingbot, by way of hummingbot-api: what is known of the family without calling a bot."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Annotated, ClassVar, Final

import msgspec

from control_plane.engines.family import Capability, EngineConfig, Family
from control_plane.security.credentials import Credential, Text, UserName

# One segment of a path and one word of a body: what hummingbot itself gives its instances and controllers as names.
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=120, pattern=r"\A(?!\.{1,2}\Z)[A-Za-z0-9._-]+\Z")]
_Currency = Annotated[str, msgspec.Meta(min_length=1, max_length=16, pattern=r"\A[A-Za-z0-9._-]+\Z")]


class HummingbotCredential(Credential, frozen=True, forbid_unknown_fields=True):
    """User name and password of the hummingbot-api, which has one pair for everything."""

    username: UserName
    password: Text

    hints: ClassVar[Mapping[str, str]] = {
        "username": "1 to 128 characters without a colon or control characters",
        "password": "1 to 256 characters without control characters",
    }


class HummingbotConfig(EngineConfig, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Which of the bots behind one hummingbot-api, and what the API does not know of it."""

    bot_name: _Name
    """The name of the bot's instance, as the API lists it."""
    controller_id: _Name | None = None
    """One controller of it; left out: all of them together."""
    currency: _Currency | None = None
    """The quote currency of all its pairs, for the times when no open position of a controller tells it."""
    capital: Decimal | None = None
    """What it was given to trade with, in that currency: the API knows no capital of one bot."""

    hints: ClassVar[Mapping[str, str]] = {
        "bot_name": "the instance's name as the API lists it: letters, digits, dots, hyphens and underscores",
        "controller_id": "letters, digits, dots, hyphens and underscores",
        "currency": "a short word such as USDT",
        "capital": "an amount above zero",
    }
    purposes: ClassVar[Mapping[str, str]] = {
        "controller_id": "one controller of the bot; left out: all of them together",
        "currency": "what its pairs are quoted in, for the times when no open position tells it",
        "capital": "what it was given to trade with, in that currency; without it, its equity and returns are unknown",
    }

    @property
    def part(self) -> str:
        return self.bot_name if self.controller_id is None else f"{self.bot_name}/{self.controller_id}"

    def problem(self) -> tuple[str, str] | None:
        if self.capital is not None and not (self.capital.is_finite() and 0 < self.capital < 10**16):
            return "capital", f"must be {self.hints['capital']}"
        if self.capital is not None and self.currency is None:
            return "currency", "is missing: capital is an amount of it"
        return None


FAMILY: Final = Family(
    name="hummingbot",
    title="hummingbot",
    about="One bot of a hummingbot-api. Several bots of one API are asked for by one call.",
    credential=HummingbotCredential,
    config=HummingbotConfig,
    capabilities=frozenset(
        {
            Capability.TRADING_STATE,
            Capability.EQUITY,
            Capability.PERFORMANCE,
            Capability.POSITIONS,
            Capability.CONTROL_START,
            Capability.CONTROL_STOP,
        }
    ),
    provenance={
        "latency_ms": "The time of /bot-orchestration/status, shared by all bots of one API.",
        "trading_state": "That bot's status. idle: silent for 30 seconds. What the API calls stopped for want of"
        " figures counts as stopped only where its newest run is STOPPED, and else as unknown.",
        "simulated": "True where every connector is a paper_trade one; unknown where none is told, or one of several"
        " controllers with amounts has no position to tell.",
        "version": "/: version, of the API.",
        "currency": "The quote of all pairs in positions_summary, or what you state. Unknown where they differ, or one"
        " of several controllers with amounts has no position and you state none; then no amount is told.",
        "equity": "The capital that you state and both profits. Unknown where you state none.",
        "capital_base": "The capital that you state.",
        "realized_profit": "The sum of realized_pnl_quote of its controllers.",
        "open_profit": "The sum of unrealized_pnl_quote of its controllers.",
        "win_rate": "TAKE_PROFIT and TRAILING_STOP as a share of all closed; unknown where some closed in ways that do"
        " not tell.",
        "closed_trades": "close_type_counts, without EARLY_STOP and FAILED.",
        "open_positions": "The entries of positions_summary with an amount.",
    },
)
