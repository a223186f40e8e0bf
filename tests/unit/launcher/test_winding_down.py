"""The launcher's decisions about bots that shall not run, and about containers that nobody accounts for, as a table."""

from __future__ import annotations

import msgspec
import pytest

from agents.launcher.lifecycle import Bot, Change, Instance, Intent, intent_of
from agents.launcher.reconcile import Action, Decision, Verb, decide
from agents.launcher.runtimes.base import Observed
from tests.unit.launcher.rows import (
    EXAMINE,
    FRESH,
    INACTIVE,
    KILL,
    LAUNCH,
    NOTHING,
    NOW,
    OLD,
    OTHER_COPY,
    POLICY,
    RESTING,
    RESTS,
    STARTING,
    STOP,
    STOPPING,
    WITHDRAWN,
    ago,
    bot,
    copy,
    seen,
    used,
)

STUCK = Change(
    status="error",
    reason="stuck_stopping",
    detail="It does not end, not even by force. Ask your operator to look at the container engine.",
)

TABLE: dict[str, tuple[Bot, Instance | None, list[Observed], Decision]] = {
    # a bot that shall not run
    "asked to stop": (
        bot(intent=Intent.STOP, **FRESH),
        copy(**OLD),
        [seen()],
        Decision(change=STOPPING, action=STOP),
    ),
    "stopping": (bot("stopping", intent=Intent.STOP), copy(), [seen()], Decision(action=STOP)),
    "stopped": (bot("stopping", intent=Intent.STOP), copy(), [seen("exited")], Decision(action=EXAMINE)),
    "nothing is left": (bot("stopping", intent=Intent.STOP), None, [], Decision(change=INACTIVE)),
    "stop after an error": (bot("error", reason="x", intent=Intent.STOP), None, [], Decision(change=INACTIVE)),
    "at rest": (bot("inactive", intent=Intent.STOP), None, [], NOTHING),
    "asked to stop while at rest": (bot("inactive", intent=Intent.STOP, **FRESH), None, [], Decision(change=INACTIVE)),
    "deleted while it runs": (bot(intent=Intent.DELETE), copy(), [seen()], Decision(change=STOPPING, action=STOP)),
    "deleted, and nothing is left": (
        bot("stopping", intent=Intent.DELETE),
        None,
        [],
        Decision(action=Action(Verb.DROP_STORAGE), afterwards=Change(status="inactive", reason="deleted")),
    ),
    "deleted for good": (bot("inactive", reason="deleted", intent=Intent.DELETE), None, [], NOTHING),
    # a stop that takes too long
    "in its time": (
        bot("stopping", intent=Intent.STOP, status_since=ago(44)),
        copy(),
        [seen()],
        Decision(action=STOP),
    ),
    "overdue": (
        bot("stopping", intent=Intent.STOP, status_since=ago(POLICY.stop_deadline)),
        copy(),
        [seen()],
        Decision(action=KILL),
    ),
    "not even a kill ends it": (
        bot("stopping", intent=Intent.STOP, status_since=ago(2 * POLICY.stop_deadline)),
        copy(),
        [seen()],
        Decision(change=STUCK, action=KILL),
    ),
    "stuck, and it goes on being ended": (
        bot("error", reason="stuck_stopping", intent=Intent.STOP),
        copy(),
        [seen()],
        Decision(action=STOP),
    ),
    "stuck, and gone at last": (
        bot("error", reason="stuck_stopping", detail="words", intent=Intent.STOP),
        None,
        [],
        Decision(change=Change(status="inactive", reason="killed", detail="words")),
    ),
    "stuck, and started again": (
        bot("error", reason="stuck_stopping", **FRESH),
        copy(**OLD),
        [seen()],
        Decision(change=STOPPING, action=STOP),
    ),
    "ended by force: that is kept": (
        bot("stopping", reason="killed", detail="words", intent=Intent.STOP),
        None,
        [],
        Decision(change=Change(status="inactive", reason="killed", detail="words")),
    ),
    "at rest, and killed once": (bot("inactive", reason="killed", intent=Intent.STOP), None, [], NOTHING),
    "stopped again after that": (
        bot("inactive", reason="killed", intent=Intent.STOP, **FRESH),
        None,
        [],
        Decision(change=INACTIVE),
    ),
    "it runs, says the row, and nothing is there": (
        bot(intent=Intent.STOP),
        None,
        [],
        Decision(change=STOPPING, again_in=0.0),
    ),
    "its tenant is suspended while it is restarted because it hung": (
        bot("stopping", reason="liveness", attempt=1, **RESTS),
        copy(),
        [seen()],
        Decision(change=Change(status="stopping", restarts=used(1)), action=STOP),
    ),
    # the platform stops
    "the platform stops": (bot(intent=Intent.HALT), copy(), [seen()], Decision(change=STOPPING, action=STOP)),
    "the platform has stopped it": (
        bot("stopping", intent=Intent.HALT),
        None,
        [],
        Decision(change=Change(status="inactive", reason="platform_stopped")),
    ),
    "that is remembered once": (bot("inactive", reason="platform_stopped", intent=Intent.HALT), None, [], NOTHING),
    "an error outlives the platform": (bot("error", intent=Intent.HALT), copy(), [seen()], Decision(action=STOP)),
    "it comes back with the platform": (
        bot("inactive", reason="platform_stopped"),
        None,
        [],
        Decision(change=STARTING, action=LAUNCH),
    ),
    # the tenant is suspended
    "its tenant is suspended": (bot(**RESTS), copy(), [seen()], Decision(change=STOPPING, action=STOP)),
    "a suspended tenant's bot rests": (bot("stopping", **RESTS), None, [], Decision(change=RESTING)),
    "it waits no longer for its next attempt": (
        bot("starting", attempt=2, next_retry_at=ago(-60), **RESTS),
        None,
        [],
        Decision(change=RESTING),
    ),
    "it was asked to start just before": (bot("inactive", **RESTS, **FRESH), None, [], Decision(change=RESTING)),
    "its rest is remembered once": (bot("inactive", reason="tenant_suspended", **RESTS), None, [], NOTHING),
    "an error outlives the suspension": (bot("error", **RESTS), None, [], NOTHING),
    "it comes back with its tenant": (
        bot("inactive", reason="tenant_suspended"),
        None,
        [],
        Decision(change=STARTING, action=LAUNCH),
    ),
    # whoever made its template was deleted
    "its template is withdrawn while it runs": (
        bot(withdrawn=True),
        copy(),
        [seen()],
        Decision(change=WITHDRAWN, action=STOP),
    ),
    "withdrawn while it starts": (
        bot("starting", withdrawn=True),
        copy("creating", started_at=None),
        [seen()],
        Decision(change=WITHDRAWN, action=STOP),
    ),
    "withdrawn while it waits for its next attempt": (
        bot("starting", attempt=2, next_retry_at=ago(-60), withdrawn=True),
        None,
        [],
        Decision(change=msgspec.structs.replace(WITHDRAWN, restarts=used(2))),
    ),
    "withdrawn, and its container is still stopping": (
        bot("error", reason="template_withdrawn", detail=WITHDRAWN.detail, withdrawn=True),
        copy(),
        [seen()],
        Decision(action=STOP),
    ),
    "withdrawn, and how it ended is looked at": (
        bot("error", reason="template_withdrawn", detail=WITHDRAWN.detail, withdrawn=True),
        copy(),
        [seen("exited")],
        Decision(action=EXAMINE),
    ),
    "withdrawn, and nothing is left": (
        bot("error", reason="template_withdrawn", detail=WITHDRAWN.detail, withdrawn=True),
        None,
        [],
        NOTHING,
    ),
    "withdrawn, and started all the same": (
        bot("error", reason="template_withdrawn", detail=WITHDRAWN.detail, withdrawn=True, **FRESH),
        None,
        [],
        Decision(change=WITHDRAWN),
    ),
    "what could not be opened was withdrawn": (
        bot("error", reason="secret_unreadable", withdrawn=True),
        None,
        [],
        Decision(change=WITHDRAWN),
    ),
    "withdrawn and wished stopped": (
        bot("stopping", intent=Intent.STOP, withdrawn=True),
        None,
        [],
        Decision(change=INACTIVE),
    ),
    "withdrawn and cancelled": (
        bot("error", reason="template_withdrawn", intent=Intent.DELETE, withdrawn=True),
        None,
        [],
        Decision(action=Action(Verb.DROP_STORAGE), afterwards=Change(status="inactive", reason="deleted")),
    ),
    # containers that nobody accounts for
    "a stray one goes before anything starts": (
        bot("inactive", **FRESH),
        None,
        [seen(instance_id=OTHER_COPY)],
        Decision(action=STOP),
    ),
    "a stray one goes, the right one stays": (
        bot(),
        copy(),
        [seen(), seen("exited", ref="c2", instance_id=OTHER_COPY)],
        Decision(action=Action(Verb.REMOVE, "c2")),
    ),
    "a second container of one copy goes": (
        bot(),
        copy(),
        [seen(ref="c2"), seen()],
        Decision(action=Action(Verb.STOP, "c2")),
    ),
    "one without a readable label goes": (bot(), None, [seen(instance_id=None)], Decision(action=STOP)),
}


@pytest.mark.parametrize("case", TABLE)
def test_the_next_step(case: str) -> None:
    given_bot, instance, containers, expected = TABLE[case]
    assert decide(given_bot, instance, containers, NOW, POLICY) == expected


@pytest.mark.parametrize(
    ("desired", "tenant_status", "deleted", "intent"),
    [
        ("running", "active", False, Intent.RUN),
        ("stopped", "active", False, Intent.STOP),
        ("running", "suspended", False, Intent.HALT),
        ("stopped", "suspended", False, Intent.STOP),
        ("running", "deleted", False, Intent.DELETE),
        ("stopped", "deleted", False, Intent.DELETE),
        ("stopped", "suspended", True, Intent.DELETE),
        ("running", "active", True, Intent.DELETE),
    ],
)
def test_what_is_wanted(desired: str, tenant_status: str, deleted: bool, intent: Intent) -> None:
    assert intent_of(desired, tenant_status, deleted=deleted) is intent
