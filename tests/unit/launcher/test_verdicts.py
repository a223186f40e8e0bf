"""What the end of a copy means for its bot."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.launcher.lifecycle import Bot, Change, Instance, Intent
from agents.launcher.runtimes.base import Exit
from agents.launcher.verdicts import after_exit, after_failure, backoff
from tests.unit.launcher.rows import (
    FRESH,
    NOW,
    OLD,
    POLICY,
    ago,
    bot,
    copy,
    used,
)


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
    assert after_exit(given_bot, instance, Exit(code=0), NOW, POLICY, 0.5).change is None


def judged(given_bot: Bot, found: Exit, **more: Any) -> Change:
    """What an end that nobody wanted means."""
    change = after_exit(given_bot, copy(), found, NOW, POLICY, 0.5, **more).change
    assert change is not None
    return change


def test_a_crash_is_followed_by_another_attempt() -> None:
    assert judged(bot(attempt=1), Exit(code=1, lines=("oops",))) == Change(
        status="starting",
        reason="restarting",
        detail="It ended by itself with exit code 1. Restart 2 of 5 within 30 min follows in 10 s.",
        restarts=(*used(1), NOW),
        next_retry_at=NOW + timedelta(seconds=10),
    )


@pytest.mark.parametrize(
    ("found", "why", "words"),
    [
        (Exit(code=137, oom_killed=True), "oom", "It used more memory than it is allowed and was ended"),
        (Exit(code=137, oom_killed=False), "exited", "It was ended by signal 9 (SIGKILL)"),
        (Exit(code=139, oom_killed=False), "exited", "It was ended by signal 11 (SIGSEGV)"),
        (Exit(code=250, oom_killed=False), "exited", "It was ended by signal 122"),
        (Exit(code=3, oom_killed=False), "exited", "It ended by itself with exit code 3"),
        (Exit(), "removed", "It was removed from outside"),
    ],
)
def test_attempts_end_with_how_it_ended_last(found: Exit, why: str, words: str) -> None:
    end = after_exit(bot("starting", attempt=5), copy(), found, NOW, POLICY, 0.5)
    assert (end.why, end.words) == (why, words)
    change = end.change
    assert change is not None
    assert (change.status, change.reason, change.attempt, change.next_retry_at) == ("error", "crash_loop", 5, None)
    assert change.detail is not None
    assert change.detail.startswith(words)


def test_restarts_that_are_long_ago_count_no_more() -> None:
    old = bot(restarts=tuple(ago(seconds) for seconds in (1801, 1800, 1799, 600, 60)))
    change = judged(old, Exit(code=1))
    assert change.status == "starting"
    assert change.restarts == (ago(1799), ago(600), ago(60), NOW)
    assert change.next_retry_at == NOW + timedelta(seconds=40)


@pytest.mark.parametrize(
    ("policy", "code", "status", "reason"),
    [
        ("never", 1, "error", "exited"),
        ("never", 0, "error", "exited"),
        ("never", None, "error", "exited"),
        ("on_failure", 1, "starting", "restarting"),
        ("on_failure", None, "starting", "restarting"),
        ("on_failure", 0, "error", "exited"),
        ("always", 0, "starting", "restarting"),
        ("always", 1, "starting", "restarting"),
    ],
)
def test_the_crash_policy_decides_whether_a_bot_is_started_again(
    policy: str, code: int | None, status: str, reason: str
) -> None:
    change = judged(bot(crash_policy=policy), Exit(code=code))
    assert (change.status, change.reason) == (status, reason)
    if status == "error":
        assert f"Its crash policy is {policy}, so it is not started again" in (change.detail or "")


def test_a_second_end_for_want_of_memory_is_an_error() -> None:
    first = judged(bot(), Exit(code=137, oom_killed=True))
    assert (first.status, first.reason) == ("starting", "restarting")
    second = judged(bot(attempt=1), Exit(code=137, oom_killed=True), oom_before=True)
    assert (second.status, second.reason) == ("error", "oom")


@pytest.mark.parametrize("policy", ["never", "on_failure", "always"])
@pytest.mark.parametrize("code", [0, 137, 143, 255])
def test_an_end_together_with_the_engine_is_no_crash(policy: str, code: int) -> None:
    found = Exit(code=code, witnessed=False)
    end = after_exit(bot(attempt=2, crash_policy=policy), copy(), found, NOW, POLICY, 0.5)
    assert end.why == "engine_stopped"
    assert end.change is not None
    assert (end.change.status, end.change.restarts, end.change.next_retry_at) == ("starting", used(2), None)


def test_a_crash_that_nobody_saw_is_a_crash_all_the_same() -> None:
    assert judged(bot(), Exit(code=1, witnessed=False)).attempt == 1


@pytest.mark.parametrize("reason", ["liveness", "start_timeout"])
def test_a_copy_that_was_ended_because_it_hung_counts_like_a_crash(reason: str) -> None:
    hung = bot("stopping", reason=reason, detail="It hung", attempt=1)
    change = judged(hung, Exit(code=137))
    assert (change.status, change.reason, change.attempt) == ("starting", reason, 2)
    assert (change.detail or "").startswith("It hung. Restart 2 of 5")
    last = judged(bot("stopping", reason=reason, detail="It hung", attempt=5), Exit(code=137))
    assert (last.status, last.reason) == ("error", reason)
    never = judged(bot("stopping", reason=reason, detail="It hung", crash_policy="never"), Exit(code=137))
    assert (never.status, never.reason) == ("error", reason)


def test_an_end_by_force_is_told_to_whoever_asked_for_the_stop() -> None:
    stopping = bot("stopping", intent=Intent.STOP)
    end = after_exit(stopping, copy(), Exit(code=137, oom_killed=False), NOW, POLICY, 0.5)
    assert end.why == "killed"
    assert end.change is not None
    assert (end.change.status, end.change.reason) == ("stopping", "killed")
    replaced = after_exit(bot("stopping"), copy(**OLD), Exit(code=137, oom_killed=False), NOW, POLICY, 0.5)
    assert (replaced.why, replaced.change) == ("killed", None)


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
    expected = detail or "strategy.type: must be one of dca, grid"
    change = judged(bot("starting", crash_policy="always"), Exit(code=78, lines=lines))
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
