"""What the end of a copy, or a launch that did not succeed, means for its bot: pure, like the decisions."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

from agents.launcher.lifecycle import Bot, Change, Instance, Intent, Policy
from agents.launcher.runtimes.base import Exit

EX_CONFIG: Final = 78
"""With this a bot says that its configuration cannot work (sysexits.h): starting it again would change nothing."""


def after_exit(
    bot: Bot, instance: Instance, found: Exit, now: datetime, policy: Policy, jitter: float
) -> Change | None:
    """What an end means that was just found: a crash with its delay or its verdict, or None where it was wanted.

    ``jitter`` is a random number from 0 to 1.
    """
    expected = bot.intent is not Intent.RUN or bot.status in {"stopping", "error", "inactive"}
    if expected or bot.fresh or instance.generation != bot.generation or instance.state != "running":
        return None
    if found.code == EX_CONFIG:
        return _failed(bot, "config_rejected", _last_words(found))
    return _again_or_not(bot, "restarting", "crash_loop", exit_words(found), now, policy, jitter)


def after_failure(
    bot: Bot, reason: str, detail: str, now: datetime, policy: Policy, jitter: float, *, retry: bool
) -> Change:
    """What a launch that did not succeed means: another attempt later, or an end of attempts."""
    if not retry:
        return _failed(bot, reason, detail)
    return _again_or_not(bot, reason, reason, detail, now, policy, jitter)


def backoff(attempt: int, policy: Policy, jitter: float) -> float:
    """Seconds before restart number ``attempt`` (from 1): doubling, a quarter more or less, with a ceiling."""
    doubled = policy.first_delay * 2.0 ** min(attempt - 1, 32)
    return min(policy.longest_delay, doubled * (0.75 + 0.5 * jitter))


def exit_words(found: Exit) -> str:
    """How a copy ended, for its owner."""
    if found.oom_killed:
        return "It used more memory than it is allowed and was ended"
    if found.code is None:
        return "It was removed from outside"
    if found.code > 128:
        return f"It was ended by signal {found.code - 128}"
    return f"It ended by itself with exit code {found.code}"


class _Line(msgspec.Struct):
    """A line of a bot that writes its log as JSON."""

    message: str


def _failed(bot: Bot, reason: str, detail: str) -> Change:
    return Change(status="error", reason=reason, detail=detail, attempt=bot.attempt)


def _again_or_not(
    bot: Bot, reason: str, last_reason: str, detail: str, now: datetime, policy: Policy, jitter: float
) -> Change:
    if bot.attempt >= policy.restarts:
        words = f"{detail}. It was started again {policy.restarts} times. Correct the cause, then start it again."
        return _failed(bot, last_reason, words)
    attempt = bot.attempt + 1
    delay = backoff(attempt, policy, jitter)
    return Change(
        status="starting",
        reason=reason,
        detail=f"{detail}. Restart {attempt} of {policy.restarts} follows in {delay:.0f} s.",
        attempt=attempt,
        next_retry_at=now + timedelta(seconds=delay),
    )


def _last_words(found: Exit) -> str:
    said = next((line for line in reversed(found.lines) if line.strip()), None)
    if said is None:
        return "It refused its configuration without saying why. Correct it, then start the bot again."
    try:
        return msgspec.json.decode(said, type=_Line).message
    except msgspec.MsgspecError:
        return said
