"""Keeps the rules of what bots reach in force: nothing starts before they hold, and they are looked at again and again.

The runtime is asked when the rules change and every few minutes, not at each launch: that asking is a container on the
engine's host.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any, Final
from uuid import UUID

import asyncpg
import structlog

from agents.launcher import queries
from agents.launcher.runtimes.base import Egress, Reach, Runtime, RuntimeFault
from control_plane.security.egress import parse_destination
from control_plane.settings import Settings

CHECK_S: Final = 120.0
"""So long a firewall that somebody emptied may stay so."""


class Containment:
    """One for each runtime. ``held`` is what the runtime has confirmed, None while nothing is sure."""

    def __init__(self, settings: Settings, pool: asyncpg.Pool, runtime: Runtime, *, check_s: float = CHECK_S) -> None:
        self._settings = settings
        self._pool = pool
        self._runtime = runtime
        self._check_s = check_s
        self._turn = asyncio.Lock()
        self._held: Egress | None = None
        self._held_at = 0.0
        self._let_gone = False
        self._log = structlog.get_logger("containment")
        self.detail: dict[str, Any] = {"guard": "off" if settings.egress_guard == "off" else "unknown"}

    async def hold(self) -> None:
        """Return once the rules as the rows have them are in force.

        Raises ContainmentUnavailable, EngineUnreachable.
        """
        async with self._turn:
            if self._settings.egress_guard == "off":
                await self._let_go()
                return
            rows = await queries.egress(self._pool)
            wanted = egress_of(self._settings, rows)
            if wanted != self._held or time.monotonic() - self._held_at >= self._check_s:
                await self._write(wanted)
            revisions = {
                row["tenant_id"]: row["revision"] for row in rows if row["revision"] != row["applied_revision"]
            }
            if revisions:
                await queries.egress_applied(self._pool, revisions)

    async def _let_go(self) -> None:
        """Take away, once, what an earlier launcher with other settings may have left."""
        if not self._let_gone:
            with contextlib.suppress(RuntimeFault):
                await self._runtime.contain(None)
            self._let_gone = True

    def forget(self) -> None:
        """Nothing is sure any more: the engine was away, or its machine was."""
        self._held = None
        if self._settings.egress_guard != "off":
            self.detail = {"guard": "unknown"}

    async def _write(self, wanted: Egress) -> None:
        healing = wanted == self._held
        try:
            found = await self._runtime.contain(wanted)
        except BaseException as error:
            self._held = None
            self.detail = {"guard": "failed", "problem": str(error)[:300]}
            raise
        if healing and found.was != "same":
            self._log.warning("guard_healed", was=found.was, rules=found.rules)
        self._held, self._held_at = wanted, time.monotonic()
        self.detail = {"guard": "holds", "rules": found.rules}


def egress_of(settings: Settings, rows: list[Any]) -> Egress:
    """The rules of one installation from its settings and its tenants' rows."""
    tenants: dict[UUID, Reach] = {
        row["tenant_id"]: Reach(row["mode"], tuple(parse_destination(text) for text in row["destinations"]))
        for row in rows
    }
    return Egress(mode=settings.bot_egress, allowed=settings.bot_egress_allow, tenants=tenants)
