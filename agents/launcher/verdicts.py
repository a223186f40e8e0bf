"""What the end of a copy, or a launch that did not succeed, means for its bot: pure, like the decisions."""

from __future__ import annotations

import signal
from datetime import datetime, timedelta
from typing import Final

import msgspec

from agents.launcher.lifecycle import HUNG, Bot, Change, Instance, Intent, Policy
from agents.launcher.runtimes.base import Exit

EX_CONFIG: Final = 78
"""With this a bot says that its configuration cannot work (sysexits.h): starting it again would change nothing."""
_KILLED: Final = 128 + signal.SIGKILL
#: What a bot ends with when its engine or its machine is shut down, or was cut off from power.
_WITH_THE_ENGINE: Final = frozenset({0, _KILLED, 128 + signal.SIGTERM, 255})


class End(msgspec.Struct, frozen=True):
    """What is kept of a copy's end, and what it means for its bot: None where it was wanted."""

    why: str
    """A stable word: `asked`, `killed`, `exited`, `oom`, `removed`, `config_rejected`, `engine_stopped`, `unfinished`,
    or the reason that we ended it for."""
    words: str
    change: Change | None = None


def after_exit(
    bot: Bot,
    instance: Instance,
    found: Exit,
    now: datetime,
    policy: Policy,
    jitter: float,
    *,
    oom_before: bool = False,
) -> End:
    """Judge an end that was just found. ``jitter`` is a random number from 0 to 1.

    ``oom_before`` tells whether a copy since the first restart that still counts ran out of memory, too.
    """
    words = exit_words(found)
    if instance.state != "running":
        return End("unfinished", words)
    if bot.intent is not Intent.RUN or bot.fresh or instance.generation != bot.generation:
        return _asked(bot, found, words)
    if bot.status == "stopping" and bot.reason in HUNG:
        return _hung(bot, words, now, policy, jitter)
    if bot.status not in {"starting", "running"}:
        return _asked(bot, found, words)
    if found.code == EX_CONFIG:
        return End("config_rejected", words, _failed(bot, "config_rejected", _last_words(found)))
    if found.oom_killed and oom_before:
        said = f"{words}, again. Let it use less, or take a plan with more memory, then start it again."
        return End("oom", words, _failed(bot, "oom", said))
    if not found.witnessed and found.code in _WITH_THE_ENGINE:
        return End("engine_stopped", words, _with_the_engine(bot))
    why = "oom" if found.oom_killed else "removed" if found.code is None else "exited"
    if bot.crash_policy == "never" or (bot.crash_policy == "on_failure" and found.code == 0):
        said = f"{words}. Its crash policy is {bot.crash_policy}, so it is not started again by itself."
        return End(why, words, _failed(bot, "exited", said))
    return End(why, words, _again_or_not(bot, "restarting", "crash_loop", words, now, policy, jitter))


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
        return f"It was ended by signal {found.code - 128}{_signal_name(found.code - 128)}"
    return f"It ended by itself with exit code {found.code}"


class _Line(msgspec.Struct):
    """A line of a bot that writes its log as JSON."""

    message: str


def _signal_name(number: int) -> str:
    try:
        return f" ({signal.Signals(number).name})"
    except ValueError:
        return ""


def _asked(bot: Bot, found: Exit, words: str) -> End:
    """An end that was wanted; where it took force and the bot comes to rest now, that is said."""
    if found.code != _KILLED or found.oom_killed:
        return End("asked", words)
    if bot.intent is not Intent.STOP or bot.status != "stopping" or bot.fresh:
        return End("killed", words)
    said = "It did not end in time when it was asked to, so it was ended by force."
    return End("killed", words, Change(status="stopping", reason="killed", detail=said, restarts=bot.restarts))


def _hung(bot: Bot, words: str, now: datetime, policy: Policy, jitter: float) -> End:
    """A copy that we ended because it hung: it counts like a crash, and says why it was ended."""
    why, said = str(bot.reason), bot.detail or words
    # That its port was lost is none of its own doing.
    if bot.crash_policy == "never" and why != "port_conflict":
        said = f"{said}. Its crash policy is never, so it is not started again by itself."
        return End(why, words, _failed(bot, why, said))
    return End(why, words, _again_or_not(bot, why, why, said, now, policy, jitter))


def _with_the_engine(bot: Bot) -> Change:
    """Nobody saw it end and it ended as bots do when the engine stops: that is no crash, and costs no attempt."""
    words = "It ended while nobody watched it, as it does when the container engine stops. It is started again."
    return Change(status="starting", reason="restarting", detail=words, restarts=bot.restarts)


def _failed(bot: Bot, reason: str, detail: str) -> Change:
    return Change(status="error", reason=reason, detail=detail, restarts=bot.restarts)


def _again_or_not(
    bot: Bot, reason: str, last_reason: str, detail: str, now: datetime, policy: Policy, jitter: float
) -> Change:
    lately = tuple(at for at in bot.restarts if now - at < timedelta(seconds=policy.window))
    within = f"{policy.window / 60:g} min"
    if len(lately) >= policy.restarts:
        words = (
            f"{detail}. It was started again {policy.restarts} times within {within}. Correct the cause, then start it "
            "again."
        )
        return Change(status="error", reason=last_reason, detail=words, restarts=lately)
    attempt = len(lately) + 1
    delay = backoff(attempt, policy, jitter)
    return Change(
        status="starting",
        reason=reason,
        detail=f"{detail}. Restart {attempt} of {policy.restarts} within {within} follows in {delay:.0f} s.",
        restarts=(*lately, now),
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
