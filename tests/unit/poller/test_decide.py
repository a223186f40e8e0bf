"""What one look means, row by row: no clock, no database, no bot."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.engines.base import Reading, Reason
from agents.poller.decide import decide, settle, spread
from agents.poller.facts import Bot, Decision, Health, Outcome

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
INTERVAL = timedelta(seconds=15)
BOT = Bot(
    id=UUID(int=1),
    tenant_id=UUID(int=2),
    hosted=False,
    engine="freqtrade",
    desired="running",
    status="connected",
    reason=None,
    generation=3,
    told_generation=3,
    api_url="http://bot.example.com",
)
WELL = Health(state="healthy", observed_at=NOW - INTERVAL, healthy_at=NOW - INTERVAL, observed_generation=3)
GOOD_READING = Reading(reachable=True, credential_ok=True, full=True, latency_ms=12.5, trading_state="running")
BAD_READING = Reading(reachable=False, credential_ok=None, full=False)


def _good(at: datetime = NOW, **facts: Any) -> Outcome:
    return Outcome(reading=msgspec.structs.replace(GOOD_READING, **facts), observed_at=at)


def _bad(reason: str = Reason.UNREACHABLE.value, at: datetime = NOW) -> Outcome:
    return Outcome(reading=BAD_READING, observed_at=at, reason=reason, detail=f"In words: {reason}.")


def _bot(**changes: Any) -> Bot:
    return msgspec.structs.replace(BOT, **changes)


def _health(**changes: Any) -> Health:
    return msgspec.structs.replace(WELL, **changes)


def _decide(bot: Bot, previous: Health, outcome: Outcome) -> Decision:
    return decide(bot, previous, outcome, INTERVAL)


def _status(decision: Decision) -> tuple[str, str | None] | None:
    return None if decision.change is None else (decision.change.status, decision.change.reason)


FRESH = _bot(status="inactive", told_generation=-1, generation=0)
CHANGED = _bot(generation=4)
FAILED = _bot(status="error", reason="unreachable")
REFUSED = _bot(status="error", reason="auth")
LONG_WELL = _health(failures=2, healthy_at=NOW - 3 * INTERVAL, reason="unreachable")
ILL = _health(state="unhealthy", failures=9, reason="unreachable", healthy_at=None)
RECOVERING = _health(state="unhealthy", failures=0, reason="recovering", healthy_at=None)


@pytest.mark.parametrize(
    ("bot", "previous", "outcome", "state", "status"),
    [
        pytest.param(FRESH, Health(), _good(), "healthy", ("connected", None), id="new-good"),
        *(
            pytest.param(FRESH, Health(), _bad(reason), "unhealthy", ("error", reason), id=f"new-{reason}")
            for reason in (
                "auth",
                "unreachable",
                "timeout",
                "egress_refused",
                "bad_payload",
                "http_error",
                "secret_unreadable",
                "engine_unknown",
            )
        ),
        pytest.param(FRESH, Health(), _bad("rate_limited"), "stale", None, id="new-throttled-tells-nothing"),
        pytest.param(
            _bot(told_generation=2, status="error", reason="auth"),
            _health(state="stale", reason="rate_limited"),
            _good(),
            "healthy",
            ("connected", None),
            id="after-throttling-the-first-outcome-is-still-told",
        ),
        pytest.param(CHANGED, WELL, _bad(), "unhealthy", ("error", "unreachable"), id="changed-bad-at-once"),
        pytest.param(
            _bot(generation=4, status="error", reason="auth"),
            ILL,
            _good(),
            "healthy",
            ("connected", None),
            id="changed-good-at-once",
        ),
        pytest.param(
            _bot(status="inactive"), WELL, _good(), "healthy", ("connected", None), id="switched-on-without-a-change"
        ),
        pytest.param(BOT, WELL, _good(), "healthy", None, id="well-stays-well"),
        pytest.param(BOT, WELL, _bad(), "healthy", None, id="one-failure-is-an-accident"),
        pytest.param(BOT, _health(failures=1), _bad(), "healthy", None, id="so-are-two"),
        pytest.param(BOT, LONG_WELL, _bad(), "unhealthy", ("error", "unreachable"), id="three-over-two-intervals"),
        pytest.param(
            BOT,
            _health(failures=2, healthy_at=NOW - timedelta(seconds=29)),
            _bad(),
            "healthy",
            None,
            id="three-in-a-hurry-are-not-enough",
        ),
        pytest.param(BOT, LONG_WELL, _bad("timeout"), "unhealthy", ("error", "timeout"), id="the-last-reason-is-told"),
        pytest.param(BOT, LONG_WELL, _good(), "healthy", None, id="recovered-before-it-was-told"),
        pytest.param(BOT, WELL, _bad("auth"), "unhealthy", ("error", "auth"), id="auth-at-once"),
        pytest.param(BOT, WELL, _bad("egress_refused"), "unhealthy", ("error", "egress_refused"), id="egress-at-once"),
        pytest.param(BOT, WELL, _bad("rate_limited"), "stale", None, id="throttled"),
        pytest.param(FAILED, ILL, _good(), "unhealthy", None, id="one-good-answer-is-not-enough"),
        pytest.param(FAILED, RECOVERING, _good(), "healthy", ("connected", None), id="two-are"),
        pytest.param(FAILED, RECOVERING, _bad(), "unhealthy", None, id="a-failure-between-breaks-the-row"),
        pytest.param(FAILED, _health(state="stale"), _good(), "unhealthy", None, id="throttling-between-breaks-it-too"),
        pytest.param(FAILED, ILL, _bad(), "unhealthy", None, id="ill-stays-ill-quietly"),
        pytest.param(FAILED, ILL, _bad("timeout"), "unhealthy", None, id="uncertain-reasons-do-not-take-turns"),
        pytest.param(FAILED, ILL, _bad("auth"), "unhealthy", ("error", "auth"), id="a-certain-reason-replaces"),
        pytest.param(REFUSED, _health(state="unhealthy", reason="auth"), _bad(), "unhealthy", None, id="certain-stays"),
        pytest.param(REFUSED, ILL, _bad(), "unhealthy", ("error", "unreachable"), id="until-two-say-otherwise"),
    ],
)
def test_external_bots(
    bot: Bot, previous: Health, outcome: Outcome, state: str, status: tuple[str, str | None] | None
) -> None:
    decision = _decide(bot, previous, outcome)
    assert decision.health.state == state
    assert _status(decision) == status
    assert decision.health.observed_generation == bot.generation
    assert decision.health.observed_at == NOW
    # What is not well says why.
    assert (decision.health.reason is None) == (state == "healthy" and outcome.good)
    if decision.change is not None:
        assert decision.change.detail == outcome.detail
        assert decision.change.eventful


UP = NOW - timedelta(seconds=1)
STARTING = _bot(hosted=True, status="starting", engine="tradewise", up_since=UP)
RUNNING = _bot(hosted=True, status="running", engine="tradewise", up_since=NOW - timedelta(hours=1))


@pytest.mark.parametrize(
    ("stands", "reason", "repeats", "told"),
    [
        ("unreachable", "timeout", 2, None),
        ("unreachable", "timeout", 3, "timeout"),
        ("bad_payload", "unreachable", 14, "unreachable"),
        ("timeout", "timeout", 9, None),
        ("unreachable", "rate_limited", 2, None),
        ("unreachable", "rate_limited", 3, "rate_limited"),
        ("rate_limited", "rate_limited", 4, None),
        ("rate_limited", "unreachable", 3, "unreachable"),
    ],
)
def test_the_reason_of_an_error_is_the_one_that_lasts(stands: str, reason: str, repeats: int, told: str | None) -> None:
    bot, known = _bot(status="error", reason=stands), _health(state="unhealthy", failures=9, reason=reason)
    change = decide(bot, known, _bad(reason), INTERVAL, repeats=repeats).change
    assert (change and change.reason) == told
    if told is not None:
        assert change is not None
        assert (change.status, change.eventful) == ("error", True)


def test_asking_for_fewer_calls_makes_no_error_of_a_bot_that_was_well() -> None:
    assert decide(BOT, WELL, _bad("rate_limited"), INTERVAL, repeats=50).change is None


@pytest.mark.parametrize(
    ("bot", "previous", "outcome", "state", "failures"),
    [
        pytest.param(STARTING, Health(), _good(), "healthy", 0, id="first-answer"),
        pytest.param(STARTING, Health(), _bad(), "unknown", 1, id="not-up-yet"),
        pytest.param(
            STARTING,
            Health(observed_generation=3, observed_at=NOW, failures=30),
            _bad(),
            "unknown",
            31,
            id="not-up-yet-still",
        ),
        pytest.param(
            _bot(hosted=True, status="starting", up_since=NOW - 2 * INTERVAL),
            Health(observed_generation=3, observed_at=NOW, failures=30),
            _bad(),
            "unhealthy",
            31,
            id="silent-for-too-long",
        ),
        pytest.param(STARTING, Health(), _bad("auth"), "unhealthy", 1, id="refuses-its-own-token"),
        pytest.param(STARTING, WELL, _bad(), "unknown", 1, id="the-copy-before-was-well-this-one-is-not-yet"),
        pytest.param(_bot(hosted=True, generation=4), WELL, _bad(), "unknown", 1, id="an-older-generation-was-well"),
        pytest.param(RUNNING, WELL, _bad(), "healthy", 1, id="one-failure"),
        pytest.param(RUNNING, LONG_WELL, _bad(), "unhealthy", 3, id="three-failures"),
        pytest.param(RUNNING, ILL, _good(), "unhealthy", 0, id="one-good-answer-is-not-enough"),
        pytest.param(RUNNING, RECOVERING, _good(), "healthy", 0, id="well-again"),
        pytest.param(RUNNING, RECOVERING, _bad(), "unhealthy", 1, id="not-well-again"),
    ],
)
def test_hosted_bots_have_health_only(bot: Bot, previous: Health, outcome: Outcome, state: str, failures: int) -> None:
    decision = _decide(bot, previous, outcome)
    assert (decision.health.state, decision.health.failures) == (state, failures)
    assert decision.change is None
    assert decision.health.observed_generation == bot.generation


def test_nothing_is_told_twice() -> None:
    told = _bot(generation=4, status="error", reason="auth")
    change = _decide(told, ILL, _bad("auth")).change
    assert change is not None
    assert not change.eventful


def test_a_bot_that_is_reached_but_was_not_asked_for_its_credential_is_not_connected() -> None:
    outcome = Outcome(reading=msgspec.structs.replace(GOOD_READING, credential_ok=None), observed_at=NOW)
    assert not outcome.good


def test_facts_of_the_moment_become_unknown_and_facts_of_the_program_stay() -> None:
    previous = _health(
        latency_ms=3.0,
        trading_state="running",
        loop_age_s=1.0,
        credential_ok=True,
        simulated=True,
        version="1",
        identity="x",
    )
    health = _decide(BOT, previous, _bad()).health
    assert (health.latency_ms, health.trading_state, health.loop_age_s, health.credential_ok) == (None,) * 4
    assert (health.simulated, health.version, health.identity) == (True, "1", "x")
    assert health.healthy_at == previous.healthy_at
    assert (health.reason, health.detail) == ("unreachable", "In words: unreachable.")


def test_what_another_generation_said_is_forgotten() -> None:
    previous = _health(simulated=True, version="1", identity="x", observed_generation=2)
    health = _decide(BOT, previous, _bad()).health
    assert (health.simulated, health.version, health.identity, health.healthy_at) == (None,) * 4


def test_trading_stopped_by_its_owner_is_well() -> None:
    decision = _decide(FRESH, Health(), _good(trading_state="stopped"))
    assert _status(decision) == ("connected", None)
    assert decision.health.trading_state == "stopped"


@pytest.mark.parametrize(("status", "eventful"), [("connected", True), ("error", True), ("inactive", False)])
def test_a_bot_switched_off_becomes_inactive(status: str, eventful: bool) -> None:
    decision = settle(_bot(status=status, desired="stopped", generation=4), NOW)
    assert _status(decision) == ("inactive", None)
    assert decision.change is not None
    assert decision.change.eventful is eventful
    assert (decision.health.state, decision.health.observed_generation) == ("unknown", 4)


def _pause(decision: Decision) -> float:
    return decision.pause_s


@given(number=st.integers(0, 2**128 - 1), second=st.integers(0, 10**9))
def test_the_next_look_is_within_a_tenth_of_the_interval(number: int, second: int) -> None:
    moment = NOW + timedelta(seconds=second)
    assert -1 <= spread(UUID(int=number), moment) <= 1
    decision = decide(_bot(id=UUID(int=number)), WELL, _good(moment), INTERVAL)
    assert 13.5 <= decision.pause_s <= 16.5


def test_bots_do_not_fall_on_the_same_instant() -> None:
    pauses = {round(_pause(_decide(_bot(id=UUID(int=number)), WELL, _good())), 1) for number in range(500)}
    assert len(pauses) > 25


def test_a_starting_bot_is_looked_at_several_times_a_second() -> None:
    assert 0.25 <= _pause(_decide(STARTING, Health(), _bad())) <= 0.35
    assert 0.25 <= _pause(_decide(STARTING, Health(), _good())) <= 0.35


def test_pauses_double_while_a_bot_asks_for_fewer_calls() -> None:
    previous, now, pauses = WELL, NOW, []
    for _ in range(8):
        decision = decide(BOT, previous, _bad("rate_limited", now), INTERVAL)
        assert decision.health.failures == 0
        pauses.append(decision.pause_s)
        previous, now = decision.health, now + timedelta(seconds=decision.pause_s)
    assert pauses == [30, 60, 120, 240, 480, 900, 900, 900]


@pytest.mark.parametrize(
    ("told", "pause"), [(45.0, 45), (7.0, 15), (0.0, 30), (None, 30), (86_400.0, 3600), (float("inf"), 3600)]
)
def test_a_bot_that_says_when_to_come_again_is_left_alone_until_then(told: float | None, pause: float) -> None:
    refused = msgspec.structs.replace(BAD_READING, retry_after_s=told)
    decision = _decide(BOT, WELL, Outcome(reading=refused, observed_at=NOW, reason="rate_limited"))
    assert _pause(decision) == pause
    assert (decision.health.state, decision.change) == ("stale", None)


def test_a_long_interval_is_never_shortened_by_backing_off() -> None:
    decision = decide(BOT, WELL, _bad("rate_limited"), timedelta(hours=2))
    assert _pause(decision) == 7200


@given(
    reasons=st.lists(
        st.sampled_from([None, "unreachable", "timeout", "auth", "bad_payload", "rate_limited"]), max_size=30
    )
)
def test_one_missed_answer_between_good_ones_never_shows(reasons: list[str | None]) -> None:
    bot, health, now = FRESH, Health(), NOW
    for reason in reasons:
        outcome = _good(now) if reason is None else _bad(reason, now)
        before = bot.status
        decision = decide(bot, health, outcome, INTERVAL)
        if decision.change is not None:
            change = decision.change
            bot = msgspec.structs.replace(
                bot, status=change.status, reason=change.reason, told_generation=bot.generation
            )
            if (before, change.status) == ("connected", "error") and change.reason != "auth":
                assert decision.health.failures >= 3
            assert change.status == "connected" if outcome.good else change.status == "error"
        # The status never claims more than is known.
        assert not (bot.status == "connected" and decision.health.state == "unhealthy")
        health, now = decision.health, now + timedelta(seconds=decision.pause_s)


UP = NOW - timedelta(seconds=3)
STARTING = _bot(hosted=True, status="starting", api_url=None, host_port=21000, up_since=UP, ready_state="running")


@pytest.mark.parametrize(
    ("wanted", "facts", "ready"),
    [
        ("running", {"trading_state": "running", "loop_age_s": 1.0}, True),
        # It answers before it has loaded, and before its loop has turned.
        ("running", {"trading_state": "stopped", "loop_age_s": None}, False),
        ("running", {"trading_state": "running", "loop_age_s": None}, False),
        ("running", {"trading_state": None, "loop_age_s": None}, False),
        ("paused", {"trading_state": "paused", "loop_age_s": 1.0}, True),
        ("paused", {"trading_state": "running", "loop_age_s": 1.0}, False),
        # One that is stopped has no loop.
        ("stopped", {"trading_state": "stopped", "loop_age_s": None}, True),
        ("stopped", {"trading_state": "running", "loop_age_s": 1.0}, False),
        # A family without such states.
        (None, {"trading_state": None, "loop_age_s": None}, True),
    ],
)
def test_a_copy_has_come_up_when_it_is_in_the_state_that_it_was_told(
    wanted: str | None, facts: dict[str, Any], ready: bool
) -> None:
    bot = msgspec.structs.replace(STARTING, ready_state=wanted)
    decision = _decide(bot, Health(), _good(**facts))
    assert decision.health.state == ("healthy" if ready else "unknown")
    assert decision.health.reason == (None if ready else "not_trading")
    assert (decision.health.healthy_at is None) is not ready
    assert decision.health.failures == 0
    assert decision.pause_s < 1


def test_what_came_up_once_is_healthy_in_any_state_that_its_owner_puts_it_in() -> None:
    first = _decide(STARTING, Health(), _good(loop_age_s=1.0)).health
    later = _decide(STARTING, first, _good(NOW + INTERVAL, trading_state="stopped", loop_age_s=20.0)).health
    assert (later.state, later.reason, later.trading_state) == ("healthy", None, "stopped")


def test_another_copy_has_to_come_up_anew() -> None:
    first = _decide(STARTING, Health(), _good(loop_age_s=1.0)).health
    restarted = msgspec.structs.replace(STARTING, up_since=NOW + INTERVAL)
    again = _decide(restarted, first, _good(NOW + 2 * INTERVAL, trading_state="stopped")).health
    assert (again.state, again.reason) == ("unknown", "not_trading")
