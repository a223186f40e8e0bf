"""What a bot's status is said to be, case by case."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from control_plane.bots.kinds import BOT_TYPES, LONGEST_LOOK_S, stale_after_s
from control_plane.bots.models import DESIRED, HEALTH_STATES, STATUSES, TRANSIENT_STATUSES
from control_plane.bots.status import Facts, present

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STALE = timedelta(seconds=55)
FRESH = NOW - timedelta(seconds=10)


def facts(**changes: Any) -> Facts:
    """A hosted bot that runs and was just seen healthy."""
    values: dict[str, Any] = {
        "bot_type": "platform",
        "desired": "running",
        "generation": 2,
        "observed_generation": 2,
        "status": "running",
        "reason": None,
        "health_state": "healthy",
        "health_reason": None,
        "observed_at": FRESH,
        "engine_lost_at": None,
        **changes,
    }
    return Facts(**values)


NEW = {"observed_generation": 1}
EXTERNAL = {"bot_type": "external", "status": "connected"}
OFF = {"desired": "stopped"}
RESTING = {"health_state": "stale", "health_reason": "rate_limited"}
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("changes", "status", "reason", "health", "health_reason", "settled"),
    [
        # hosted, at rest
        ({}, "running", None, "healthy", None, True),
        ({**OFF, "status": "inactive"}, "inactive", None, "unknown", None, True),
        ({"status": "error", "reason": "image_missing"}, "error", "image_missing", "unknown", None, True),
        ({"status": "starting"}, "starting", None, "unknown", None, False),
        ({**OFF, "status": "stopping"}, "stopping", None, "unknown", None, False),
        # hosted, a wish that no agent has taken up
        ({**NEW}, "starting", None, "unknown", None, False),
        ({**NEW, "status": "inactive"}, "starting", None, "unknown", None, False),
        ({**NEW, "status": "error", "reason": "exited"}, "starting", None, "unknown", None, False),
        ({**NEW, "status": "stopping"}, "starting", None, "unknown", None, False),
        ({**NEW, **OFF}, "stopping", None, "unknown", None, False),
        ({**NEW, **OFF, "status": "starting"}, "stopping", None, "unknown", None, False),
        ({**NEW, **OFF, "status": "inactive"}, "inactive", None, "unknown", None, True),
        ({**NEW, **OFF, "status": "error", "reason": "exited"}, "inactive", None, "unknown", None, True),
        ({"bot_type": "shared", **NEW}, "starting", None, "unknown", None, False),
        # health
        ({"health_state": "unhealthy", "health_reason": "refused"}, "running", None, "unhealthy", "refused", True),
        ({"observed_at": None}, "running", None, "unknown", None, True),
        ({"observed_at": NOW - STALE}, "running", None, "healthy", None, True),
        ({"observed_at": NOW - 2 * STALE}, "running", None, "stale", "not_checked_lately", True),
        # it asked for fewer calls, and is left alone for as long as that may last
        ({**RESTING, "observed_at": NOW - HOUR}, "running", None, "stale", "rate_limited", True),
        ({**RESTING, "observed_at": NOW - HOUR - 2 * STALE}, "running", None, "stale", "not_checked_lately", True),
        # the engine is away: nobody knows, and the status stays as it was
        ({"engine_lost_at": NOW}, "running", None, "stale", "engine_unreachable", True),
        ({"engine_lost_at": NOW, **NEW}, "starting", None, "stale", "engine_unreachable", False),
        ({"engine_lost_at": NOW, **OFF, "status": "running"}, "running", None, "stale", "engine_unreachable", True),
        ({"engine_lost_at": NOW, **OFF, "status": "inactive"}, "inactive", None, "unknown", None, True),
        # external: nothing is launched, so the old status stands until the poller has looked
        ({**EXTERNAL}, "connected", None, "healthy", None, True),
        ({**EXTERNAL, **NEW}, "connected", None, "unknown", None, False),
        ({**EXTERNAL, "status": "inactive", **NEW}, "inactive", None, "unknown", None, False),
        ({**EXTERNAL, **OFF, "status": "inactive"}, "inactive", None, "unknown", None, True),
        ({**EXTERNAL, **OFF, **NEW}, "connected", None, "unknown", None, False),
        ({**EXTERNAL, **OFF, **NEW, "status": "error", "reason": "auth"}, "error", "auth", "unknown", None, False),
        ({**EXTERNAL, **OFF, **NEW, "status": "inactive"}, "inactive", None, "unknown", None, True),
        ({**EXTERNAL, "status": "error", "reason": "unauthorized"}, "error", "unauthorized", "healthy", None, True),
    ],
)
def test_table(
    changes: dict[str, Any], status: str, reason: str | None, health: str, health_reason: str | None, settled: bool
) -> None:
    shown = present(facts(**changes), NOW, STALE)
    assert msgspec.structs.astuple(shown) == (status, reason, health, health_reason, settled)


@pytest.mark.parametrize(("interval_s", "stale_s"), [(15, 55), (60, 190), (3600, 10810), (5, 45), (1, 41), (0.2, 40.2)])
def test_a_bot_that_hangs_is_not_said_to_be_looked_at_by_nobody(interval_s: float, stale_s: float) -> None:
    """The newest sight of it is of the moment its look began; the next one may take as long again."""
    assert stale_after_s(interval_s) == stale_s
    assert stale_after_s(interval_s) >= interval_s + 2 * LONGEST_LOOK_S


def test_of_all_cases() -> None:
    """Whatever the columns say: known words, a pending start never read as its outcome, no health without a look."""
    axes = itertools.product(
        BOT_TYPES, DESIRED, (1, 2), STATUSES, HEALTH_STATES, (None, FRESH, NOW - 2 * STALE), (None, NOW)
    )
    for bot_type, desired, seen, status, health, observed_at, lost in axes:
        shown = present(
            facts(
                bot_type=bot_type,
                desired=desired,
                observed_generation=seen,
                status=status,
                health_state=health,
                observed_at=observed_at,
                engine_lost_at=lost,
            ),
            NOW,
            STALE,
        )
        assert shown.status in STATUSES
        assert shown.health in HEALTH_STATES
        if shown.settled:
            assert shown.status not in TRANSIENT_STATUSES
        if seen == 1 and desired == "running":
            assert not shown.settled
        if shown.health == "healthy":
            assert (health, observed_at, seen, desired) == ("healthy", FRESH, 2, "running")
