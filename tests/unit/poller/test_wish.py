"""What a wish about trading comes to after one look: a table, and what no look may ever lead to."""

from __future__ import annotations

from datetime import timedelta

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.poller.wish import (
    ASK_AGAIN_AFTER_S,
    MOST_ATTEMPTS,
    SETTLED_AFTER_S,
    Seen,
    Step,
    Wish,
    judge,
    overtaken,
    words,
)
from control_plane.bots.kinds import CONFIRM_WITHIN_S
from tests.unit.poller.test_decide import NOW

SILENT = Seen(state=None, problem="Nothing listens there.")
HUNG = Seen(state=None, problem="The bot does not answer in time.", hangs=True)
REFUSED = Seen(state=None, problem="The bot refuses the credentials.", hopeless="auth")


def wish(
    *,
    attempts: int = 0,
    since: float = 1.0,
    tried: float | None = None,
    wanted: str = "stopped",
    unsettled: float | None = None,
) -> Wish:
    """A wish made ``since`` seconds ago, last asked for ``tried`` seconds ago; for another one before it the bot was
    asked ``unsettled`` seconds ago."""
    return Wish(
        wanted=wanted,
        asked=1,
        requested_by="user:1",
        requested_at=NOW - timedelta(seconds=since),
        attempts=attempts,
        tried_at=None if tried is None else NOW - timedelta(seconds=tried),
        unsettled_at=None if unsettled is None else NOW - timedelta(seconds=unsettled),
    )


@pytest.mark.parametrize(
    ("made", "seen", "step"),
    [
        (wish(), Seen(state="running"), Step.ASK),
        # So already: nothing needs to be asked.
        (wish(), Seen(state="stopped"), Step.CONFIRM),
        # Unknown is no evidence of anything, and it may take the command all the same.
        (wish(), SILENT, Step.ASK),
        # It takes connections and reads nothing: whatever it is asked now it would do when it goes on, however late.
        (wish(), HUNG, Step.WAIT),
        (wish(attempts=1, tried=30, since=50), HUNG, Step.WAIT),
        (wish(since=CONFIRM_WITHIN_S), HUNG, Step.GIVE_UP),
        (wish(), REFUSED, Step.GIVE_UP),
        (wish(attempts=1, tried=0.1), Seen(state="running"), Step.WAIT),
        (wish(attempts=1, tried=0.1), Seen(state="paused"), Step.WAIT),
        (wish(attempts=1, tried=0.1), Seen(state="stopped"), Step.CONFIRM),
        (wish(attempts=1, tried=ASK_AGAIN_AFTER_S, since=11), Seen(state="running"), Step.ASK),
        (wish(attempts=MOST_ATTEMPTS, tried=30, since=50), Seen(state="running"), Step.WAIT),
        (wish(attempts=1, tried=1, since=CONFIRM_WITHIN_S), Seen(state="running"), Step.GIVE_UP),
        (wish(attempts=1, tried=1, since=CONFIRM_WITHIN_S), SILENT, Step.GIVE_UP),
        # Late, and still so.
        (wish(attempts=1, tried=1, since=300), Seen(state="stopped"), Step.CONFIRM),
        # It was told to start just now, and may do so yet: that it is stopped still says nothing until it was asked.
        (wish(unsettled=2), Seen(state="stopped"), Step.ASK),
        (wish(unsettled=2), Seen(state="running"), Step.ASK),
        (wish(unsettled=2), HUNG, Step.WAIT),
        (wish(unsettled=2, attempts=1, tried=0.1), Seen(state="stopped", after_asking=True), Step.CONFIRM),
        # Whoever counted that attempt may have died before it was made.
        (wish(unsettled=2, attempts=1, tried=0.1), Seen(state="stopped"), Step.WAIT),
        (wish(unsettled=12, attempts=1, tried=ASK_AGAIN_AFTER_S, since=11), Seen(state="stopped"), Step.ASK),
        (wish(unsettled=SETTLED_AFTER_S), Seen(state="stopped"), Step.CONFIRM),
        (wish(unsettled=31, since=30, attempts=MOST_ATTEMPTS, tried=1), Seen(state="stopped"), Step.CONFIRM),
        # It asks for fewer calls: it gets its rest, and where that outlasts the wish there is no use in waiting.
        (wish(), Seen(state=None, rest_s=10), Step.WAIT),
        (wish(attempts=1, tried=20, since=21), Seen(state=None, rest_s=38), Step.WAIT),
        (wish(since=21), Seen(state=None, rest_s=39), Step.GIVE_UP),
        (wish(), Seen(state=None, rest_s=3600), Step.GIVE_UP),
        # A wish of this morning stops no bot tonight.
        (wish(since=CONFIRM_WITHIN_S), Seen(state="running"), Step.GIVE_UP),
    ],
)
def test_one_look(made: Wish, seen: Seen, step: Step) -> None:
    assert judge(made, seen, NOW) is step


@pytest.mark.parametrize(
    ("made", "seen", "problem", "told"),
    [
        (
            wish(attempts=2),
            Seen(state="running"),
            None,
            "It was asked twice, and its trading was running 60 seconds after the wish.",
        ),
        (
            wish(attempts=2),
            Seen(state="running"),
            "The bot answers with HTTP 409.",
            "It was asked twice, and its trading was running 60 seconds after the wish. The bot answers with HTTP 409.",
        ),
        (
            wish(attempts=1),
            SILENT,
            None,
            "It was asked once, and could not be looked at afterwards. Nothing listens there.",
        ),
        (wish(), SILENT, "Slow.", "It was never asked, because it could not be looked at. Slow."),
        (
            wish(),
            HUNG,
            None,
            "It was never asked, because it could not be looked at. The bot does not answer in time.",
        ),
        (wish(attempts=4), Seen(state=None), None, "It was asked 4 times, and could not be looked at afterwards."),
        (wish(), REFUSED, None, "The bot refuses the credentials."),
        (
            wish(attempts=1),
            Seen(state=None, rest_s=3600),
            None,
            "It was asked once: it is to be left alone for 3600 more seconds, and a wish stands for 60.",
        ),
    ],
)
def test_why_it_was_given_up_in_words(made: Wish, seen: Seen, problem: str | None, told: str) -> None:
    assert words(made, seen, problem) == told


@pytest.mark.parametrize(
    ("meant", "generation", "desired", "why"),
    [
        (3, 3, "running", None),
        (None, 3, "running", None),
        (3, 4, "running", "changed"),
        (3, 2, "running", "changed"),
        (3, 4, "stopped", "stopped"),
        (None, None, "", "removed"),
    ],
)
def test_a_bot_that_is_not_the_one_that_was_meant_is_not_asked(
    meant: int | None, generation: int | None, desired: str, why: str | None
) -> None:
    told = overtaken(msgspec.structs.replace(wish(), generation=meant), generation, desired)
    assert told is None if why is None else told is not None and why in told


@given(
    wanted=st.sampled_from(["running", "stopped", "paused"]),
    state=st.sampled_from([None, "running", "stopped", "paused", "reload_config"]),
    since=st.floats(0, 100) | st.floats(0, 1e5),
    tried=st.none() | st.floats(0, 1e5),
    attempts=st.integers(0, 10),
    hangs=st.booleans(),
    unsettled=st.none() | st.floats(0, 60),
    after_asking=st.booleans(),
)
def test_only_the_bots_own_state_confirms_and_nothing_is_asked_after_the_end(
    wanted: str,
    state: str | None,
    since: float,
    tried: float | None,
    attempts: int,
    hangs: bool,
    unsettled: float | None,
    after_asking: bool,
) -> None:
    # What was asked before a wish is older than the wish.
    unsettled = None if unsettled is None else since + unsettled
    made = wish(wanted=wanted, since=since, tried=tried, attempts=attempts, unsettled=unsettled)
    seen = Seen(state=None if hangs else state, hangs=hangs, after_asking=after_asking)
    step = judge(made, seen, NOW)
    evidence = after_asking or unsettled is None or unsettled >= SETTLED_AFTER_S
    assert (step is Step.CONFIRM) == (seen.state == wanted and evidence)
    if step is Step.ASK:
        assert not hangs
        assert since < CONFIRM_WITHIN_S
        assert tried is None or (attempts < MOST_ATTEMPTS and tried >= ASK_AGAIN_AFTER_S)
    if since >= CONFIRM_WITHIN_S:
        assert step in {Step.CONFIRM, Step.GIVE_UP}
