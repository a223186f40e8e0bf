"""Bots that answer and do not trade, look by look; and what no sequence of looks may ever do."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.engines.base import Reading, Reason
from agents.poller.decide import decide
from agents.poller.facts import Bot, Decision, Health, Outcome
from agents.poller.trouble import TROUBLES, lasting, loop_bound
from control_plane.dashboard.reasons import _REASONS
from tests.unit.poller.test_decide import BOT, CHANGED, FRESH, INTERVAL, NOW, RUNNING, WELL

SECONDS = INTERVAL.total_seconds()


class Story:
    """One bot, looked at again and again: what stands in its rows follows from what it answered."""

    def __init__(self, bot: Bot = BOT, health: Health = WELL, interval: timedelta = INTERVAL) -> None:
        self.bot, self.health, self.interval = bot, health, interval
        self.now = NOW
        self.told: list[tuple[str, str | None]] = []
        """Every change of status or reason that was written."""

    def look(self, reading: Reading | str, **facts: Any) -> Decision:
        """One look: a reading, or the reason why there is none."""
        outcome = (
            Outcome(
                reading=Reading(reachable=False, credential_ok=None, full=False, **facts),
                observed_at=self.now,
                reason=reading,
                detail="In words.",
            )
            if isinstance(reading, str)
            else Outcome(reading=reading, observed_at=self.now)
        )
        decision = decide(self.bot, self.health, outcome, self.interval)
        self.health = decision.health
        if (change := decision.change) is not None:
            if change.eventful:
                self.told.append((change.status, change.reason))
            self.bot = msgspec.structs.replace(
                self.bot, status=change.status, reason=change.reason, told_generation=self.bot.generation
            )
        self.now += self.interval
        return decision

    def looks(self, readings: Iterable[Reading | str]) -> list[tuple[str, str | None]]:
        """State and reason after each of some looks."""
        found = []
        for reading in readings:
            self.look(reading)
            found.append((self.health.state, self.health.reason))
        return found


def check(age: float | None = 2.0, state: str | None = "running", **facts: Any) -> Reading:
    """A short look."""
    return Reading(
        reachable=True, credential_ok=True, full=False, latency_ms=1.0, trading_state=state, loop_age_s=age, **facts
    )


def full(open_profit: str | None = "1", positions: int = 2, **facts: Any) -> Reading:
    """A full reading of a freqtrade bot."""
    return msgspec.structs.replace(
        check(**facts),
        full=True,
        realized_profit=Decimal(10),
        open_profit=None if open_profit is None else Decimal(open_profit),
        open_positions=positions,
    )


BLIND = full(None)
STANDS = [check(400 + SECONDS * number) for number in range(12)]
"""A loop that has not turned, look after look."""


@pytest.mark.parametrize(
    ("engine", "round_s", "bound"),
    [
        ("freqtrade", None, 300),
        ("tradewise", None, 300),
        ("tradewise", 0.1, 60),
        ("tradewise", 600.0, 3000),
        ("tradewise", 0.0, 300),
        ("tradewise", float("nan"), 300),
        ("tradewise", float("inf"), 300),
        ("hummingbot", None, None),
        ("hummingbot", 60.0, 300),
    ],
)
def test_how_long_a_loop_may_rest(engine: str, round_s: float | None, bound: float | None) -> None:
    assert loop_bound(engine, round_s) == bound


def test_a_loop_that_stands_still_is_told_as_that_and_not_as_down() -> None:
    story = Story()
    doubted, stands = ("healthy", "loop_stalled"), ("unhealthy", "loop_stalled")
    assert story.looks(STANDS[:5]) == [doubted, doubted, stands, stands, stands]
    assert story.told == [("connected", "loop_stalled")]
    assert story.health.detail == "It answers, but its trading loop has not turned for 8 minutes."
    assert story.health.healthy_at == WELL.healthy_at
    # It turns again: twice seen, it is well.
    assert story.looks([check(), check()]) == [("unhealthy", "recovering"), ("healthy", None)]
    assert story.told == [("connected", "loop_stalled"), ("connected", None)]


def test_a_loop_that_stands_still_at_a_hosted_bot_is_in_its_health_alone() -> None:
    story = Story(RUNNING)
    assert story.looks(STANDS[:3])[-1] == ("unhealthy", "loop_stalled")
    assert story.told == []


def test_one_look_at_an_old_loop_proves_nothing() -> None:
    story = Story()
    assert story.looks([STANDS[0], check(), STANDS[0], check()])[1::2] == [("healthy", None)] * 2
    assert story.told == []


def test_a_new_bot_whose_loop_stands_is_connected_at_once_and_told_when_it_is_sure() -> None:
    story = Story(FRESH, Health())
    story.looks(STANDS[:3])
    assert story.told == [("connected", None), ("connected", "loop_stalled")]


def test_a_clock_that_differs_is_no_loop_that_stands() -> None:
    """Its last round is always long ago, and always another one."""
    story = Story()
    found = story.looks([check(500.0)] * 8)
    assert found == [("healthy", "loop_stalled")] + [("healthy", "clock_skew")] * 7
    assert story.health.detail == "Its clock is about 8 minutes behind ours."
    assert story.told == []
    assert story.health.healthy_at == story.health.observed_at
    # And if it stands still then, that is found all the same.
    found = story.looks([check(500 + SECONDS * number) for number in range(1, 5)])
    assert found[0] == ("healthy", "clock_skew")
    assert found[-1] == ("unhealthy", "loop_stalled")


def test_a_slow_loop_may_take_its_time() -> None:
    """It says that it turns every ten minutes: then a quarter of an hour is nothing."""
    story = Story(msgspec.structs.replace(BOT, engine="tradewise"))
    slow = [check(900 + SECONDS * number, loop_interval_s=600.0) for number in range(20)]
    assert set(story.looks(slow)) == {("healthy", None)}


@pytest.mark.parametrize("round_s", [-1.0, 0.0, 1e7, 1e300, float("inf")])
def test_a_round_that_is_no_length_of_time_is_not_believed(round_s: float) -> None:
    assert Story().looks([check(900 + SECONDS * number, loop_interval_s=round_s) for number in range(6)])[-1] == (
        "unhealthy",
        "loop_stalled",
    )


@pytest.mark.parametrize("state", ["stopped", "webserver"])
def test_trading_that_its_owner_stopped_is_never_down(state: str) -> None:
    story = Story()
    stopped = [check(400 + SECONDS * number, state) for number in range(6)]
    # It asks for no prices either.
    assert set(story.looks([*stopped, full(None, state=state), full(None, state=state)])) == {("healthy", None)}
    assert story.health.trading_state == state
    assert story.told == []


def test_paused_is_never_down_and_its_loop_turns() -> None:
    story = Story()
    assert set(story.looks([check(2.0, "paused")] * 6)) == {("healthy", None)}
    assert story.looks(msgspec.structs.replace(reading, trading_state="paused") for reading in STANDS[:3])[-1] == (
        "unhealthy",
        "loop_stalled",
    )


def test_a_bot_that_is_cut_from_its_exchange_is_told_after_two_full_readings() -> None:
    story = Story()
    doubted, cut = ("healthy", "exchange_unreachable"), ("unhealthy", "exchange_unreachable")
    # What only full readings tell is not erased by the checks between them.
    assert story.looks([BLIND, check(), check(), check(), BLIND]) == [doubted] * 4 + [cut]
    assert story.told == [("connected", "exchange_unreachable")]
    assert story.looks([check()] * 4) == [cut] * 4
    assert story.looks([full(), check(), check()]) == [
        ("unhealthy", "recovering"),
        ("healthy", None),
        ("healthy", None),
    ]
    assert story.told == [("connected", "exchange_unreachable"), ("connected", None)]


def test_prices_that_are_missing_once_are_nothing() -> None:
    story = Story()
    story.looks([BLIND, check(), full(), check(), BLIND, check(), full()])
    assert (story.health.state, story.health.reason, story.told) == ("healthy", None, [])


def test_without_positions_no_prices_are_needed() -> None:
    assert set(Story().looks([full(None, positions=0)] * 4)) == {("healthy", None)}


def test_another_family_without_open_profit_is_not_cut_off() -> None:
    story = Story(msgspec.structs.replace(BOT, engine="tradewise"))
    assert set(story.looks([BLIND] * 4)) == {("healthy", None)}


@pytest.mark.parametrize("bot", [BOT, msgspec.structs.replace(RUNNING, engine="freqtrade")])
@pytest.mark.parametrize(("first", "reason"), [(STANDS[:3], "loop_stalled"), ([BLIND] * 3, "exchange_unreachable")])
def test_a_missed_answer_takes_nothing_back(bot: Bot, first: list[Reading], reason: str) -> None:
    story = Story(bot)
    story.looks(first)
    told = list(story.told)
    assert story.looks(["unreachable", "timeout"]) == [("unhealthy", reason)] * 2
    assert story.health.failures == 2
    again = STANDS[5:7] if reason == "loop_stalled" else [check(), check()]
    assert story.looks(again) == [("unhealthy", reason)] * 2
    assert (story.health.failures, story.told) == (0, told)


def test_a_bot_in_trouble_that_then_falls_silent_is_down() -> None:
    story = Story()
    story.looks([*STANDS[:3], "unreachable", "unreachable"])
    assert story.bot.status == "connected"
    story.look("unreachable")
    assert story.told == [("connected", "loop_stalled"), ("error", "unreachable")]
    # Back again, with the loop still standing: connected is said with what is wrong, once that is sure.
    story.looks(STANDS[7:11])
    assert story.told[2:] == [("connected", "loop_stalled")]


def test_a_refused_credential_is_told_at_once_whatever_was_wrong_before() -> None:
    story = Story()
    story.looks([*STANDS[:3], "auth"])
    assert story.told[-1] == ("error", "auth")


def test_being_asked_for_fewer_calls_takes_nothing_back() -> None:
    story = Story()
    story.looks([BLIND, BLIND])
    assert story.looks(["rate_limited", check(), check()]) == [
        ("stale", "rate_limited"),
        ("unhealthy", "exchange_unreachable"),
        ("unhealthy", "exchange_unreachable"),
    ]
    assert story.told == [("connected", "exchange_unreachable")]


def test_the_age_of_a_loop_goes_on_where_a_look_does_not_tell_it() -> None:
    story = Story()
    story.looks([check(2.0), check(None)])
    assert story.health.loop_age_s == 2.0 + SECONDS
    story.look("timeout")
    ages = [story.health.loop_age_s]
    story.look(check(None))
    assert [*ages, story.health.loop_age_s] == [None, None]


def test_what_was_wrong_before_a_change_is_not_held_against_what_comes_after() -> None:
    story = Story(msgspec.structs.replace(CHANGED, reason="loop_stalled"), msgspec.structs.replace(WELL, failures=3))
    story.look(STANDS[0])
    assert story.told == [("connected", None)]


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(3.2, "3 seconds"), (119.0, "119 seconds"), (720.0, "12 minutes"), (7200.0, "2 hours"), (1e6, "12 days")],
)
def test_a_duration_in_words(seconds: float, words: str) -> None:
    assert lasting(seconds) == words


#: What one look may give: a failure by its reason, or a reading.
FAILURES = ("unreachable", "timeout", "bad_payload", "http_error")
ages = st.one_of(st.none(), st.floats(0, 1000))
readings = st.builds(
    lambda age, state, shape, positions, profit: (
        check(age, state) if shape else full(profit, positions, age=age, state=state)
    ),
    ages,
    st.sampled_from(["running", "paused", "stopped", None]),
    st.booleans(),
    st.integers(0, 2),
    st.sampled_from([None, "1.5"]),
)
anything = st.one_of(readings, st.sampled_from([reason.value for reason in Reason] + ["secret_unreadable"]))
bots = st.sampled_from([BOT, FRESH, CHANGED, RUNNING])


@given(
    lone=st.lists(
        st.tuples(st.sampled_from(FAILURES), st.integers(1, 4)),
        max_size=12,
    ),
    hosted=st.booleans(),
)
def test_single_failures_never_change_anything(lone: list[tuple[str, int]], hosted: bool) -> None:
    story = Story(RUNNING if hosted else BOT)
    for failure, good in lone:
        story.look(failure)
        assert story.health.state == "healthy"
        story.looks([check()] * good)
    assert story.told == []
    assert story.bot.status == (RUNNING if hosted else BOT).status


@given(looks=st.lists(anything, max_size=30), bot=bots)
def test_whatever_is_seen_every_state_has_its_reason_and_every_reason_its_words(
    looks: list[Reading | str], bot: Bot
) -> None:
    story = Story(bot, Health())
    for look in looks:
        before = story.bot
        decision = story.look(look)
        health, change = decision.health, decision.change
        assert health.state in {"unknown", "healthy", "unhealthy", "stale"}
        if health.state in {"unhealthy", "stale"}:
            assert health.reason is not None
        if health.reason is not None:
            assert health.reason in _REASONS
            assert health.detail or health.reason in TROUBLES
        if change is not None and change.status == "error":
            assert change.reason in _REASONS
            assert change.detail
            assert health.state == "unhealthy"
        if change is not None and change.status == "connected":
            assert change.reason is None or change.reason in TROUBLES
            assert health.state != "stale"
        # What is stale is never called well, and nothing but a look that all was well with moves that time.
        if look == "rate_limited":
            assert (health.state, change) == ("stale", None)
        if health.healthy_at == health.observed_at:
            assert health.state == "healthy"
            assert not isinstance(look, str)
        # Down for an uncertain reason is never said after fewer than three failures, once it was told to be connected.
        if (before.status, story.bot.status) == ("connected", "error") and not before.untold:
            certain = {"auth", "egress_refused", "secret_unreadable"}
            assert story.bot.reason in certain or health.failures >= 3


@given(looks=st.lists(anything, max_size=20), bot=bots)
def test_unknown_never_becomes_zero_and_no_fact_is_invented(looks: list[Reading | str], bot: Bot) -> None:
    story = Story(bot, Health())
    for look in looks:
        known = story.health
        story.look(look)
        if isinstance(look, str):
            facts = ("latency_ms", "trading_state", "loop_age_s", "credential_ok")
            assert [getattr(story.health, name) for name in facts] == [None] * 4
            continue
        assert story.health.trading_state == look.trading_state
        if look.loop_age_s is not None:
            assert story.health.loop_age_s == look.loop_age_s
        else:
            # Not told now: it is as old as it was then and what passed since, or not known.
            assert (story.health.loop_age_s is None) == (known.loop_age_s is None)
            assert known.loop_age_s is None or story.health.loop_age_s == known.loop_age_s + SECONDS


@given(looks=st.lists(st.sampled_from([check(), STANDS[0], BLIND, full(), "unreachable"]), max_size=40))
def test_a_recovery_needs_two_looks_in_a_row(looks: list[Reading | str]) -> None:
    story = Story()
    states = [story.health.state]
    for look in looks:
        story.look(look)
        states.append(story.health.state)
        if (states[-2], states[-1]) == ("unhealthy", "healthy"):
            assert states[-3] == "unhealthy"
            assert not isinstance(look, str)
