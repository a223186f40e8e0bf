"""Whether a bot that runs hangs: pure. A restart can cost its owner money, so it needs evidence about that very bot.

What the poller says counts only while the poller itself is alive, and only reasons that a restart may cure: refused
credentials, a bot that asks for fewer calls, or an address that we may not call say nothing about a process that hangs.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from agents.launcher.lifecycle import Bot, Policy

#: What a frozen process, a hung event loop or a broken server looks like from outside.
CURABLE: Final = frozenset({"unreachable", "timeout", "http_error", "bad_payload"})
_FEW: Final = 5


def hung(bot: Bot, started: datetime, now: datetime, policy: Policy) -> str | None:
    """In words, why a running bot is to be restarted; None where it is well or nothing is certain."""
    seen = bot.unwell
    if seen is None or not policy.liveness_deadline or not _about_the_bot(bot, now, policy):
        return None
    since = max(filter(None, (started, seen.well_at, policy.in_sight_since)))
    lasted = (seen.seen_at - since).total_seconds()
    if seen.failures < policy.liveness_failures or lasted < policy.liveness_deadline:
        return None
    return f"It runs, but has answered no check for {lasted:.0f} s ({seen.reason})"


def blind(bots: Sequence[Bot], now: datetime, policy: Policy) -> bool:
    """Whether so many of the running ``bots`` fail at once that the way to them is broken rather than each of them."""
    running = [bot for bot in bots if bot.status == "running"]
    failing = sum(bot.unwell is not None and _about_the_bot(bot, now, policy) for bot in running)
    return failing >= _FEW and failing * 2 > len(running)


def _about_the_bot(bot: Bot, now: datetime, policy: Policy) -> bool:
    seen = bot.unwell
    return seen is not None and seen.reason in CURABLE and now - seen.seen_at <= timedelta(seconds=policy.health_fresh)
