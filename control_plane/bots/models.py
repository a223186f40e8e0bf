"""Tables of bots. People write *desired*, agents *observed*; column grants in policies/bots.sql hold both to it."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.bots.kinds import BOT_TYPES
from control_plane.database.base import (
    Base,
    TenantOwned,
    Timestamp,
    Updated,
    one_of,
    tenant_index,
    tenant_key,
    tenant_reference,
)

#: Engines whose bots we can run as containers.
HOSTED_ENGINES: Final = ("tradewise", "freqtrade")
DESIRED: Final = ("running", "stopped")
STATUSES: Final = ("inactive", "starting", "running", "stopping", "error", "connected")
TRANSIENT_STATUSES: Final = ("starting", "stopping")
HEALTH_STATES: Final = ("unknown", "healthy", "unhealthy", "stale")
INSTANCE_STATES: Final = ("creating", "running", "exited", "removed")
SECRET_KINDS: Final = ("credentials", "config")
CAUSES: Final = ("person", "key", "agent", "system")
#: What becomes of a bot's positions when it stops.
ON_STOP: Final = ("keep", "close")
#: How far a copy has come in winding down its trading: asked or not yet, and with which outcome.
DRAIN_STATES: Final = ("asking", "asked", "drained", "unconfirmed")
#: Whether a bot that ended by itself is started again: never, where it ended badly, or whatever its exit code was.
CRASH_POLICIES: Final = ("never", "on_failure", "always")
DEFAULT_CRASH_POLICY: Final = "on_failure"


class Bot(Base, Updated, TenantOwned):
    """One trading bot, wherever it runs."""

    __tablename__ = "bots"
    __table_args__ = (
        one_of("bot_type", BOT_TYPES),
        one_of("desired", DESIRED),
        one_of("status", STATUSES),
        one_of("on_stop", ON_STOP),
        one_of("crash_policy", CRASH_POLICIES),
        CheckConstraint(
            "case bot_type when 'external' then status in ('inactive', 'connected', 'error')"
            " else status <> 'connected' end",
            name="status_of_its_kind",
        ),
        tenant_key("bots"),
        ForeignKeyConstraint(
            ["template_tenant_id", "template_version_id"],
            ["template_versions.tenant_id", "template_versions.id"],
            name="fk_bots_template_version_id",
        ),
        Index(
            "uq_bots_tenant_api_url",
            "tenant_id",
            "api_url",
            "api_part",
            unique=True,
            postgresql_where=text("bot_type = 'external' and deleted_at is null"),
        ),
        tenant_index("bots", "status"),
        tenant_index("bots", "template_version_id"),
        Index("ix_bots_template", "template_tenant_id", "template_version_id"),
    )

    bot_type: Mapped[str] = mapped_column(Text)
    engine: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    api_url: Mapped[str | None] = mapped_column(Text)
    #: The family's public configuration, and which of the bots behind one address it makes this one.
    engine_config: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    api_part: Mapped[str] = mapped_column(Text, server_default="")
    image: Mapped[str | None] = mapped_column(Text)
    template_tenant_id: Mapped[UUID | None]
    template_version_id: Mapped[UUID | None]
    # desired: written by people
    desired: Mapped[str] = mapped_column(Text, server_default="stopped")
    generation: Mapped[int] = mapped_column(Integer, server_default="0")
    ping_requested_at: Mapped[datetime | None] = mapped_column(Timestamp)
    deleted_at: Mapped[datetime | None] = mapped_column(Timestamp)
    on_stop: Mapped[str] = mapped_column(Text, server_default="keep")
    #: The generation, if any, whose stop somebody wants at once, without winding down the trading first.
    forced_generation: Mapped[int | None]
    crash_policy: Mapped[str] = mapped_column(Text, server_default=DEFAULT_CRASH_POLICY)
    #: Whose wish the present generation is, ``user:…`` or ``key:…``; null is the platform. Kept by a trigger.
    wished_by: Mapped[str | None] = mapped_column(Text)
    # observed: written by the launcher (hosted bots) or the poller (external bots)
    status: Mapped[str] = mapped_column(Text, server_default="inactive")
    reason: Mapped[str | None] = mapped_column(Text)
    reason_detail: Mapped[str | None] = mapped_column(Text)
    status_since: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
    observed_generation: Mapped[int] = mapped_column(Integer, server_default="-1")
    exposed_host_port: Mapped[int | None]
    attempt: Mapped[int] = mapped_column(Integer, server_default="0")
    next_retry_at: Mapped[datetime | None] = mapped_column(Timestamp)
    #: Whether its last copy ended without having shown that no order of it is open; null while nobody can say.
    orders_unconfirmed: Mapped[bool | None] = mapped_column(Boolean)
    orders_detail: Mapped[str | None] = mapped_column(Text)
    #: When it was started again of late, oldest first: the budget that decides between another start and an error.
    restarts: Mapped[list[datetime]] = mapped_column(ARRAY(Timestamp), server_default=text("'{}'::timestamptz[]"))


class BotSecret(Base, Updated, TenantOwned):
    """One sealed value of a bot. Only agents can open it."""

    __tablename__ = "bot_secrets"
    __table_args__ = (
        one_of("kind", SECRET_KINDS),
        tenant_reference("bot_secrets", "bot_id", "bots"),
        tenant_index("bot_secrets", "bot_id", "kind", unique=True),
        tenant_index("bot_secrets", "key_version"),
    )

    bot_id: Mapped[UUID]
    kind: Mapped[str] = mapped_column(Text)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    key_version: Mapped[int]
    suite: Mapped[int] = mapped_column(SmallInteger)
    last4: Mapped[str | None] = mapped_column(Text)


class BotHealth(TenantOwned, Base):
    """The one hot row of a bot: rewritten at each check, narrow, no index on what changes. ``id`` is the bot's id."""

    __tablename__ = "bot_health"
    __table_args__ = (
        one_of("state", HEALTH_STATES),
        tenant_reference("bot_health", "id", "bots"),
        tenant_index("bot_health", "id", unique=True),
        # Changes with the process, not with a look at it: updates stay HOT.
        tenant_index("bot_health", "identity", postgresql_where=text("identity is not null")),
        # A row is made nearly empty and grows threefold; its page must hold it twice even then, or an update moves it.
        {"postgresql_with": {"fillfactor": "20"}},
    )

    state: Mapped[str] = mapped_column(Text, server_default="unknown")
    reason: Mapped[str | None] = mapped_column(Text)
    detail: Mapped[str | None] = mapped_column(Text)
    observed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    healthy_at: Mapped[datetime | None] = mapped_column(Timestamp)
    failures: Mapped[int] = mapped_column(Integer, server_default="0")
    latency_ms: Mapped[float | None]
    credential_ok: Mapped[bool | None] = mapped_column(Boolean)
    trading_state: Mapped[str | None] = mapped_column(Text)
    loop_age_s: Mapped[float | None]
    simulated: Mapped[bool | None] = mapped_column(Boolean)
    version: Mapped[str | None] = mapped_column(Text)
    identity: Mapped[str | None] = mapped_column(Text)
    observed_generation: Mapped[int] = mapped_column(Integer, server_default="-1")
    #: Set by the launcher while it cannot reach the container engine; a bot's health is then shown as stale.
    engine_lost_at: Mapped[datetime | None] = mapped_column(Timestamp)


class BotEvent(Base, TenantOwned):
    """A change of a bot's state with its cause: the bot's own history, append-only."""

    __tablename__ = "bot_events"
    __table_args__ = (
        one_of("cause", CAUSES),
        tenant_reference("bot_events", "bot_id", "bots"),
        tenant_index("bot_events", "bot_id", "id"),
        tenant_index("bot_events", "id"),
    )

    bot_id: Mapped[UUID]
    kind: Mapped[str] = mapped_column(Text)
    from_status: Mapped[str | None] = mapped_column(Text)
    to_status: Mapped[str | None] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    detail: Mapped[str | None] = mapped_column(Text)
    cause: Mapped[str] = mapped_column(Text)
    actor: Mapped[str | None] = mapped_column(Text)


class BotInstance(Base, Updated, TenantOwned):
    """One launched container. At most one that is not released may exist for a bot; its port is a lease (leases.py)."""

    __tablename__ = "bot_instances"
    __table_args__ = (
        one_of("state", INSTANCE_STATES),
        one_of("drain_state", DRAIN_STATES),
        one_of("drain_positions", ON_STOP),
        tenant_reference("bot_instances", "bot_id", "bots"),
        tenant_index("bot_instances", "bot_id", "id"),
        Index(
            "uq_bot_instances_live",
            "tenant_id",
            "bot_id",
            unique=True,
            postgresql_where=text("released_at is null"),
        ),
    )

    bot_id: Mapped[UUID]
    generation: Mapped[int]
    runtime: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, server_default="creating")
    container_id: Mapped[str | None] = mapped_column(Text)
    image: Mapped[str] = mapped_column(Text)
    image_id: Mapped[str | None] = mapped_column(Text)
    host_port: Mapped[int | None]
    #: The trading state that it was told to come up in; null where its family has none.
    ready_state: Mapped[str | None] = mapped_column(Text)
    exit_code: Mapped[int | None]
    oom_killed: Mapped[bool | None] = mapped_column(Boolean)
    last_lines: Mapped[list[Any] | None] = mapped_column(JSONB)
    #: What it used at last, oldest first: kept when it ends, at most sixty points.
    resource_curve: Mapped[list[Any] | None] = mapped_column(JSONB)
    started_at: Mapped[datetime | None] = mapped_column(Timestamp)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)
    released_at: Mapped[datetime | None] = mapped_column(Timestamp)
    drain_state: Mapped[str | None] = mapped_column(Text)
    drain_positions: Mapped[str | None] = mapped_column(Text)
    drain_started_at: Mapped[datetime | None] = mapped_column(Timestamp)
    drain_detail: Mapped[str | None] = mapped_column(Text)
    #: How many restarts came before this copy.
    attempt: Mapped[int] = mapped_column(Integer, server_default="0")
    #: Why it ended, as a stable word and in words; null while it lives, and where nobody looked.
    end_reason: Mapped[str | None] = mapped_column(Text)
    end_detail: Mapped[str | None] = mapped_column(Text)
    #: Until when a copy that is still being made may be started: the launch loses its right by itself, however late
    #: it comes. Renewed at each step of the launch.
    lease_until: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now() + interval '60 seconds'"))


class AgentBeat(Base):
    """What each agent process last said of itself. ``id`` is the process's own id. No tenant owns it."""

    __tablename__ = "agent_beats"
    __table_args__ = (Index("ix_agent_beats_kind", "kind", "beat_at"),)

    kind: Mapped[str] = mapped_column(Text)
    version: Mapped[str] = mapped_column(Text)
    beat_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
    state: Mapped[str] = mapped_column(Text)
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=text("'{}'::jsonb"))


class Installation(Base):
    """One row: the identity of this database. Containers carry it: two installations never touch each other's."""

    __tablename__ = "installation"
