"""Our fields, as the declaration of a bot of any make (http.py) says where each comes from."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Final, Literal

import msgspec

CallName = Annotated[str, msgspec.Meta(min_length=1, max_length=32, pattern=r"\A[a-z][a-z0-9_]*\Z")]
_PathText = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
_Constant = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Word = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Where a value comes from: a path into the answer of a call, or a constant."""

    path: _PathText | None = None
    call: CallName | None = None
    """Whose answer; left out: that of `first`."""


class TextField(Source, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A text, or a number that is meant as one."""

    value: _Constant | None = None
    """A constant, instead of a path."""


class WordField(Source, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A state in words."""

    words: dict[_Word, Literal["running", "paused", "stopped"]] | None = None
    """What the bot's own words (true and false included) mean in ours; others are shown as they are."""


class FlagField(Source, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """True or false."""

    value: bool | None = None
    words: dict[_Word, bool] | None = None
    """What the bot's own words mean, where it does not say true or false."""


class NumberField(Source, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A number, or a text that is one."""

    scale: Decimal | None = None
    """What it is multiplied by: 0.01 makes a share of a percentage."""


class AmountField(NumberField, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """An amount of money."""

    value: Decimal | None = None


class CountField(Source, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A whole number."""


class TimeField(Source, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A time: RFC 3339, or seconds or milliseconds since 1970."""

    unit: Literal["text", "s", "ms"] = "text"


class HttpFields(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Our fields, each with where it comes from. What is left out is unknown, never zero."""

    trading_state: WordField | None = None
    last_loop_at: TimeField | None = None
    """When its trading loop last turned."""
    simulated: FlagField | None = None
    version: TextField | None = None
    identity: TextField | None = None
    started_at: TimeField | None = None
    currency: TextField | None = None
    equity: AmountField | None = None
    capital_base: AmountField | None = None
    realized_profit: AmountField | None = None
    open_profit: AmountField | None = None
    win_rate: NumberField | None = None
    max_drawdown: NumberField | None = None
    closed_trades: CountField | None = None
    open_positions: CountField | None = None


AMOUNTS: Final = ("equity", "capital_base", "realized_profit", "open_profit")
