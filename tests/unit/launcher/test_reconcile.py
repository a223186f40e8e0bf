"""The launcher's decisions about bots that shall run, as a table, and what holds for every decision."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.launcher.lifecycle import Bot, Change, Instance, Intent
from agents.launcher.reconcile import Decision, decide
from agents.launcher.runtimes.base import Observed
from tests.unit.launcher.rows import (
    COPY,
    EXAMINE,
    FRESH,
    KILL,
    LATE,
    LAUNCH,
    NOTHING,
    NOW,
    OLD,
    OTHER_COPY,
    POLICY,
    RELEASE,
    REMOVE,
    RUNNING,
    STARTING,
    STOP,
    STOPPING,
    ago,
    bot,
    copy,
    seen,
    unwell,
    used,
)

LONG: dict[str, Any] = {"started_at": ago(400)}
HUNG = Change(status="stopping", reason="liveness", detail="It runs, but has answered no check for 300 s (timeout)")
STUCK = Change(
    status="error",
    reason="stuck_stopping",
    detail="It does not end, not even by force. Ask your operator to look at the container engine.",
)

TABLE: dict[str, tuple[Bot, Instance | None, list[Observed], Decision]] = {
    # a bot that shall run
    "asked to start": (bot("inactive", **FRESH), None, [], Decision(change=STARTING, action=LAUNCH)),
    "inactive though it should run": (bot("inactive"), None, [], Decision(change=STARTING, action=LAUNCH)),
    "start again after an error": (
        bot("error", reason="crash_loop", attempt=5, **FRESH),
        None,
        [],
        Decision(change=STARTING, action=LAUNCH),
    ),
    "the launcher died before it made anything": (bot("starting"), None, [], Decision(action=LAUNCH)),
    "the launcher died after it took the place": (
        bot("starting"),
        copy("creating", container_id=None, started_at=None),
        [],
        Decision(action=RELEASE),
    ),
    "the launcher died after it made the container": (
        bot("starting"),
        copy("creating", container_id=None, started_at=None),
        [seen("created")],
        Decision(action=REMOVE),
    ),
    "the launcher died in the hand-over": (
        bot("starting"),
        copy("creating", started_at=None),
        [seen("running")],
        Decision(action=STOP),
    ),
    "what came of that hand-over is no crash": (
        bot("starting"),
        copy("creating", started_at=None),
        [seen("exited")],
        Decision(action=REMOVE),
    ),
    "a container known by the row, not by the listing, is asked for": (
        bot("starting"),
        copy("creating", started_at=None),
        [],
        Decision(action=EXAMINE),
    ),
    "not healthy yet": (bot("starting"), copy(), [seen()], Decision(again_in=1.0)),
    "healthy": (
        bot("starting", attempt=2, reason="restarting", healthy_at=ago(1)),
        copy(),
        [seen()],
        Decision(change=Change(status="running", restarts=used(2))),
    ),
    "healthy, but before this start": (bot("starting", healthy_at=ago(31)), copy(), [seen()], Decision(again_in=1.0)),
    "not healthy in time": (
        bot("starting", status_since=ago(120)),
        copy(started_at=ago(120)),
        [seen()],
        Decision(change=LATE, action=STOP),
    ),
    "well": (bot(), copy(), [seen()], NOTHING),
    "well for long": (bot(attempt=3), copy(started_at=ago(600)), [seen()], Decision(change=RUNNING)),
    "well, not for long": (bot(attempt=3), copy(started_at=ago(599)), [seen()], NOTHING),
    "ended by itself": (bot(), copy(), [seen("exited")], Decision(action=EXAMINE)),
    "not in the listing: that is no proof": (bot(), copy(), [], Decision(action=EXAMINE)),
    "judged, and still there": (bot("starting", attempt=1), copy("exited"), [seen("exited")], Decision(action=REMOVE)),
    "judged, and gone": (bot("starting", attempt=1), copy("exited"), [], Decision(action=RELEASE)),
    "waits for its next attempt": (
        bot("starting", attempt=1, next_retry_at=NOW + timedelta(seconds=4)),
        None,
        [],
        Decision(again_in=4.0),
    ),
    "its next attempt is due": (bot("starting", attempt=1, next_retry_at=NOW), None, [], Decision(action=LAUNCH)),
    "running, and nothing is known of a copy": (
        bot(attempt=1),
        None,
        [],
        Decision(change=Change(status="starting", restarts=used(1)), action=LAUNCH),
    ),
    # a new generation
    "asked to restart": (bot(**FRESH), copy(**OLD), [seen()], Decision(change=STOPPING, action=STOP)),
    "asked to restart while it waits": (
        bot("starting", attempt=4, next_retry_at=NOW + timedelta(hours=1), **FRESH),
        None,
        [],
        Decision(change=STARTING, action=LAUNCH),
    ),
    "asked to restart while it starts": (
        bot("starting", **FRESH),
        copy(**OLD),
        [seen()],
        Decision(change=STOPPING, action=STOP),
    ),
    "restarting, not ended yet": (bot("stopping"), copy(**OLD), [seen()], Decision(action=STOP)),
    "restarting, ended": (bot("stopping"), copy(**OLD), [seen("exited")], Decision(action=EXAMINE)),
    "restarting, taken away": (bot("stopping"), None, [], Decision(change=STARTING, action=LAUNCH)),
    "crashed as somebody restarted it": (
        bot(**FRESH),
        copy(**OLD),
        [seen("exited")],
        Decision(change=STOPPING, action=EXAMINE),
    ),
    # a bot that hangs
    "its checks fail for long enough": (
        bot(unwell=unwell()),
        copy(**LONG),
        [seen()],
        Decision(change=HUNG, action=STOP),
    ),
    "it is being ended for that": (bot("stopping", reason="liveness"), copy(), [seen()], Decision(action=STOP)),
    "not even a kill ends the one that hung": (
        bot("stopping", reason="liveness", status_since=ago(2 * POLICY.stop_deadline)),
        copy(),
        [seen()],
        Decision(change=STUCK, action=KILL),
    ),
    "its checks fail: that is no steady run": (
        bot(attempt=3, unwell=unwell(reason="auth")),
        copy(started_at=ago(900)),
        [seen()],
        NOTHING,
    ),
    # a bot in error
    "an error stays": (bot("error", reason="crash_loop"), None, [], NOTHING),
    "an error lets nothing run": (bot("error"), copy(), [seen()], Decision(action=STOP)),
    "an error cleans up": (bot("error"), copy("exited"), [], Decision(action=RELEASE)),
}


@pytest.mark.parametrize("case", TABLE)
def test_the_next_step(case: str) -> None:
    given_bot, instance, containers, expected = TABLE[case]
    assert decide(given_bot, instance, containers, NOW, POLICY) == expected


_states = st.sampled_from(["created", "running", "exited"])
_containers = st.lists(st.tuples(_states, st.sampled_from(["c1", "c2"]), st.sampled_from([COPY, OTHER_COPY, None])))
_bots = st.builds(
    bot,
    st.sampled_from(["inactive", "starting", "running", "stopping", "error"]),
    intent=st.sampled_from(list(Intent)),
    observed_generation=st.sampled_from([-1, 2, 3]),
    attempt=st.integers(0, 5),
    healthy_at=st.none() | st.just(NOW),
    status_since=st.sampled_from([ago(0), ago(60), ago(600)]),
    unwell=st.none() | st.just(unwell()),
)
_copies = st.none() | st.builds(
    copy,
    st.sampled_from(["creating", "running", "exited"]),
    generation=st.sampled_from([2, 3]),
    container_id=st.none() | st.sampled_from(["c1", "c2"]),
)


@given(given_bot=_bots, instance=_copies, listed=_containers)
def test_nothing_is_launched_while_anything_is_there(
    given_bot: Bot, instance: Instance | None, listed: list[tuple[str, str, UUID | None]]
) -> None:
    containers = [seen(*item) for item in listed]
    decision = decide(given_bot, instance, containers, NOW, POLICY)
    if decision.action == LAUNCH:
        assert instance is None
        assert containers == []
        assert given_bot.intent is Intent.RUN


@given(given_bot=_bots, instance=_copies, listed=_containers)
def test_every_decision_is_written_once(
    given_bot: Bot, instance: Instance | None, listed: list[tuple[str, str, UUID | None]]
) -> None:
    containers = [seen(*item) for item in listed]
    decision = decide(given_bot, instance, containers, NOW, POLICY)
    if decision.change is not None:
        fields = {name: getattr(decision.change, name) for name in Change.__struct_fields__}
        written = msgspec.structs.replace(given_bot, observed_generation=given_bot.generation, **fields)
        assert decide(written, instance, containers, NOW, POLICY).change != decision.change
