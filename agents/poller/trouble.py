"""What is wrong with a bot that answers: its trading loop stands still, or its exchange does not answer it. Pure.

Transport, credential and trading are three facts. A bot may answer every call while it has traded nothing for an hour;
that is said as it is, and is not the same as being down. Both findings need more than one look, because a loop may be
slow, and prices may be missing for a moment.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

import msgspec

from agents.engines.base import Reading
from agents.poller.facts import Health

LOOP_STALLED: Final = "loop_stalled"
EXCHANGE_UNREACHABLE: Final = "exchange_unreachable"
#: Nothing is wrong with its trading, but its times cannot be compared with ours.
CLOCK_SKEW: Final = "clock_skew"
#: It was unhealthy and one look found it well: one more will make it so.
RECOVERING: Final = "recovering"
#: What a bot may show while it is reached and accepts its credentials.
TROUBLES: Final = frozenset({LOOP_STALLED, EXCHANGE_UNREACHABLE})

#: Seconds for which a loop may rest, by family. One that is not here tells nothing that could be judged by.
_LOOP_BOUND_S: Final[Mapping[str, float]] = {"freqtrade": 300.0, "tradewise": 300.0}
_SHORTEST_BOUND_S: Final = 60.0
_ROUNDS_MISSED: Final = 5
_LONGEST_ROUND_S: Final = 1e7
#: Two looks tell the same last round of a loop within this: our two clocks differ by as much while we are busy.
_SAME_ROUND_S: Final = 2.0
_LOOKS: Final = 3
_INTERVALS: Final = 2
#: Full readings without prices that make an exchange that does not answer.
_READINGS: Final = 2
#: Families in which an open position without a profit means that no price came.
_PRICED: Final = frozenset({"freqtrade"})
#: States in which the loop turns. A bot that its owner has stopped has none, and asks for no prices.
_TURNING: Final = frozenset({"running", "paused"})


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at a bot that answers comes to."""

    reason: str | None = None
    detail: str | None = None
    believed: bool = False
    """Enough to call it unhealthy."""
    doubts: int = 0
    """Looks in a row that found the same, while they are not enough."""


NOTHING: Final = Finding()


@lru_cache(1024)
def loop_bound(engine: str, round_s: float | None) -> float | None:
    """How long a bot's loop may rest, in seconds. ``round_s`` is how often it says that it turns; None: not told."""
    round_s = _length(round_s)
    if round_s is not None:
        return max(_SHORTEST_BOUND_S, _ROUNDS_MISSED * round_s)
    return _LOOP_BOUND_S.get(engine)


def _length(round_s: float | None) -> float | None:
    """Of a round: None where it is no length of time, or none that a bot's loop could have."""
    return round_s if round_s is not None and 0 < round_s < _LONGEST_ROUND_S else None


def carried_age(before: Health, observed_at: datetime) -> float | None:
    """Seconds since the loop was last seen to turn, for a look that does not tell: that does not make it younger."""
    if before.loop_age_s is None or before.observed_at is None:
        return None
    return before.loop_age_s + max(0.0, (observed_at - before.observed_at).total_seconds())


def find(
    engine: str, before: Health, told: str | None, reading: Reading, observed_at: datetime, interval: timedelta
) -> Finding:
    """What is wrong with a bot that answered ``reading``. What this look does not tell of stays as it was.

    ``told`` is the trouble that people were told of: it needs evidence to go, and none to stay.
    """
    if reading.trading_state is not None and reading.trading_state not in _TURNING:
        return NOTHING
    loop = _loop(engine, before, told, reading, observed_at, interval)
    if loop.reason == LOOP_STALLED or engine not in _PRICED:
        return loop
    prices = _prices(before, told, reading)
    return loop if prices.reason is None else prices


def _loop(
    engine: str, before: Health, told: str | None, reading: Reading, observed_at: datetime, interval: timedelta
) -> Finding:
    bound = loop_bound(engine, reading.loop_interval_s)
    if bound is None:
        return NOTHING
    if reading.loop_age_s is None or reading.trading_state is None:
        return _carried(before, told, {LOOP_STALLED, CLOCK_SKEW})
    if reading.loop_age_s <= bound:
        return NOTHING
    if _turned(before, reading.loop_age_s, observed_at):
        # Its last round is long ago by our clock, and yet another one than before: only the clocks differ.
        return Finding(reason=CLOCK_SKEW, detail=f"Its clock is about {lasting(reading.loop_age_s)} behind ours.")
    doubts = before.failures + 1 if before.reason in {LOOP_STALLED, CLOCK_SKEW} else 1
    patience = max(_INTERVALS * interval, timedelta(seconds=2 * (_length(reading.loop_interval_s) or 0.0)))
    lasted = doubts * interval if before.healthy_at is None else observed_at - before.healthy_at
    words = f"It answers, but its trading loop has not turned for {lasting(reading.loop_age_s)}."
    believed = _stands(before, told, LOOP_STALLED) or (doubts >= _LOOKS and lasted >= patience)
    if not believed and before.reason == CLOCK_SKEW:
        # A slow loop between two rounds, of a bot whose clock is known to differ.
        return Finding(reason=CLOCK_SKEW, detail=before.detail, doubts=doubts)
    return Finding(reason=LOOP_STALLED, detail=words, believed=believed, doubts=0 if believed else doubts)


def _turned(before: Health, age_s: float, observed_at: datetime) -> bool:
    if before.loop_age_s is None or before.observed_at is None:
        return False
    passed = (observed_at - before.observed_at).total_seconds()
    return before.loop_age_s + passed - age_s > _SAME_ROUND_S


def _prices(before: Health, told: str | None, reading: Reading) -> Finding:
    if reading.realized_profit is None or reading.open_positions is None:
        return _carried(before, told, {EXCHANGE_UNREACHABLE})
    if not reading.open_positions or reading.open_profit is not None:
        return NOTHING
    doubts = before.failures + 1 if before.reason == EXCHANGE_UNREACHABLE else 1
    believed = _stands(before, told, EXCHANGE_UNREACHABLE) or doubts >= _READINGS
    words = "It answers, but has no prices for its open positions: its exchange does not answer it."
    return Finding(reason=EXCHANGE_UNREACHABLE, detail=words, believed=believed, doubts=0 if believed else doubts)


def _stands(before: Health, told: str | None, reason: str) -> bool:
    return told == reason or (before.state == "unhealthy" and before.reason == reason)


def _carried(before: Health, told: str | None, reasons: set[str]) -> Finding:
    if before.reason in reasons:
        believed = before.state == "unhealthy" and before.reason in TROUBLES
        doubts = 0 if believed else before.failures
        return Finding(reason=before.reason, detail=before.detail, believed=believed, doubts=doubts)
    if told in reasons and before.state != "healthy" and before.reason != RECOVERING:
        # Something else was shown in between, such as that it asks for fewer calls: that took nothing back.
        return Finding(reason=told, believed=True)
    return NOTHING


def lasting(seconds: float) -> str:
    """A duration for people, from seconds to days."""
    for size, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{seconds:.0f} seconds"
