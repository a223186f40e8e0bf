"""What a poller knows of a bot: what its rows say, what one look gave, what stands of it, and what is to be written."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec

from agents.engines.base import Reading


class Bot(msgspec.Struct, frozen=True, kw_only=True):
    """What the rows say of a bot when it is claimed."""

    id: UUID
    tenant_id: UUID
    hosted: bool
    engine: str
    desired: str
    status: str
    reason: str | None
    generation: int
    """What is being looked at: the bot's own generation, or that of the launched copy of a hosted one."""
    told_generation: int
    """The newest generation whose outcome stands in the bot's status (external bots)."""
    api_url: str | None = None
    engine_config: str | None = None
    """The family's public configuration, as the JSON text that is stored."""
    host_port: int | None = None
    up_since: datetime | None = None
    """When the copy of a hosted bot was launched: nothing seen before is about this copy."""
    ready_state: str | None = None
    """The trading state that the copy of a hosted bot was told to come up in; None where an answer is enough."""

    @property
    def untold(self) -> bool:
        """No outcome of this generation has been told yet."""
        return self.told_generation < self.generation or self.status not in {"connected", "error"}


class Health(msgspec.Struct, frozen=True, kw_only=True):
    """The observed columns of ``bot_health``. None is unknown."""

    state: str = "unknown"
    reason: str | None = None
    detail: str | None = None
    observed_at: datetime | None = None
    healthy_at: datetime | None = None
    failures: int = 0
    latency_ms: float | None = None
    credential_ok: bool | None = None
    trading_state: str | None = None
    loop_age_s: float | None = None
    simulated: bool | None = None
    version: str | None = None
    identity: str | None = None
    observed_generation: int = -1


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a check gave: a reading, and in ``reason`` why it is not all well, whether the bot's fault or ours."""

    reading: Reading
    observed_at: datetime
    """When the check began: whatever a person asked for before that moment, this answers."""
    reason: str | None = None
    detail: str | None = None

    @property
    def good(self) -> bool:
        """Answered, with credentials that work: a reachable bot that refuses us is not a connected one."""
        return self.reason is None and self.reading.credential_ok is True


class StatusChange(msgspec.Struct, frozen=True):
    """A status for the bot's row. ``eventful`` where it differs, by status or reason, from what stood there."""

    status: str
    reason: str | None
    detail: str | None
    eventful: bool


class Decision(msgspec.Struct, frozen=True):
    """What to write."""

    health: Health
    change: StatusChange | None
    pause_s: float
    """Seconds from the beginning of this look to the next."""
