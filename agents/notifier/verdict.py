"""How one bot stands towards one kind of trouble. Pure.

The poller has judged the bot before (three failures over two intervals); here one further sight must agree.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final, Literal
from uuid import UUID

import msgspec

from agents.engines.base import Reason
from agents.poller.trouble import RECOVERING
from control_plane.alerts.kinds import Kind, Rule, Scope
from control_plane.alerts.words import drawdown_text
from control_plane.bots.kinds import LONGEST_REST_S

#: The engine's silence lasts this long before it is believed.
_ENGINE_AWAY: Final = timedelta(seconds=60)
#: No bot that asked for fewer calls is left alone for longer.
_LONGEST_REST: Final = timedelta(seconds=LONGEST_REST_S)
#: A drawdown is over below this part of its limit, so that it does not come and go at the limit itself.
_DRAWDOWN_OVER: Final = Decimal("0.9")
_STOPPED: Final = frozenset({"stopped", "paused"})


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows say of one bot. None is unknown."""

    bot_id: UUID
    name: str
    #: Its owner wants it to run, and it is there.
    watched: bool
    hosted: bool
    host: str | None
    status: str
    status_reason: str | None
    status_since: datetime
    state: str
    reason: str | None
    observed_at: datetime | None
    failures: int
    trading_state: str | None
    engine_lost_at: datetime | None
    #: When it was changed, or switched on again, where nobody has looked since.
    changed_at: datetime | None
    #: Since when its health is what it is now: well, or down, or refusing us.
    state_since: datetime | None
    #: Since when it has not been trading although it had been, or has been trading again.
    trading_since: datetime | None
    #: Since when it is being looked at again, after a time when nobody did.
    watched_since: datetime | None
    #: The part of its highest value that its own index has fallen by, 0 to 1.
    drawdown: Decimal | None


class Verdict(msgspec.Struct, frozen=True):
    """One bot and one kind of trouble. ``unknown`` neither opens nor closes anything."""

    what: Literal["bad", "good", "unknown", "gone"]
    since: datetime | None = None
    #: A further sight agreed.
    confirmed: bool = False
    reason: str | None = None
    #: What is to be told of it besides, in words.
    detail: str | None = None
    #: Where the cause is known to lie outside of the bot.
    scope: Scope = "bot"


UNKNOWN: Final = Verdict("unknown")
#: Nobody watches it, or it is no more.
GONE: Final = Verdict("gone")


def verdict(kind: Kind, seen: Seen, rule: Rule, now: datetime, stale_after: timedelta) -> Verdict:
    """How a bot stands towards one kind of trouble."""
    if not seen.watched or not rule.enabled:
        return GONE
    if seen.engine_lost_at is not None:
        lost = Verdict(
            "bad", seen.engine_lost_at, now - seen.engine_lost_at >= _ENGINE_AWAY, "engine_lost", scope="engine"
        )
        return lost if kind == "bot_down" else UNKNOWN
    if seen.hosted and seen.status == "error":
        down = Verdict("bad", seen.status_since, confirmed=True, reason=seen.status_reason)
        return down if kind == "bot_down" else Verdict("good") if kind == "not_watched" else UNKNOWN
    if seen.hosted and seen.status != "running":
        return Verdict("good") if kind == "not_watched" else UNKNOWN  # on its way: nobody looks at it yet
    if seen.observed_at is None:
        return UNKNOWN
    if now - seen.observed_at > stale_after:
        if _resting(seen) and now - seen.observed_at <= _LONGEST_REST + stale_after:
            return Verdict("good") if kind == "not_watched" else UNKNOWN
        since = seen.observed_at if seen.changed_at is None else max(seen.observed_at, seen.changed_at)
        if now - since <= stale_after or kind != "not_watched":
            return UNKNOWN
        return Verdict("bad", since, confirmed=True, reason="not_checked_lately", scope="platform")
    return _JUDGES[kind](seen, rule)


def _not_watched(seen: Seen, _rule: Rule) -> Verdict:
    return Verdict("good", seen.watched_since, _seen_again(seen, seen.watched_since))


def _bot_down(seen: Seen, _rule: Rule) -> Verdict:
    if seen.reason == RECOVERING:
        return UNKNOWN  # one good look: the next one tells
    if seen.state == "unhealthy" and not _refused(seen):
        return Verdict("bad", seen.state_since, _seen_again(seen, seen.state_since), seen.reason)
    if seen.state == "healthy" or _refused(seen):
        return Verdict("good", seen.state_since, _seen_again(seen, seen.state_since))
    return UNKNOWN


def _credential(seen: Seen, _rule: Rule) -> Verdict:
    if seen.state == "unhealthy" and _refused(seen):
        return Verdict("bad", seen.state_since, _seen_again(seen, seen.state_since), seen.reason)
    if seen.state == "healthy":
        return Verdict("good", seen.state_since, _seen_again(seen, seen.state_since))
    return UNKNOWN


def _trading(seen: Seen, _rule: Rule) -> Verdict:
    if seen.state != "healthy" or seen.trading_since is None:
        return UNKNOWN
    confirmed = _seen_again(seen, seen.trading_since)
    if seen.trading_state in _STOPPED:
        return Verdict("bad", seen.trading_since, confirmed, seen.trading_state)
    return Verdict("good", seen.trading_since, confirmed) if seen.trading_state == "running" else UNKNOWN


def _drawdown(seen: Seen, rule: Rule) -> Verdict:
    if seen.drawdown is None or rule.limit_percent is None:
        return UNKNOWN
    limit = rule.limit_percent / 100
    if seen.drawdown >= limit:
        told = drawdown_text(seen.drawdown, rule.limit_percent)
        return Verdict("bad", seen.observed_at, confirmed=True, detail=told)
    return Verdict("good") if seen.drawdown < limit * _DRAWDOWN_OVER else UNKNOWN


_JUDGES: Final[dict[Kind, Callable[[Seen, Rule], Verdict]]] = {
    "bot_down": _bot_down,
    "credential_expired": _credential,
    "trading_stopped": _trading,
    "drawdown": _drawdown,
    "not_watched": _not_watched,
}


def _refused(seen: Seen) -> bool:
    # By what history has as well: the poller writes this reason wherever it finds the credentials not accepted.
    return seen.reason == Reason.AUTH


def _resting(seen: Seen) -> bool:
    """It asked for fewer calls: the poller leaves it alone, which is no neglect of ours."""
    return seen.state == "stale" and seen.reason == Reason.RATE_LIMITED


def _seen_again(seen: Seen, since: datetime | None) -> bool:
    return since is not None and seen.observed_at is not None and seen.observed_at > since
