"""What a hosted bot is to the launcher, and how its status may change: the table of legal edges, and one pure reducer.

No clock, no I/O. Whatever writes a status goes through :func:`reduce` (hosted bots) or :func:`require_edge` (external
ones, which the poller watches): an edge that is not in the table raises and is never written.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from agents.launcher.draining import MARGIN_S, Drain


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
    stop_margin: float = 15.0
    """What a stop may take beyond its grace before it counts as stuck."""
    first_delay: float = 5.0
    longest_delay: float = 300.0
    restarts: int = 5
    """How many restarts a bot gets within ``window``."""
    window: float = 1800.0
    steady_after: float = 600.0
    """How long a bot must be well for its restarts to be forgotten."""
    liveness_deadline: float = 300.0
    """How long the checks of a running bot may fail before it is restarted; 0 is for ever."""
    liveness_failures: int = 3
    health_fresh: float = 75.0
    """How old the newest check may be to be believed: an older one says that the poller is away, not the bot."""
    drain_deadline: float = 30.0
    """How long a bot may take to wind down its trading before it is ended all the same."""
    publish_address: str | None = None
    """Where copies are published; None where that is of no interest."""
    in_sight_since: datetime | None = None
    """Since when the engine has answered without a break. Silence from before says nothing about a bot: an engine that
    is away may take the way to its published port along, and asks nobody to stop. None where it was never away."""

    @property
    def stop_deadline(self) -> float:
        """How long a bot may be stopping: every step of a stop together, and a margin."""
        return self.drain_deadline + MARGIN_S + self.stop_grace + self.stop_margin


class Unwell(msgspec.Struct, frozen=True, kw_only=True):
    """What the poller says of a bot whose checks fail. Only ever about the bot's present generation."""

    reason: str | None
    seen_at: datetime
    failures: int
    well_at: datetime | None = None
    """When a check last found it healthy."""


class Bot(msgspec.Struct, frozen=True, kw_only=True):
    """A hosted bot's row: what people want and what was last written down as observed."""

    id: UUID
    tenant_id: UUID
    intent: Intent
    generation: int
    observed_generation: int
    status: str
    status_since: datetime
    reason: str | None = None
    detail: str | None = None
    restarts: tuple[datetime, ...] = ()
    """When it was started again of late, oldest first."""
    next_retry_at: datetime | None = None
    crash_policy: str = "on_failure"
    healthy_at: datetime | None = None
    """When a check last found this generation healthy; None where the last check did not."""
    unwell: Unwell | None = None
    wished_by: str | None = None
    """Whose wish the present generation is; None is the platform."""
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
    def attempt(self) -> int:
        """How many restarts it has used of its budget."""
        return len(self.restarts)

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
    restarts: tuple[datetime, ...] = ()
    next_retry_at: datetime | None = None

    @property
    def attempt(self) -> int:
        """How many restarts are used of the budget."""
        return len(self.restarts)


#: Why we end a copy that should run: its next start counts as a restart.
HUNG: Final = frozenset({"liveness", "start_timeout", "port_conflict"})

#: From each status, the statuses that may follow; itself where reason, detail or budget change without it.
HOSTED: Final[Mapping[str, frozenset[str]]] = {
    # To `stopping` where a copy is found that should not be there; to `error` where it can never run.
    "inactive": frozenset({"inactive", "starting", "stopping", "error"}),
    # To itself: another attempt. To `inactive`: stopped while nothing ran yet.
    "starting": frozenset({"starting", "running", "stopping", "inactive", "error"}),
    # To `starting`: it ended by itself and is started again. Never straight to `inactive`: a stop is told first.
    "running": frozenset({"running", "starting", "stopping", "error"}),
    # To `starting`: replaced, or restarted because it hung. To `error`: not even a kill ended it.
    "stopping": frozenset({"stopping", "inactive", "starting", "error"}),
    # To `starting` only by somebody's wish.
    "error": frozenset({"error", "inactive", "starting", "stopping"}),
}
EXTERNAL: Final[Mapping[str, frozenset[str]]] = {
    "inactive": frozenset({"inactive", "connected", "error"}),
    "connected": frozenset({"connected", "error", "inactive"}),
    "error": frozenset({"error", "connected", "inactive"}),
}


class IllegalEdgeError(RuntimeError):
    """A status that may not follow another: a fault of ours, which must not reach the rows."""

    code = "illegal_edge"


def require_edge(table: Mapping[str, frozenset[str]], before: str, after: str) -> None:
    """Raise IllegalEdgeError unless ``after`` may follow ``before``."""
    if after not in table.get(before, frozenset()):
        raise IllegalEdgeError(f"{before} -> {after} is no edge of the lifecycle")


def reduce(bot: Bot, new: Change, now: datetime) -> Bot:
    """The row that follows from ``bot`` by ``new``. Raises IllegalEdgeError where nothing of the kind may follow."""
    require_edge(HOSTED, bot.status, new.status)
    if bot.status == "error" and new.status == "starting" and not bot.fresh:
        raise IllegalEdgeError("a bot in error starts again only when somebody asks for it")
    if new.next_retry_at is not None and new.status != "starting":
        raise IllegalEdgeError(f"a bot that is {new.status} waits for no attempt")
    return msgspec.structs.replace(
        bot,
        observed_generation=bot.generation,
        status_since=bot.status_since if bot.status == new.status else now,
        **{name: getattr(new, name) for name in Change.__struct_fields__},
    )


def deadline(bot: Bot, instance: Instance | None, policy: Policy) -> datetime | None:
    """When a status that may not last is overdue; None for one that may."""
    since = bot.status_since if policy.in_sight_since is None else max(bot.status_since, policy.in_sight_since)
    if bot.status == "stopping":
        return since + timedelta(seconds=policy.stop_deadline)
    if bot.status == "starting":
        begun = (since, bot.next_retry_at, instance.started_at if instance is not None else None)
        return max(filter(None, begun)) + timedelta(seconds=policy.start_deadline)
    return None
