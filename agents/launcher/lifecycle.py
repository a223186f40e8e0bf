"""What a hosted bot is to the launcher: what is wanted of it, and what was last written down. No clock, no I/O."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec

from agents.launcher.draining import Drain


class Intent(StrEnum):
    """What is wanted of a bot."""

    RUN = "run"
    STOP = "stop"
    DELETE = "delete"
    HALT = "halt"
    """The platform itself stops, or the bot's tenant is suspended: the bot ends now and starts again when that is over,
    as if nothing had happened."""


def intent_of(desired: str, tenant_status: str, *, deleted: bool) -> Intent:
    """What is wanted of a bot, given what people wish and whether its tenant is active.

    The bots of a deleted tenant go whatever their rows say: one may have been registered at the very moment.
    """
    if deleted or tenant_status == "deleted":
        return Intent.DELETE
    if desired != "running":
        return Intent.STOP
    return Intent.RUN if tenant_status == "active" else Intent.HALT


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """How patient the launcher is. Durations in seconds."""

    start_deadline: float = 120.0
    stop_grace: float = 30.0
    first_delay: float = 5.0
    longest_delay: float = 300.0
    restarts: int = 5
    steady_after: float = 600.0
    drain_deadline: float = 30.0
    """How long a bot may take to wind down its trading before it is ended all the same."""
    publish_address: str | None = None
    """Where copies are published; None where that is of no interest."""


class Bot(msgspec.Struct, frozen=True, kw_only=True):
    """A hosted bot's row: what people want and what was last written down as observed."""

    id: UUID
    tenant_id: UUID
    intent: Intent
    generation: int
    observed_generation: int
    status: str
    reason: str | None = None
    detail: str | None = None
    attempt: int = 0
    next_retry_at: datetime | None = None
    healthy_at: datetime | None = None
    """When a check last found this generation healthy; None where the last check did not."""
    halt_reason: str = "platform_stopped"
    """What a halted bot says of itself."""
    withdrawn: bool = False
    """The tenant that made its template was deleted: what the bot ran can never be opened again."""
    on_stop: str = "keep"
    forced: bool = False
    """Somebody wants this very generation's stop at once."""
    orders_unconfirmed: bool | None = None
    """Whether its last copy may have left orders open; None while one runs or nobody can say."""
    orders_detail: str | None = None

    @property
    def fresh(self) -> bool:
        """A person asked for something that has not been acted upon yet."""
        return self.observed_generation != self.generation

    @property
    def positions(self) -> str:
        """What shall become of positions when its copy ends. One that another copy follows keeps them, whatever its
        owner chose for a stop: that one goes on where this one was."""
        stays = self.intent is Intent.RUN or (self.intent is Intent.HALT and self.halt_reason == "platform_stopped")
        return "keep" if stays else self.on_stop


class Instance(msgspec.Struct, frozen=True, kw_only=True):
    """The row of a copy that is not released: the fence that lets no second one be launched.

    `creating` until its hand-over is complete: such a copy is never adopted, because it may have got nothing.
    """

    id: UUID
    generation: int
    state: str
    container_id: str | None = None
    started_at: datetime | None = None
    host_port: int | None = None
    drain: Drain = Drain()


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """The observed columns of a bot as they shall be. Whatever it is, it acts upon the bot's present generation."""

    status: str
    reason: str | None = None
    detail: str | None = None
    attempt: int = 0
    next_retry_at: datetime | None = None
