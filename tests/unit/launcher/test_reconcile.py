"""The launcher's decisions as a table: what is wanted and what was seen on the left, the one next step on the right."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.launcher.lifecycle import Bot, Change, Instance, Intent, Policy, intent_of
from agents.launcher.reconcile import Action, Decision, Verb, decide
from agents.launcher.runtimes.base import Exit, Observed
from agents.launcher.verdicts import after_exit, after_failure, backoff

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
POLICY = Policy()
BOT_ID, TENANT, COPY, OTHER_COPY = (UUID(int=number) for number in range(1, 5))


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def bot(status: str = "running", **more: Any) -> Bot:
    fields: dict[str, Any] = {"intent": Intent.RUN, "generation": 3, "observed_generation": 3}
    return Bot(id=BOT_ID, tenant_id=TENANT, status=status, **{**fields, **more})


def copy(state: str = "running", **more: Any) -> Instance:
    fields: dict[str, Any] = {"generation": 3, "container_id": "c1", "started_at": ago(30)}
    return Instance(id=COPY, state=state, **{**fields, **more})


def seen(state: str = "running", ref: str = "c1", instance_id: UUID | None = COPY) -> Observed:
    return Observed(ref=ref, state=state, bot_id=BOT_ID, instance_id=instance_id)  # type: ignore[arg-type]


LAUNCH = Action(Verb.LAUNCH)
RELEASE = Action(Verb.RELEASE)
STOP, REMOVE, EXAMINE = (Action(verb, "c1") for verb in (Verb.STOP, Verb.REMOVE, Verb.EXAMINE))
STARTING, STOPPING, RUNNING, INACTIVE = (
    Change(status=name) for name in ("starting", "stopping", "running", "inactive")
)
NOTHING = Decision()
RESTS: dict[str, Any] = {"intent": Intent.HALT, "halt_reason": "tenant_suspended"}
RESTING = Change(status="inactive", reason="tenant_suspended")
WITHDRAWN = Change(
    status="error",
    reason="template_withdrawn",
    detail="Whoever made its template has withdrawn from TradeWise. Cancel the subscription, or delete the bot.",
)
FRESH: dict[str, Any] = {"observed_generation": 2}
OLD: dict[str, Any] = {"generation": 2}
STARTING_LATE = "It did not answer its checks within 120 s of its start."

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
        Decision(change=Change(status="running", attempt=2)),
    ),
    "healthy, but before this start": (bot("starting", healthy_at=ago(31)), copy(), [seen()], Decision(again_in=1.0)),
    "not healthy in time": (
        bot("starting"),
        copy(started_at=ago(120)),
        [seen()],
        Decision(change=Change(status="error", reason="start_timeout", detail=STARTING_LATE), action=STOP),
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
        Decision(change=Change(status="starting", attempt=1), action=LAUNCH),
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
    # a bot in error
    "an error stays": (bot("error", reason="crash_loop"), None, [], NOTHING),
    "an error lets nothing run": (bot("error"), copy(), [seen()], Decision(action=STOP)),
    "an error cleans up": (bot("error"), copy("exited"), [], Decision(action=RELEASE)),
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
        Decision(change=msgspec.structs.replace(WITHDRAWN, attempt=2)),
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


@pytest.mark.parametrize(
    ("given_bot", "instance"),
    [
        (bot("stopping"), copy()),
        (bot("error"), copy()),
        (bot(intent=Intent.STOP), copy()),
        (bot(intent=Intent.HALT), copy()),
        (bot(**FRESH), copy(**OLD)),
        (bot(), copy(**OLD)),
        (bot("starting"), copy("creating")),
    ],
)
def test_an_end_that_was_wanted_is_no_crash(given_bot: Bot, instance: Instance) -> None:
    assert after_exit(given_bot, instance, Exit(code=137), NOW, POLICY, 0.5) is None


def test_a_crash_is_followed_by_another_attempt() -> None:
    change = after_exit(bot(attempt=1), copy(), Exit(code=1, lines=("oops",)), NOW, POLICY, 0.5)
    assert change == Change(
        status="starting",
        reason="restarting",
        detail="It ended by itself with exit code 1. Restart 2 of 5 follows in 10 s.",
        attempt=2,
        next_retry_at=NOW + timedelta(seconds=10),
    )


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (Exit(code=137, oom_killed=True), "It used more memory than it is allowed and was ended"),
        (Exit(code=137, oom_killed=False), "It was ended by signal 9"),
        (Exit(code=0, oom_killed=False), "It ended by itself with exit code 0"),
        (Exit(), "It was removed from outside"),
    ],
)
def test_attempts_end_with_how_it_ended_last(found: Exit, words: str) -> None:
    change = after_exit(bot("starting", attempt=5), copy(), found, NOW, POLICY, 0.5)
    assert change is not None
    assert (change.status, change.reason, change.attempt, change.next_retry_at) == ("error", "crash_loop", 5, None)
    assert change.detail is not None
    assert change.detail.startswith(words)


@pytest.mark.parametrize(
    ("lines", "detail"),
    [
        (('{"event": "refused", "message": "strategy.type: must be one of dca, grid"}',), None),
        (("Traceback", "strategy.type: must be one of dca, grid", ""), None),
        ((), "It refused its configuration without saying why. Correct it, then start the bot again."),
    ],
)
def test_a_refused_configuration_is_an_error_at_once_in_the_bots_own_words(
    lines: tuple[str, ...], detail: str | None
) -> None:
    change = after_exit(bot("starting"), copy(), Exit(code=78, lines=lines), NOW, POLICY, 0.5)
    expected = detail or "strategy.type: must be one of dca, grid"
    assert change == Change(status="error", reason="config_rejected", detail=expected)


def test_a_launch_that_cannot_succeed_is_not_tried_again() -> None:
    change = after_failure(bot("starting"), "image_missing", "words", NOW, POLICY, 0.5, retry=False)
    assert change == Change(status="error", reason="image_missing", detail="words")


def test_a_launch_that_may_succeed_later_is_tried_within_the_budget() -> None:
    change = after_failure(bot("starting", attempt=4), "launch_failed", "words", NOW, POLICY, 0.5, retry=True)
    assert (change.status, change.reason, change.attempt) == ("starting", "launch_failed", 5)
    last = after_failure(bot("starting", attempt=5), "launch_failed", "words", NOW, POLICY, 0.5, retry=True)
    assert (last.status, last.reason) == ("error", "launch_failed")


@given(attempt=st.integers(1, 10_000), jitter=st.floats(0, 1, exclude_max=True))
def test_delays_double_with_a_quarter_of_jitter_up_to_five_minutes(attempt: int, jitter: float) -> None:
    plain = min(5.0 * 2.0 ** (attempt - 1), 1e9) if attempt < 30 else 1e9
    delay = backoff(attempt, POLICY, jitter)
    assert min(300.0, plain * 0.75) <= delay <= min(300.0, plain * 1.25)


_states = st.sampled_from(["created", "running", "exited"])
_containers = st.lists(st.tuples(_states, st.sampled_from(["c1", "c2"]), st.sampled_from([COPY, OTHER_COPY, None])))
_bots = st.builds(
    bot,
    st.sampled_from(["inactive", "starting", "running", "stopping", "error"]),
    intent=st.sampled_from(list(Intent)),
    observed_generation=st.sampled_from([-1, 2, 3]),
    attempt=st.integers(0, 5),
    healthy_at=st.none() | st.just(NOW),
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
