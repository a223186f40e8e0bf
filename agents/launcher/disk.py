"""Holds bots to the room that their plan gives them, where the engine's own disk cannot.

An engine on a disk with project quotas refuses what goes beyond. On any other, a single file is kept to the limit by
the kernel, and the whole is looked at every few minutes: a bot that holds more is ended and told so.
"""

from __future__ import annotations

import time
from typing import Final

import asyncpg
import structlog

from agents.launcher import queries
from agents.launcher.lifecycle import Change, Intent
from agents.launcher.runtimes.base import Runtime
from agents.launcher.transitions import change
from control_plane.plans import plan_of
from control_plane.settings import Settings

CHECK_S: Final = 300.0
_MIB: Final = 1024 * 1024


class DiskWatch:
    """Looks at most once in ``check_s`` seconds, whoever asks."""

    def __init__(self, settings: Settings, pool: asyncpg.Pool, runtime: Runtime, *, check_s: float = CHECK_S) -> None:
        self._settings = settings
        self._pool = pool
        self._runtime = runtime
        self._looked_at = time.monotonic()
        self.check_s = check_s
        self._log = structlog.get_logger("disk")

    async def look(self) -> None:
        """End what holds too much. Raises EngineUnreachable, RuntimeFault."""
        if time.monotonic() - self._looked_at < self.check_s:
            return
        self._looked_at = time.monotonic()
        held = await self._runtime.usage()
        for work in await queries.work(self._pool, list(held)) if held else ():
            most = plan_of(self._settings.plans, work.plan).disk_bytes
            if most is None or held[work.bot.id] <= most or work.bot.intent is not Intent.RUN:
                continue
            if work.bot.fresh or work.bot.status not in {"starting", "running"}:
                continue
            words = (
                f"It stores {held[work.bot.id] // _MIB} MiB, and the plan {work.plan} gives it {most // _MIB}. It was "
                "ended. Ask your operator for a larger plan, or remove the bot, then start one that stores less."
            )
            self._log.warning("disk_full", bot=str(work.bot.id), held=held[work.bot.id], most=most)
            full = Change(status="error", reason="disk_full", detail=words, restarts=work.bot.restarts)
            await change(self._pool, work.bot, full)
