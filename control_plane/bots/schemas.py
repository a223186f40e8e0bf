"""Bodies of bots."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from control_plane.amounts import Figures
from control_plane.http.patterns import NAME

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=120, pattern=NAME)]
CrashPolicy = Literal["never", "on_failure", "always"]
Description = Annotated[str, msgspec.Meta(max_length=2000, pattern=r"^[^\x00]*$")]


#: What becomes of positions when a bot that we run stops. A restart keeps them in any case.
OnStop = Literal["keep", "close"]


class CreateBot(msgspec.Struct, forbid_unknown_fields=True):
    """A bot to register (``external``) or to be run by us (``platform``, or ``shared`` for followers)."""

    bot_type: Literal["external", "platform", "shared"]
    engine: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    name: Name
    description: Description | None = None
    api_url: Annotated[str, msgspec.Meta(max_length=2048)] | None = None
    credentials: dict[str, Any] | None = None
    engine_config: dict[str, Any] | None = None
    """Public, of an external bot; its shape is the engine's, see ``GET /engines``."""
    template_id: UUID | None = None
    config: dict[str, Any] | None = None
    on_stop: OnStop | None = None
    crash_policy: CrashPolicy | None = None


class PatchBot(msgspec.Struct, forbid_unknown_fields=True):
    """What may change. Left out: kept. ``credentials`` and ``config`` are replaced whole."""

    name: Name | msgspec.UnsetType = msgspec.UNSET
    description: Description | msgspec.UnsetType | None = msgspec.UNSET
    api_url: Annotated[str, msgspec.Meta(max_length=2048)] | msgspec.UnsetType = msgspec.UNSET
    credentials: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    engine_config: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    config: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    on_stop: OnStop | msgspec.UnsetType = msgspec.UNSET
    crash_policy: CrashPolicy | msgspec.UnsetType = msgspec.UNSET


class SecretView(msgspec.Struct, frozen=True):
    """All that is ever shown of a stored secret."""

    set: bool
    last4: str | None
    updated_at: datetime | None


class HealthView(msgspec.Struct, frozen=True):
    """What the poller last saw. Null is unknown."""

    state: str
    reason: str | None
    detail: str | None
    observed_at: datetime | None
    healthy_at: datetime | None
    latency_ms: float | None
    failures: int
    credential_ok: bool | None
    trading_state: str | None
    loop_age_s: float | None
    version: str | None
    simulated: bool | None
    remedy: str | None = None
    """What its owner can do about `reason`."""


class TradingView(msgspec.Struct, frozen=True):
    """Whether the bot trades, and what was wished of it last. Null is unknown, or never wished."""

    actions: list[str]
    """What it can be told: bots of some families can be told nothing."""
    wanted: str | None
    """`running`, `stopped` or `paused`."""
    state: str | None
    """What the bot itself said last."""
    requested_at: datetime | None
    confirmed_at: datetime | None
    """When the bot's own state showed it. Being told is no confirmation."""
    problem: str | None
    """Why it was given up, as a stable code."""
    problem_detail: str | None
    remedy: str | None


class WarningView(msgspec.Struct, frozen=True):
    """Something worth knowing of a bot, whatever its status."""

    code: str
    """`same_process`, `counter_reset` or `clock_skew`."""
    bot_id: UUID | None
    """The other bot, where there is one."""
    detail: str
    remedy: str | None
    at: datetime | None


class SteerTrading(msgspec.Struct, forbid_unknown_fields=True):
    """What the bot shall do with its trading. Its process runs on."""

    action: Literal["start", "stop", "pause"]


class LatestView(Figures, frozen=True):
    """The newest figures of a bot, in ``currency``. Null is unknown, never zero."""

    observed_at: datetime
    currency: str | None
    simulated: bool | None
    equity: Decimal | None
    capital_base: Decimal | None
    realized_profit: Decimal | None
    open_profit: Decimal | None
    win_rate: Decimal | None
    max_drawdown: Decimal | None
    closed_trades: int | None
    open_positions: int | None
    stale: bool
    """Older than three reading intervals of its plan and ten seconds: true of ``observed_at``, perhaps not of now."""


class LimitsView(msgspec.Struct, frozen=True):
    """What one hosted bot may take by its tenant's plan. Null: unlimited."""

    cpus: float
    memory_bytes: int
    processes: int
    disk_bytes: int | None
    log_bytes: int


class BotView(msgspec.Struct, frozen=True):
    """A bot as it is shown."""

    id: UUID
    bot_type: str
    engine: str
    name: str
    description: str | None
    status: str
    desired: str
    reason: str | None
    reason_detail: str | None
    status_since: datetime
    health: HealthView
    api_url: str | None
    engine_config: dict[str, Any] | None
    """Which bot behind its address it is, and how it is read; null for engines that need no such word."""
    exposed_host_port: int | None
    on_stop: str
    orders_unconfirmed: bool | None
    """True where the last copy ended without having shown that no order of it is open. Null while one runs, and where
    nobody can say."""
    template_id: UUID | None
    subscription_id: UUID | None
    credentials: SecretView
    config: SecretView
    latest: LatestView | None
    limits: LimitsView | None
    created_at: datetime
    updated_at: datetime
    crash_policy: str | None
    """Whether it is started again when it ends by itself; null for a bot that we do not run."""
    attempt: int
    """How many restarts of its budget are used; 0 when it has run well for long enough, or was started by somebody."""
    next_retry_at: datetime | None
    remedy: str | None
    """What its owner can do about `reason`."""
    trading: TradingView
    warnings: list[WarningView]


class EventView(msgspec.Struct, frozen=True):
    """One line of a bot's history."""

    id: UUID
    at: datetime
    kind: str
    from_status: str | None
    to_status: str | None
    reason: str | None
    detail: str | None
    cause: str
    actor: str | None


class InstanceView(msgspec.Struct, frozen=True):
    """One copy of a bot that we ran, and how it ended: kept when its container is long gone."""

    id: UUID
    generation: int
    attempt: int
    """How many restarts came before it."""
    state: str
    image: str
    image_id: str | None
    exit_code: int | None
    signal: str | None
    """The signal that ended it, by name where it has one."""
    oom_killed: bool | None
    reason: str | None
    """Why it ended, as a stable word; null while it lives, and where nobody looked."""
    detail: str | None
    last_lines: list[str]
    """What it said last, without secrets."""
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
