"""Containers of ours that no bot accounts for: left alone for a while, told, and only then ended, a few at most.

They carry this installation's label, so somebody's copies they were; but a database that was restored, or is the wrong
one, knows none of them. So many at once are an alarm for a person and nothing that we clear away.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import msgspec

from agents.launcher.runtimes.base import Observed


class Rules(msgspec.Struct, frozen=True, kw_only=True):
    """What the operator allows."""

    grace: float = 300.0
    """Seconds that one is left alone, since it was made and since this launcher first saw it."""
    limit: int = 5
    """More than this many at once are only told."""
    remove: bool = True
    """False tells what would be ended, and ends nothing."""


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One look at the containers that no bot accounts for."""

    due: tuple[Observed, ...]
    """To be ended now, each by its next step."""
    news: tuple[Observed, ...]
    """Not there at the last look."""
    told: dict[str, Any] | None
    """For the heartbeat; None where there are none."""


class Quarantine:
    """Remembers since when each was seen."""

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._since: dict[str, datetime] = {}

    def look(self, orphans: Sequence[Observed], now: datetime) -> Finding:
        """Judge every container that no bot accounts for; those that are gone are forgotten."""
        news = tuple(orphan for orphan in orphans if orphan.ref not in self._since)
        self._since = {orphan.ref: self._since.get(orphan.ref, now) for orphan in orphans}
        if not orphans:
            return Finding(due=(), news=(), told=None)
        held = "report_only" if not self._rules.remove else "too_many" if len(orphans) > self._rules.limit else None
        due = () if held else tuple(orphan for orphan in orphans if self._over(orphan, now))
        told = {
            "count": len(orphans),
            "held": held,
            "containers": sorted(orphan.ref[:12] for orphan in orphans)[: self._rules.limit],
        }
        return Finding(due=due, news=news, told=told)

    def _over(self, orphan: Observed, now: datetime) -> bool:
        since = max(self._since[orphan.ref], orphan.created_at or self._since[orphan.ref])
        return now - since >= timedelta(seconds=self._rules.grace)
