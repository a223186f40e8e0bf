"""The table of legal edges, and what the reducer refuses."""

from __future__ import annotations

import itertools
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from agents.launcher.lifecycle import (
    EXTERNAL,
    HOSTED,
    Change,
    IllegalEdgeError,
    Policy,
    deadline,
    reduce,
    require_edge,
)
from control_plane.bots.models import STATUSES, TRANSIENT_STATUSES
from tests.unit.launcher.rows import FRESH, NOW, POLICY, ago, bot, copy, used

#: The table once more, as people read it: whoever changes an edge changes it twice.
EDGES = {
    "inactive": "inactive starting stopping error",
    "starting": "starting running stopping inactive error",
    "running": "running starting stopping error",
    "stopping": "stopping inactive starting error",
    "error": "error inactive starting stopping",
}
OUTSIDE = {
    "inactive": "inactive connected error",
    "connected": "connected error inactive",
    "error": "error connected inactive",
}


@pytest.mark.parametrize(("before", "after"), list(itertools.product(STATUSES, STATUSES)))
def test_every_edge_is_in_the_table_or_raises(before: str, after: str) -> None:
    for table, expected in ((HOSTED, EDGES), (EXTERNAL, OUTSIDE)):
        if after in expected.get(before, "").split():
            require_edge(table, before, after)
        else:
            with pytest.raises(IllegalEdgeError, match=f"{before} -> {after}"):
                require_edge(table, before, after)


def test_each_kind_has_its_own_statuses() -> None:
    assert {status for edges in HOSTED.values() for status in edges} == set(HOSTED) == set(STATUSES) - {"connected"}
    assert set(EXTERNAL) == set(STATUSES) - {"running", *TRANSIENT_STATUSES}


def test_a_change_becomes_the_row() -> None:
    change = Change(
        status="starting",
        reason="restarting",
        detail="why",
        restarts=used(2),
        next_retry_at=NOW + timedelta(seconds=5),
    )
    after = reduce(bot("running", **FRESH), change, NOW)
    assert (after.status, after.reason, after.detail, after.attempt) == ("starting", "restarting", "why", 2)
    assert after.next_retry_at == change.next_retry_at
    assert (after.status_since, after.fresh) == (NOW, False)
    assert reduce(after, Change(status="starting"), NOW + timedelta(hours=1)).status_since == NOW


def test_an_error_is_left_by_a_wish_alone() -> None:
    with pytest.raises(IllegalEdgeError):
        reduce(bot("error", reason="crash_loop"), Change(status="starting"), NOW)
    assert reduce(bot("error", reason="crash_loop", **FRESH), Change(status="starting"), NOW).status == "starting"


@pytest.mark.parametrize("status", ["running", "stopping", "error"])
def test_only_a_bot_that_starts_waits_for_an_attempt(status: str) -> None:
    with pytest.raises(IllegalEdgeError):
        reduce(bot("starting"), Change(status=status, next_retry_at=NOW), NOW)


@pytest.mark.parametrize(
    ("status", "more", "seconds"),
    [
        ("inactive", {}, None),
        ("running", {}, None),
        ("error", {}, None),
        ("stopping", {}, POLICY.stop_deadline - 20),
        ("starting", {"status_since": ago(100)}, 120.0 - 30),
        ("starting", {"status_since": ago(10)}, 120.0 - 10),
        ("starting", {"next_retry_at": ago(-60)}, 120.0 + 60),
    ],
)
def test_what_may_not_last_has_a_deadline(status: str, more: dict[str, Any], seconds: float | None) -> None:
    expected = None if seconds is None else NOW + timedelta(seconds=seconds)
    assert deadline(bot(status, **more), copy(), POLICY) == expected


@pytest.mark.parametrize(("status", "allowed"), [("starting", 120.0), ("stopping", POLICY.stop_deadline)])
def test_the_time_while_the_engine_was_away_does_not_count(status: str, allowed: float) -> None:
    policy = msgspec.structs.replace(POLICY, in_sight_since=ago(2))
    late = bot(status, status_since=ago(500))
    assert deadline(late, copy(started_at=ago(400)), policy) == ago(2) + timedelta(seconds=allowed)


def test_a_stop_has_time_for_each_of_its_steps() -> None:
    policy = Policy(stop_grace=600.0)
    assert policy.stop_deadline > policy.stop_grace
