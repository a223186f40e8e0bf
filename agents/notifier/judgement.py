"""What a judgement rests on, and what it comes to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from agents.notifier.verdict import Seen
from control_plane.alerts.kinds import Kind, Resolution, Rule, Scope


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """An incident that is open, or has been over for a short while."""

    id: UUID
    kind: Kind
    scope: Scope
    cause: str
    bot_ids: frozenset[UUID]
    #: Every bot that was in it.
    met: frozenset[UUID]
    opened_at: datetime
    #: When it was told that it begins, or that it came again.
    told_at: datetime
    closed_at: datetime | None = None
    reason: str | None = None
    flaps: int = 0
    reminded_at: datetime | None = None


class Open(msgspec.Struct, frozen=True):
    """A new incident, or with ``again`` one that was over a short while ago."""

    kind: Kind
    scope: Scope
    cause: str
    bots: tuple[Seen, ...]
    rule: Rule
    since: datetime
    reason: str | None
    detail: str | None
    again: UUID | None = None


class Change(msgspec.Struct, frozen=True):
    """The bots that are in an open incident now, those that had not been in it, and why; nothing is told of it."""

    id: UUID
    bot_ids: frozenset[UUID]
    came: tuple[Seen, ...]
    reason: str | None


class Resolve(msgspec.Struct, frozen=True):
    """An incident is over: of so many bots, of which those still have a name."""

    id: UUID
    resolution: Resolution
    count: int
    over: tuple[Seen, ...]


class Remind(msgspec.Struct, frozen=True):
    """An incident goes on, and this is to be told of it by now."""

    id: UUID
    detail: str | None


Action = Open | Change | Resolve | Remind


class Tenant(msgspec.Struct, frozen=True, kw_only=True):
    """What one tenant's judgement rests on. ``seen`` are bots that are not known to be well, and those of incidents."""

    rules: tuple[Rule, ...]
    seen: tuple[Seen, ...]
    #: How many bots are watched in all, and by host.
    watched: int
    by_host: Mapping[str, int]
    incidents: tuple[Incident, ...]
    remind_after: timedelta | None = None
