"""How a stop goes on, from what the row and the bot say: ask, look or end; and what is said afterwards."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.engines.base import Standing
from agents.launcher.draining import MARGIN_S, SILENT_S, Drain, Outcome, due, judge, left_unconfirmed
from agents.launcher.lifecycle import Bot, Change, Instance, Intent, Policy
from agents.launcher.published import SETTLED_S, misplaced
from agents.launcher.reconcile import Action, Verb, decide
from agents.launcher.runtimes.base import Exit, Observed
from agents.launcher.verdicts import after_exit

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
DEADLINE_S = 30.0
BOT_ID, TENANT, COPY = (UUID(int=number) for number in range(1, 4))
POLICY = Policy(drain_deadline=DEADLINE_S, publish_address="127.0.0.1")


def drain(state: str | None = None, ago: float | None = None, **more: Any) -> Drain:
    started = None if ago is None else NOW - timedelta(seconds=ago)
    return Drain(**{"state": state, "started_at": started, "answered": True, **more})


def bot(status: str = "stopping", intent: Intent = Intent.STOP, **more: Any) -> Bot:
    fields: dict[str, Any] = {"generation": 3, "observed_generation": 3, "status_since": NOW}
    return Bot(id=BOT_ID, tenant_id=TENANT, status=status, intent=intent, **{**fields, **more})


def copy(drain: Drain, **more: Any) -> Instance:
    started = NOW - timedelta(seconds=600)
    fields: dict[str, Any] = {"generation": 2, "state": "running", "container_id": "c1", "started_at": started}
    return Instance(id=COPY, host_port=21000, drain=drain, **{**fields, **more})


def seen(*published: tuple[str, int], state: Any = "running") -> Observed:
    return Observed(ref="c1", state=state, bot_id=BOT_ID, instance_id=COPY, published=frozenset(published))


HERE = ("127.0.0.1", 21000)
DUE: dict[str, tuple[Drain, str, bool, bool]] = {
    "not asked yet": (drain(), "keep", False, True),
    "not asked yet, and at once": (drain(), "keep", True, False),
    "asked for, not taken": (drain("asking", 1), "keep", False, True),
    "taken": (drain("asked", 1, positions="keep"), "keep", False, True),
    "taken, and somebody will wait no longer": (drain("asked", 1, positions="keep"), "keep", True, False),
    "drained": (drain("drained", 2, positions="keep"), "keep", False, False),
    "positions closed, though by now they might be kept": (
        drain("drained", 2, positions="close"),
        "keep",
        False,
        False,
    ),
    "drained, and now its positions shall be closed": (drain("drained", 2, positions="keep"), "close", False, True),
    "unconfirmed": (drain("unconfirmed", 31, positions="keep"), "close", False, False),
    "its deadline is over, and nobody looked": (drain("asked", DEADLINE_S, positions="keep"), "keep", False, True),
    "its margin is over, too": (drain("asked", DEADLINE_S + MARGIN_S, positions="keep"), "keep", False, False),
    "one that never answered has less time": (
        drain("asking", SILENT_S + MARGIN_S, answered=False),
        "keep",
        False,
        False,
    ),
}


@pytest.mark.parametrize("case", DUE)
def test_whether_to_ask_or_to_end(case: str) -> None:
    given_drain, positions, forced, expected = DUE[case]
    assert due(given_drain, positions, forced=forced, now=NOW, deadline_s=DEADLINE_S) is expected


AGAIN = Outcome()
DRAINED = Outcome(state="drained")
JUDGED: dict[str, tuple[Drain, str, Standing | None, bool, str | None]] = {
    "nothing is open": (drain("asked", 1), "keep", Standing(open_orders=0, open_positions=3), False, "drained"),
    "positions are open": (drain("asked", 1), "close", Standing(open_orders=0, open_positions=3), False, None),
    "nothing at all is open": (drain("asked", 1), "close", Standing(open_orders=0, open_positions=0), False, "drained"),
    "orders are open": (drain("asked", 1), "keep", Standing(open_orders=1, open_positions=0), False, None),
    "unknown is no evidence": (drain("asked", 1), "keep", Standing(open_orders=None, open_positions=0), False, None),
    "unknown positions, to be kept": (
        drain("asked", 1),
        "keep",
        Standing(open_orders=0, open_positions=None),
        False,
        "drained",
    ),
    "it says itself that it is still at it": (
        drain("asked", 1),
        "keep",
        Standing(open_orders=0, open_positions=0, settled=False),
        False,
        None,
    ),
    "evidence after the deadline is evidence": (
        drain("asked", 40),
        "keep",
        Standing(open_orders=0, open_positions=0),
        False,
        "drained",
    ),
    "silent": (drain("asking", 29), "keep", None, False, None),
    "silent for too long": (drain("asking", 30), "keep", None, False, "unconfirmed"),
    "silent from the start": (drain("asking", SILENT_S, answered=False), "keep", None, False, "unconfirmed"),
    "it refuses": (drain("asking", 1), "keep", None, True, "unconfirmed"),
}


@pytest.mark.parametrize("case", JUDGED)
def test_what_a_look_comes_to(case: str) -> None:
    given_drain, positions, standing, hopeless, state = JUDGED[case]
    outcome = judge(given_drain, positions, standing, "It is silent.", NOW, DEADLINE_S, hopeless=hopeless)
    assert outcome.state == state
    assert (outcome.detail is not None) == (state == "unconfirmed")


@pytest.mark.parametrize(
    ("positions", "standing", "words"),
    [
        ("keep", None, "its orders are cancelled. It is silent. Look"),
        ("close", None, "its orders are cancelled and its positions closed. It is silent. Look"),
        ("keep", Standing(open_orders=2, open_positions=1), "It still had 2 open orders. Look"),
        ("close", Standing(open_orders=2, open_positions=1), "It still had 2 open orders and 1 open positions. Look"),
        ("close", Standing(open_orders=0, open_positions=None), "It still had an unknown number of open positions."),
        ("keep", Standing(open_orders=0, open_positions=0, settled=False), "It was still at it. Look"),
    ],
)
def test_what_was_not_confirmed_is_told(positions: str, standing: Standing | None, words: str) -> None:
    outcome = judge(drain("asked", 30), positions, standing, "It is silent.", NOW, DEADLINE_S)
    assert outcome.detail is not None
    assert words in outcome.detail


@pytest.mark.parametrize(
    ("given_drain", "ran", "exit_code", "expected"),
    [
        (drain("drained", 3), True, 0, False),
        (drain("drained", 3), True, 137, False),
        (drain("unconfirmed", 30, detail="words"), True, 0, True),
        (drain("asked", 3), True, 0, True),
        (drain(), True, 137, True),
        (drain(), True, None, True),
        (drain(answered=False), True, 1, None),
        (drain(answered=False, state="unconfirmed"), True, 0, True),
        (drain(), True, 78, None),
        (drain(), False, None, None),
    ],
)
def test_what_is_said_of_a_copy_that_ended(
    given_drain: Drain, ran: bool, exit_code: int | None, expected: bool | None
) -> None:
    unconfirmed, detail = left_unconfirmed(given_drain, ran=ran, exit_code=exit_code)
    assert unconfirmed is expected
    assert (detail is not None) == (expected is True)
    if given_drain.detail is not None:
        assert detail == given_drain.detail


DRAIN, STOP = Action(Verb.DRAIN, "c1"), Action(Verb.STOP, "c1")
STEPS: dict[str, tuple[Bot, Instance, Action | None]] = {
    "asked to stop": (bot("running", observed_generation=2), copy(drain()), DRAIN),
    "drained": (bot(), copy(drain("drained", 1, positions="keep")), STOP),
    "to be stopped at once": (bot(forced=True), copy(drain("asked", 1, positions="keep")), STOP),
    "deleted": (bot(intent=Intent.DELETE), copy(drain()), DRAIN),
    "its tenant is suspended": (bot(intent=Intent.HALT), copy(drain()), DRAIN),
    "replaced": (bot("running", Intent.RUN, observed_generation=2), copy(drain()), DRAIN),
    "replaced, and drained": (bot("stopping", Intent.RUN), copy(drain("drained", 1, positions="keep")), STOP),
    "its template is withdrawn": (bot("running", Intent.RUN, withdrawn=True), copy(drain(), generation=3), DRAIN),
    "it hangs": (bot("stopping", Intent.RUN, reason="liveness"), copy(drain(), generation=3), STOP),
    "it failed": (bot("error", Intent.RUN), copy(drain(), generation=3), STOP),
    "it never got its hand-over": (bot(), copy(drain(), state="creating", started_at=None), STOP),
    "it has no port to be asked at": (bot(), msgspec.structs.replace(copy(drain()), host_port=None), STOP),
    "well": (bot("running", Intent.RUN), copy(drain(), generation=3), None),
}


@pytest.mark.parametrize("case", STEPS)
def test_a_copy_that_trades_is_drained_before_it_is_ended(case: str) -> None:
    given_bot, instance, action = STEPS[case]
    assert decide(given_bot, instance, [seen(HERE)], NOW, POLICY).action == action


@pytest.mark.parametrize(
    ("intent", "more", "positions"),
    [
        (Intent.STOP, {}, "close"),
        (Intent.DELETE, {}, "close"),
        (Intent.HALT, {"halt_reason": "tenant_suspended"}, "close"),
        (Intent.HALT, {}, "keep"),
        (Intent.RUN, {}, "keep"),
    ],
)
def test_positions_are_closed_only_where_no_copy_follows(intent: Intent, more: dict[str, Any], positions: str) -> None:
    assert bot(intent=intent, on_stop="close", **more).positions == positions
    assert bot(intent=intent, **more).positions == "keep"


def test_what_was_not_confirmed_is_a_stopped_bots_reason() -> None:
    unsure = bot(orders_unconfirmed=True, orders_detail="words")
    change = Change(status="inactive", reason="orders_unconfirmed", detail="words")
    assert decide(unsure, None, [], NOW, POLICY).change == change
    rests = bot("inactive", reason="orders_unconfirmed", detail="words", orders_unconfirmed=True, orders_detail="words")
    assert decide(rests, None, [], NOW, POLICY).idle
    assert decide(bot(orders_unconfirmed=False), None, [], NOW, POLICY).change == Change(status="inactive")


_drains = st.builds(
    Drain,
    state=st.sampled_from([None, "asking", "asked", "drained", "unconfirmed"]),
    positions=st.sampled_from([None, "keep", "close"]),
    started_at=st.none() | st.floats(-9999, 9999).map(lambda ago: NOW - timedelta(seconds=ago)),
    answered=st.booleans(),
)
_standings = st.none() | st.builds(
    Standing,
    open_orders=st.none() | st.integers(0, 2),
    open_positions=st.none() | st.integers(0, 2),
    settled=st.booleans(),
)


@given(given_drain=_drains, positions=st.sampled_from(["keep", "close"]), deadline_s=st.floats(0, 3600))
def test_nothing_holds_up_a_stop_beyond_its_deadline(given_drain: Drain, positions: str, deadline_s: float) -> None:
    if given_drain.started_at is not None:
        late = given_drain.started_at + timedelta(seconds=deadline_s + MARGIN_S)
        assert not due(given_drain, positions, forced=False, now=late, deadline_s=deadline_s)
    assert not due(given_drain, positions, forced=True, now=NOW, deadline_s=deadline_s)


@given(given_drain=_drains, positions=st.sampled_from(["keep", "close"]), standing=_standings, hopeless=st.booleans())
def test_nothing_is_called_drained_without_evidence(
    given_drain: Drain, positions: str, standing: Standing | None, hopeless: bool
) -> None:
    outcome = judge(given_drain, positions, standing, None, NOW, DEADLINE_S, hopeless=hopeless)
    if outcome.state == "drained":
        assert standing is not None
        assert standing.open_orders == 0
        assert positions == "keep" or standing.open_positions == 0
    if outcome.state == "unconfirmed":
        assert hopeless or given_drain.started_at is not None


@given(given_drain=_drains, ran=st.booleans(), exit_code=st.none() | st.sampled_from([0, 1, 78, 137]))
def test_false_is_said_only_of_what_was_drained(given_drain: Drain, ran: bool, exit_code: int | None) -> None:
    unconfirmed, _ = left_unconfirmed(given_drain, ran=ran, exit_code=exit_code)
    assert (unconfirmed is False) == (given_drain.state == "drained")


STARTED = NOW - timedelta(seconds=60)


@pytest.mark.parametrize(
    ("observed", "address", "port", "started", "words"),
    [
        (seen(HERE), "127.0.0.1", 21000, STARTED, None),
        (seen(HERE, ("::1", 21000)), "127.0.0.1", 21000, STARTED, None),
        (seen(), "127.0.0.1", 21000, STARTED, "lost its port 21000"),
        (seen(("0.0.0.0", 21000)), "127.0.0.1", 21000, STARTED, "elsewhere than at 127.0.0.1, port 21000"),
        (seen(("127.0.0.1", 21001)), "127.0.0.1", 21000, STARTED, "elsewhere"),
        (seen(), "127.0.0.1", 21000, NOW - timedelta(seconds=SETTLED_S - 1), None),
        (seen(), "127.0.0.1", None, STARTED, None),
        (seen(), None, 21000, STARTED, None),
        (msgspec.structs.replace(seen(), published=None), "127.0.0.1", 21000, STARTED, None),
    ],
)
def test_a_copy_that_is_not_where_it_should_be_is_noticed(
    observed: Observed, address: str | None, port: int | None, started: datetime, words: str | None
) -> None:
    found = misplaced(observed, address, port, started, NOW)
    assert (found is None) if words is None else (found is not None and words in found)


def test_a_copy_without_its_port_is_started_anew_within_the_budget() -> None:
    running = copy(drain(), generation=3)
    decision = decide(bot("running", Intent.RUN), running, [seen()], NOW, POLICY)
    assert decision.action == STOP
    assert decision.change is not None
    assert (decision.change.status, decision.change.reason) == ("stopping", "port_conflict")
    ending = bot("stopping", Intent.RUN, reason="port_conflict", detail=decision.change.detail)
    assert decide(ending, running, [seen()], NOW, POLICY).change is None
    for crash_policy in ("never", "on_failure", "always"):
        judged = msgspec.structs.replace(ending, crash_policy=crash_policy)
        again = after_exit(judged, running, Exit(code=0), NOW, POLICY, 0.5).change
        assert again is not None
        assert (again.status, again.reason, again.attempt) == ("starting", "port_conflict", 1)
    spent = msgspec.structs.replace(ending, restarts=(NOW,) * POLICY.restarts)
    last = after_exit(spent, running, Exit(code=0), NOW, POLICY, 0.5).change
    assert last is not None
    assert (last.status, last.reason) == ("error", "port_conflict")


def test_a_stop_is_not_cut_short_while_it_drains_in_time() -> None:
    late = NOW - timedelta(seconds=DEADLINE_S + MARGIN_S + POLICY.stop_grace)
    stopping = bot(status_since=late)
    assert decide(stopping, copy(drain("drained", 70, positions="keep")), [seen(HERE)], NOW, POLICY).action == STOP
    killed = bot(status_since=NOW - timedelta(seconds=POLICY.stop_deadline))
    ended = decide(killed, copy(drain("drained", 99, positions="keep")), [seen(HERE)], NOW, POLICY)
    assert ended.action == Action(Verb.KILL, "c1")


def test_a_bot_that_was_killed_says_so_and_what_it_left() -> None:
    both = bot(reason="killed", detail="It was killed.", orders_unconfirmed=True, orders_detail="Look.")
    change = Change(status="inactive", reason="killed", detail="It was killed. Look.")
    assert decide(both, None, [], NOW, POLICY).change == change
