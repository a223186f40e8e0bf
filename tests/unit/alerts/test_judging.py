"""When trouble is told, what is one message, and when it is over."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from control_plane.alerts.kinds import KINDS, default_rule, rule_for, rules_in_force
from tests.unit.alerts.stage import INTERVAL, START, TENANT, Stage, bot, bot_id

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
DOWN = default_rule(TENANT, "bot_down")


def of_bot(number: int) -> str:
    return f"bot:{bot_id(number)}"


def test_a_bot_that_is_well_is_no_news() -> None:
    assert Stage(bot(1), bot(2)).pass_(5 * MINUTE) == []


def test_down_once_seen_is_not_told_and_seen_again_it_is() -> None:
    stage = Stage(bot(1), rules=[msgspec.structs.replace(DOWN, delay_s=0)])
    stage.down(1)
    assert stage.judge() == []  # the first sight, and the same one read twice
    assert stage.judge() == []
    stage.now += INTERVAL
    assert stage.judge() == []  # time alone confirms nothing
    stage.look()
    assert stage.judge() == [("opened", "bot_down", of_bot(1))]
    assert stage.pass_(HOUR) == []


def test_a_second_look_that_finds_it_well_leaves_nothing_to_tell() -> None:
    stage = Stage(bot(1))
    stage.down(1)
    stage.now += INTERVAL
    stage.up(1)
    assert stage.pass_(HOUR) == []


def test_the_delay_is_kept() -> None:
    stage = Stage(bot(1), rules=[msgspec.structs.replace(DOWN, delay_s=600)])
    stage.down(1)
    assert stage.pass_(9 * MINUTE) == []
    assert stage.pass_(2 * MINUTE) == [("opened", "bot_down", of_bot(1))]


def test_back_again_is_told_once_it_has_stayed() -> None:
    stage = Stage(bot(1))
    stage.down(1)
    stage.pass_(5 * MINUTE)
    stage.up(1)
    assert stage.pass_(timedelta(seconds=45)) == []
    assert stage.pass_(MINUTE) == [("back", "bot_down", of_bot(1))]
    assert stage.open == []


def test_a_refused_credential_is_told_as_that() -> None:
    stage = Stage(bot(1))
    stage.set(1, state="unhealthy", reason="auth", failures=1)
    assert stage.pass_(2 * MINUTE) == [("opened", "credential_expired", of_bot(1))]
    stage.set(1, state="healthy", reason=None, failures=0)
    assert stage.pass_(2 * MINUTE) == [("back", "credential_expired", of_bot(1))]


REFUSED = {"state": "unhealthy", "reason": "auth", "failures": 1}
LATE = {"state": "unhealthy", "reason": "timeout", "failures": 2}
RECOVERING = {"state": "unhealthy", "reason": "recovering", "failures": 0}
WELL = {"state": "healthy", "reason": None, "failures": 0}


def test_credentials_that_work_again_are_no_bot_that_is_down() -> None:
    stage = Stage(bot(1))
    stage.set(1, **REFUSED)
    stage.pass_(HOUR)
    stage.set(1, **RECOVERING)
    assert stage.pass_(INTERVAL) == []
    stage.set(1, **WELL)
    assert stage.pass_(2 * MINUTE) == [("back", "credential_expired", of_bot(1))]


@pytest.mark.parametrize("between", [[], [RECOVERING]])
def test_a_bot_that_refuses_us_is_not_down_for_one_missed_answer(between: list[dict[str, Any]]) -> None:
    stage = Stage(bot(1), rules=[msgspec.structs.replace(DOWN, delay_s=0)])
    stage.set(1, **REFUSED)
    stage.pass_(HOUR)
    stage.said.clear()
    for look in between:
        stage.set(1, **look)
        stage.pass_(INTERVAL)
    stage.set(1, **LATE)
    assert stage.judge() == []
    stage.now += INTERVAL
    assert stage.judge() == []
    stage.look()
    assert stage.judge() == [("opened", "bot_down", of_bot(1))]


def test_a_refusal_of_a_bot_that_was_down_is_told_once_it_was_seen_again() -> None:
    stage = Stage(bot(1))
    stage.down(1)
    stage.pass_(HOUR)
    stage.set(1, **REFUSED)
    assert stage.judge() == []
    stage.now += INTERVAL
    stage.down(1)
    assert stage.pass_(2 * MINUTE) == []
    stage.set(1, **REFUSED)
    assert stage.pass_(INTERVAL) == [("opened", "credential_expired", of_bot(1))]
    assert stage.pass_(2 * MINUTE) == [("back", "bot_down", of_bot(1))]


def test_a_bot_that_answers_every_other_look_is_down() -> None:
    stage = Stage(bot(1))
    stage.down(1)
    for number in range(16):
        stage.pass_(INTERVAL)
        stage.set(1, **(LATE if number % 2 else RECOVERING))
    assert stage.said == [("opened", "bot_down", of_bot(1))]


def test_trading_that_stops_is_told_and_trading_that_never_began_is_not() -> None:
    stage = Stage(bot(1), bot(2, trading_state="stopped", trading_since=None))
    stage.set(1, trading_state="stopped")
    assert stage.pass_(5 * MINUTE) == [("opened", "trading_stopped", of_bot(1))]
    stage.set(1, trading_state="running")
    assert stage.pass_(5 * MINUTE) == [("back", "trading_stopped", of_bot(1))]


def test_a_drawdown_over_the_limit_is_told_once_and_is_over_well_below_it() -> None:
    stage = Stage(bot(1))
    for part in ("0.19", "0.20", "0.199", "0.21", "0.185"):
        stage.set(1, drawdown=Decimal(part))
        stage.pass_(MINUTE)
    assert stage.said == [("opened", "drawdown", of_bot(1))]
    stage.set(1, drawdown=Decimal("0.17"))
    assert stage.pass_(MINUTE) == [("back", "drawdown", of_bot(1))]


def test_hosted_bot_that_ended_in_error() -> None:
    stage = Stage(bot(1, hosted=True, host=None, status="running", state="healthy"))
    stage.set(1, status="error", status_reason="crashed", status_since=START, state="unknown")
    assert stage.pass_(2 * MINUTE) == [("opened", "bot_down", of_bot(1))]
    stage.set(1, status="starting")
    assert stage.pass_(2 * MINUTE) == []
    stage.set(1, status="running", state="healthy")
    assert stage.pass_(2 * MINUTE) == [("back", "bot_down", of_bot(1))]


def test_nobody_looked_means_neither_down_nor_well() -> None:
    stage = Stage(bot(1), bot(2))
    stage.down(1)
    stage.pass_(3 * MINUTE)
    stage.said.clear()
    # The poller is away: one message says so for all, and the bot that was down is not said to be back.
    assert stage.pass_(10 * MINUTE, looking=False) == [("opened", "not_watched", "platform")]
    stage.look()
    assert stage.pass_(MINUTE) == [("back", "not_watched", "platform")]
    assert [one.cause for one in stage.open] == [of_bot(1)]


def test_a_bot_that_asked_for_rest_is_being_watched() -> None:
    stage = Stage(bot(1), bot(2))
    stage.down(2)
    stage.pass_(5 * MINUTE)
    stage.said.clear()
    for number in (1, 2):
        stage.set(number, state="stale", reason="rate_limited")
    assert stage.pass_(HOUR, looking=False) == []
    assert [one.cause for one in stage.open] == [of_bot(2)]
    # No bot is given a longer rest: from then on, nobody looks.
    assert stage.pass_(2 * MINUTE, looking=False) == [("opened", "not_watched", "platform")]


def test_watching_that_comes_and_goes_is_told_twice_and_then_has_to_stay() -> None:
    stage = Stage(bot(1))
    for _ in range(6):
        stage.pass_(10 * MINUTE, looking=False)
        stage.pass_(3 * MINUTE)
    assert [what for what, _, _ in stage.said] == ["opened", "back", "again"]
    assert stage.pass_(HOUR) == [("back", "not_watched", "platform")]


def test_a_bot_that_is_switched_off_or_removed_ends_its_incident() -> None:
    stage = Stage(bot(1), bot(2))
    stage.down(1)
    stage.pass_(3 * MINUTE)
    stage.set(1, watched=False)
    assert stage.pass_(MINUTE) == [("withdrawn", "bot_down", of_bot(1))]
    stage.down(2)
    stage.pass_(3 * MINUTE)
    del stage.bots[bot_id(2)]
    assert stage.pass_(MINUTE) == [("withdrawn", "bot_down", of_bot(2))]


def test_a_rule_that_is_off_says_nothing_and_a_bots_own_rule_wins() -> None:
    off = msgspec.structs.replace(DOWN, enabled=False)
    own = msgspec.structs.replace(DOWN, id=bot_id(99), bot_id=bot_id(2))
    stage = Stage(bot(1), bot(2), rules=[off, own])
    stage.down(1, 2)
    assert stage.pass_(5 * MINUTE) == [("opened", "bot_down", of_bot(2))]


def test_a_host_that_fails_is_one_message_whoever_falls_first() -> None:
    stage = Stage(*(bot(number, host="hb.example.com") for number in range(100)), *(bot(200 + n) for n in range(100)))
    for number in range(100):
        stage.down(number)
        stage.now += timedelta(milliseconds=150)
        if number % 10 == 0:
            stage.judge()
    assert stage.pass_(5 * MINUTE) == [("opened", "bot_down", "host:hb.example.com")]
    assert len(stage.open[0].bot_ids) == 100
    stage.up(*range(99))
    assert stage.pass_(5 * MINUTE) == []
    stage.up(99)
    assert stage.pass_(5 * MINUTE) == [("back", "bot_down", "host:hb.example.com")]


def test_a_host_that_fails_again_while_one_bot_never_came_back_is_news() -> None:
    stage = Stage(*(bot(number, host="h") for number in (1, 2, 3)))
    stage.down(1, 2, 3)
    assert stage.pass_(3 * MINUTE) == [("opened", "bot_down", "host:h")]
    stage.up(1, 2)
    assert stage.pass_(10 * MINUTE) == []
    assert stage.open[0].bot_ids == {bot_id(3)}
    stage.down(1, 2)
    assert stage.pass_(3 * MINUTE) == [("opened", "bot_down", "host:h/2")]
    assert stage.titles == ["3 bots on h are down", "2 bots on h are down"]
    stage.up(1, 2, 3)
    assert stage.pass_(3 * MINUTE) == [("back", "bot_down", "host:h"), ("back", "bot_down", "host:h/2")]
    assert stage.titles[2:] == ["Back again: bot 3", "Back again: 2 bots"]


def test_other_bots_of_a_host_that_fail_much_later_are_news_of_their_own() -> None:
    stage = Stage(*(bot(number, host="h") for number in range(19)))
    stage.down(*range(19))
    stage.pass_(3 * MINUTE)
    stage.add(*(bot(number, host="h") for number in range(20, 60)))
    assert stage.pass_(10 * MINUTE) == []
    stage.down(*range(20, 60), reason="bad_payload")
    assert stage.pass_(3 * MINUTE) == [("opened", "bot_down", "host:h/2")]
    for number in range(19):
        stage.set(number, watched=False)
    assert stage.pass_(MINUTE) == [("withdrawn", "bot_down", "host:h")]
    assert stage.titles == ["19 bots on h are down", "40 bots on h are down", "No longer watched: 19 bots"]


@pytest.mark.parametrize("after", [MINUTE, 10 * MINUTE])
def test_a_bot_that_fails_twice_is_one_bot(after: timedelta) -> None:
    stage = Stage(*(bot(number, host="h") for number in (1, 2, 3)))
    stage.down(1, 2, 3)
    stage.pass_(100 * SECOND)
    stage.up(1, 2)
    stage.pass_(80 * SECOND)
    stage.down(1, 2)
    assert stage.pass_(after) == []
    stage.up(1, 2, 3)
    stage.pass_(3 * MINUTE)
    assert stage.titles == ["3 bots on h are down", "Back again: 3 bots"]


def test_an_end_is_of_those_that_came_back_and_not_of_those_that_were_removed() -> None:
    stage = Stage(*(bot(number, host="h") for number in (1, 2, 3)))
    stage.down(1, 2, 3)
    stage.pass_(3 * MINUTE)
    stage.up(1, 2)
    stage.pass_(75 * SECOND)
    del stage.bots[bot_id(3)]
    assert stage.pass_(MINUTE) == [("back", "bot_down", "host:h")]
    assert stage.titles[-1] == "Back again: 2 of 3 bots"


def test_what_joins_an_incident_is_counted_and_named() -> None:
    stage = Stage(*(bot(number, host="h") for number in range(6)))
    stage.down(0, 1, 2, 3)
    stage.pass_(3 * MINUTE)
    stage.down(4)
    assert [what for what, _, _ in stage.pass_(2 * MINUTE)] == []
    [one] = stage.open
    assert one.met == {bot_id(number) for number in range(5)}
    assert stage.names[one.id] == [f"bot {number}" for number in range(5)]


def test_a_host_that_comes_and_goes_is_told_of_those_that_are_down_now() -> None:
    stage = Stage(*(bot(number, host="h") for number in (1, 2, 3)))
    stage.down(1, 2, 3)
    stage.pass_(10 * MINUTE)
    stage.up(1, 2, 3)
    stage.pass_(3 * MINUTE)
    stage.down(1, 2)
    assert stage.pass_(3 * MINUTE) == [("again", "bot_down", "host:h")]
    assert stage.titles[-1] == "2 bots on h are down"
    stage.down(3)  # within five minutes of that word
    assert stage.pass_(2 * MINUTE) == []


def test_bots_of_a_host_that_answer_are_not_counted_among_those_that_are_down() -> None:
    stage = Stage(*(bot(number, host="h") for number in range(5)))
    stage.down(0, 1, reason="unreachable")
    stage.down(2, 3, reason="loop_stalled")
    stage.pass_(3 * MINUTE)
    assert sorted(stage.titles) == ["2 bots on h are down", "The trading loops of 2 bots on h stand still"]
    stage.up(0, 1, 2, 3)
    stage.pass_(3 * MINUTE)
    assert sorted(stage.titles[2:]) == ["Back again: 2 bots", "Well again: 2 bots"]


def test_one_bot_of_a_host_that_is_well_is_its_own_news() -> None:
    stage = Stage(*(bot(number, host="hb.example.com") for number in range(10)))
    stage.down(3)
    assert stage.pass_(5 * MINUTE) == [("opened", "bot_down", of_bot(3))]
    stage.down(4)
    assert stage.pass_(5 * MINUTE) == [("opened", "bot_down", of_bot(4))]


def test_a_part_of_a_host_that_fails_at_once_is_one_message_that_counts_all_of_it() -> None:
    stage = Stage(*(bot(number, host="h") for number in range(300)))
    for number in range(60):
        stage.down(number)
        stage.now += timedelta(milliseconds=150)  # nine seconds in all: some are due a pass before the others
    assert stage.pass_(5 * MINUTE, every=5 * SECOND) == [("opened", "bot_down", "host:h")]
    stage.up(*range(60))
    assert stage.pass_(5 * MINUTE) == [("back", "bot_down", "host:h")]
    assert stage.titles == ["60 bots on h are down", "Back again: 60 bots"]


def test_a_few_bots_of_a_large_host_are_news_of_their_own() -> None:
    stage = Stage(*(bot(number, host="h") for number in range(300)))
    stage.down(1, 2, 3, 4)
    assert len(stage.pass_(5 * MINUTE)) == 4
    assert {cause for _, _, cause in stage.said} == {of_bot(number) for number in (1, 2, 3, 4)}


def test_most_bots_at_once_are_one_message() -> None:
    stage = Stage(*(bot(number) for number in range(20)))
    stage.down(*range(19))
    assert stage.pass_(HOUR) == [("opened", "bot_down", "many")]


def test_the_engine_out_of_reach_is_one_message() -> None:
    hosted = [bot(number, hosted=True, host=None, status="running") for number in range(30)]
    stage = Stage(*hosted)
    for number in range(30):
        stage.set(number, engine_lost_at=START)
    assert stage.pass_(HOUR) == [("opened", "bot_down", "engine")]
    for number in range(30):
        stage.set(number, engine_lost_at=None)
    assert stage.pass_(2 * MINUTE) == [("back", "bot_down", "engine")]


def test_what_comes_and_goes_is_told_twice_and_then_has_to_stay_well() -> None:
    stage = Stage(bot(1))
    for _ in range(20):
        stage.down(1)
        stage.pass_(3 * MINUTE)
        stage.up(1)
        stage.pass_(3 * MINUTE)
    assert [what for what, _, _ in stage.said] == ["opened", "back", "again"]
    assert stage.pass_(HOUR) == [("back", "bot_down", of_bot(1))]


def test_the_reason_is_the_one_that_stands_now() -> None:
    stage = Stage(bot(1), remind_after=HOUR)
    for reason in ("loop_stalled", "bad_payload", "unreachable"):
        stage.down(1, reason=reason)
        stage.pass_(5 * MINUTE)
        assert stage.open[0].reason == reason
    stage.set(1, **RECOVERING)
    stage.pass_(INTERVAL)
    assert stage.open[0].reason == "unreachable"
    stage.down(1)
    stage.pass_(HOUR)
    assert stage.titles == ["bot 1's trading loop stands still", "bot 1 is down"]


def test_of_several_reasons_one_stands_until_another_has_more() -> None:
    stage = Stage(*(bot(number, host="h") for number in range(4)))
    stage.down(0, 1, reason="timeout")
    stage.down(2, 3, reason="unreachable")
    stage.pass_(3 * MINUTE)
    first = stage.open[0].reason
    stage.bots = dict(reversed(stage.bots.items()))
    stage.pass_(3 * MINUTE)
    assert stage.open[0].reason == first
    stage.down(0, 1, 2, reason="bad_payload")
    stage.pass_(MINUTE)
    assert stage.open[0].reason == "bad_payload"


def test_reminders_are_off_until_asked_for() -> None:
    silent, loud = Stage(bot(1)), Stage(bot(1), remind_after=HOUR)
    for stage in (silent, loud):
        stage.down(1)
        stage.pass_(timedelta(hours=3, minutes=10))
    assert len(silent.said) == 1
    assert [what for what, _, _ in loud.said] == ["opened", "reminder", "reminder", "reminder"]


def test_a_reminder_counts_from_the_last_word() -> None:
    stage = Stage(bot(1), remind_after=HOUR)
    for _ in range(2):
        stage.down(1)
        stage.pass_(25 * MINUTE)
        stage.up(1)
        stage.pass_(3 * MINUTE)
    stage.down(1)
    stage.pass_(30 * MINUTE)
    assert [what for what, _, _ in stage.said] == ["opened", "back", "again"]
    stage.pass_(20 * MINUTE)
    assert [what for what, _, _ in stage.said] == ["opened", "back", "again", "reminder"]


def test_defaults_hold_until_written_over() -> None:
    rules = rules_in_force(TENANT, ())
    assert [rule.kind for rule in rules] == list(KINDS)
    assert rules == rules_in_force(TENANT, ())
    changed = msgspec.structs.replace(DOWN, delay_s=5)
    assert rule_for(rules_in_force(TENANT, (changed,)), "bot_down", bot_id(1)) == changed


STEPS = st.lists(
    st.tuples(
        st.integers(0, 5), st.sampled_from(["down", "up", "auth", "away", "off", "on", "stall"]), st.integers(1, 12)
    ),
    max_size=12,
)


@settings(max_examples=40)
@given(STEPS)
def test_whatever_happens_there_is_one_incident_a_cause_and_nobody_is_forgotten(
    steps: list[tuple[int, str, int]],
) -> None:
    stage = Stage(*(bot(number, host=f"host-{number // 3}") for number in range(6)))
    for number, what, intervals in steps:
        match what:
            case "down":
                stage.down(number)
            case "up":
                stage.set(number, state="healthy", reason=None, failures=0)
            case "stall":
                stage.down(number, reason="loop_stalled")
            case "auth":
                stage.set(number, state="unhealthy", reason="auth", failures=1)
            case "off" | "on":
                stage.set(number, watched=what == "on")
        stage.pass_(INTERVAL * intervals, looking=what != "away")
        assert stage.judge() == []  # judging again changes nothing
        causes = [(one.kind, one.cause) for one in stage.open]
        assert len(causes) == len(set(causes))
        assert all(one.bot_ids <= one.met for one in stage.open)
        for kind in KINDS:
            members = [member for one in stage.open if one.kind == kind for member in one.bot_ids]
            assert len(members) == len(set(members)), "a bot is in one incident of a kind at most"
    stage.pass_(10 * MINUTE)
    for one in stage.bots.values():
        held = {incident.kind for incident in stage.open if one.bot_id in incident.bot_ids}
        if one.watched and one.state == "unhealthy":
            assert held >= {"credential_expired" if one.reason == "auth" else "bot_down"}
    # A message opens, a message ends: of each cause they take turns.
    for cause in {(kind, cause) for _, kind, cause in stage.said}:
        line = [what in {"opened", "again"} for what, kind, of in stage.said if (kind, of) == cause]
        assert all(a != b for a, b in pairwise(line))
    for number in range(6):
        stage.set(number, state="healthy", reason=None, failures=0, watched=True)
    stage.pass_(timedelta(hours=5), every=5 * MINUTE)
    assert stage.open == []


@settings(max_examples=25)
@given(st.lists(st.integers(1, 8), min_size=1, max_size=25))
def test_flapping_costs_few_messages_an_hour(turns: list[int]) -> None:
    stage = Stage(bot(1))
    for number, intervals in enumerate(turns):
        (stage.down if number % 2 == 0 else stage.up)(1)
        stage.pass_(INTERVAL * intervals)
    hours = (stage.now - START) / HOUR
    assert len(stage.said) <= 3 + 4 * hours


@pytest.mark.parametrize("kind", KINDS)
def test_default_rules_are_on(kind: str) -> None:
    [rule] = [rule for rule in rules_in_force(TENANT, ()) if rule.kind == kind]
    assert rule.enabled
    assert rule.tell_recovery
    assert rule.channel_ids is None
