"""What a bot's status is said to be: pure, from what people want and what agents last saw."""

from __future__ import annotations

from datetime import datetime, timedelta

import msgspec

from control_plane.bots.kinds import HOSTED_TYPES, LONGEST_REST_S
from control_plane.bots.models import TRANSIENT_STATUSES


class Facts(msgspec.Struct, frozen=True, kw_only=True):
    """The columns that a status rests on."""

    bot_type: str
    desired: str
    generation: int
    observed_generation: int
    status: str
    reason: str | None
    health_state: str
    health_reason: str | None
    observed_at: datetime | None
    engine_lost_at: datetime | None


class Presented(msgspec.Struct, frozen=True):
    """What is shown: status with its reason, health with its reason, and whether waiting longer would tell more."""

    status: str
    reason: str | None
    health: str
    health_reason: str | None
    settled: bool


def present(facts: Facts, now: datetime, stale_after: timedelta) -> Presented:
    """The status of a bot whose wish may be newer than what its agent has acted on.

    A wish that no agent has taken up yet reads as on its way (*starting*, *stopping*), so that a client that has just
    asked for a change never reads the old state as the outcome.
    """
    hosted = facts.bot_type in HOSTED_TYPES
    pending = facts.generation > facts.observed_generation
    status, reason = facts.status, facts.reason
    if pending and hosted and facts.desired == "running":
        status, reason = "starting", None
    elif pending and hosted and status not in {"inactive", "error"}:
        status, reason = "stopping", None
    elif pending and hosted:
        status, reason = "inactive", None
    health, health_reason = _health(facts, now, stale_after, hosted=hosted, status=status)
    # Of one that runs elsewhere the old status stands until the poller has seen to the wish, a stop included.
    waiting = pending and not hosted and (facts.desired == "running" or status != "inactive")
    return Presented(status, reason, health, health_reason, settled=status not in TRANSIENT_STATUSES and not waiting)


def _health(
    facts: Facts, now: datetime, stale_after: timedelta, *, hosted: bool, status: str
) -> tuple[str, str | None]:
    if facts.engine_lost_at is not None and (facts.desired == "running" or status not in {"inactive", "error"}):
        return "stale", "engine_unreachable"
    if facts.desired != "running" or (hosted and status in {"inactive", "error", "starting"}):
        return "unknown", None
    if facts.observed_at is None:
        return "unknown", None
    if facts.observed_generation < facts.generation:
        return "unknown", None
    resting = facts.health_state == "stale" and facts.health_reason == "rate_limited"
    rest = timedelta(seconds=LONGEST_REST_S if resting else 0.0)
    if now - facts.observed_at > stale_after + rest:
        return "stale", "not_checked_lately"
    return facts.health_state, facts.health_reason
