"""Tables of alerts and webhooks. People write channels, rules and settings; the notifier what it saw and told."""

from __future__ import annotations

from datetime import datetime, time
from decimal import Decimal
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    Integer,
    LargeBinary,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    Time,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.alerts.kinds import (
    CHANNEL_KINDS,
    DELIVERY_OUTCOMES,
    KINDS,
    MESSAGE_STATES,
    RESOLUTIONS,
    SCOPES,
    SECRET_KINDS,
    SEVERITIES,
)
from control_plane.database.base import (
    Base,
    Table,
    TenantOwned,
    Timestamp,
    UnitValue,
    Updated,
    one_of,
    tenant_index,
    tenant_key,
    tenant_reference,
)


class AlertChannel(Base, Updated, TenantOwned):
    """A way to tell somebody. What leads there (a chat, a signing secret) is sealed in ``channel_secrets``."""

    __tablename__ = "alert_channels"
    __table_args__ = (
        one_of("kind", CHANNEL_KINDS),
        CheckConstraint("(kind = 'email') = (user_id is not null)", name="email_of_a_member"),
        tenant_key("alert_channels"),
        tenant_index("alert_channels", "kind"),
        Index("ix_alert_channels_user", "user_id"),
    )

    kind: Mapped[str] = mapped_column(Text)
    name: Mapped[str] = mapped_column(Text)
    #: Of e-mail: the member whose verified address gets it, as long as both hold.
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    #: What people recognise it by, no more than that: the end of a chat's number.
    hint: Mapped[str | None] = mapped_column(Text)
    enabled: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    #: Whether quiet hours hold for it.
    quiet: Mapped[bool] = mapped_column(Boolean, server_default=text("true"))
    #: Null: nothing but a code goes there.
    verified_at: Mapped[datetime | None] = mapped_column(Timestamp)
    code_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    code_expires_at: Mapped[datetime | None] = mapped_column(Timestamp)
    code_tries: Mapped[int] = mapped_column(SmallInteger, server_default="0")
    #: Since when nothing has got through; written by the notifier.
    failing_since: Mapped[datetime | None] = mapped_column(Timestamp)
    #: When and why the notifier gave it up; enabling it clears both.
    disabled_at: Mapped[datetime | None] = mapped_column(Timestamp)
    disabled_reason: Mapped[str | None] = mapped_column(Text)


class WebhookEndpoint(Base, TenantOwned):
    """The address of a webhook. ``id`` is its channel's."""

    __tablename__ = "webhook_endpoints"
    __table_args__ = (
        tenant_reference("webhook_endpoints", "id", "alert_channels"),
        tenant_key("webhook_endpoints"),
    )

    url: Mapped[str] = mapped_column(Text)


class ChannelSecret(Base, TenantOwned):
    """One sealed value of a channel. Only agents can open it."""

    __tablename__ = "channel_secrets"
    __table_args__ = (
        one_of("kind", SECRET_KINDS),
        tenant_reference("channel_secrets", "channel_id", "alert_channels"),
        tenant_index("channel_secrets", "channel_id", "kind"),
        tenant_index("channel_secrets", "key_version"),
    )

    channel_id: Mapped[UUID]
    kind: Mapped[str] = mapped_column(Text)
    sealed: Mapped[bytes] = mapped_column(LargeBinary)
    key_version: Mapped[int]
    suite: Mapped[int] = mapped_column(SmallInteger)
    #: Of a signing secret that was rotated: until when it signs beside its successor.
    expires_at: Mapped[datetime | None] = mapped_column(Timestamp)


class AlertRule(Base, Updated, TenantOwned):
    """What a tenant wants told otherwise than by default (kinds.py)."""

    __tablename__ = "alert_rules"
    __table_args__ = (
        one_of("kind", KINDS),
        one_of("severity", SEVERITIES),
        tenant_reference("alert_rules", "bot_id", "bots"),
        Index("uq_alert_rules_general", "tenant_id", "kind", unique=True, postgresql_where=text("bot_id is null")),
        Index("uq_alert_rules_bot", "tenant_id", "bot_id", "kind", unique=True),
    )

    kind: Mapped[str] = mapped_column(Text)
    bot_id: Mapped[UUID | None]
    enabled: Mapped[bool] = mapped_column(Boolean)
    delay_s: Mapped[int] = mapped_column(Integer)
    limit_percent: Mapped[Decimal | None] = mapped_column(Numeric(5, 2))
    severity: Mapped[str] = mapped_column(Text)
    channel_ids: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid))
    tell_recovery: Mapped[bool] = mapped_column(Boolean)


class AlertSettings(Base, Updated, TenantOwned):
    """When a tenant's people are left in peace, and whether they are reminded. One row at most."""

    __tablename__ = "alert_settings"
    __table_args__ = (
        UniqueConstraint("tenant_id", name="uq_alert_settings_only"),
        CheckConstraint("(quiet_start is null) = (quiet_end is null)", name="quiet_whole"),
    )

    quiet_start: Mapped[time | None] = mapped_column(Time)
    quiet_end: Mapped[time | None] = mapped_column(Time)
    time_zone: Mapped[str] = mapped_column(Text, server_default="UTC")
    critical_breaks_quiet: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    remind_after_s: Mapped[int | None]


class AlertIncident(Base, TenantOwned):
    """One cause of trouble, from when it was told until it was over. There is one open one a kind and cause."""

    __tablename__ = "alert_incidents"
    __table_args__ = (
        one_of("kind", KINDS),
        one_of("scope", SCOPES),
        one_of("severity", SEVERITIES),
        one_of("resolution", RESOLUTIONS),
        tenant_reference("alert_incidents", "bot_id", "bots"),
        tenant_index("alert_incidents", "id"),
        tenant_index("alert_incidents", "bot_id"),
        Index(
            "uq_alert_incidents_open",
            "tenant_id",
            "kind",
            "cause",
            unique=True,
            postgresql_where=text("closed_at is null"),
        ),
    )

    kind: Mapped[str] = mapped_column(Text)
    scope: Mapped[str] = mapped_column(Text)
    #: What the bots in it have in common: ``bot:<id>``, ``host:<name>``, ``many``, ``engine`` or ``platform``; with
    #: ``/2`` and so on where the same was told before and is not over.
    cause: Mapped[str] = mapped_column(Text)
    #: The bot, where it is one bot's trouble.
    bot_id: Mapped[UUID | None]
    #: The bots that are still in trouble.
    bot_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid))
    #: Every bot that was in it since it was told last.
    met_ids: Mapped[list[UUID]] = mapped_column(ARRAY(Uuid), server_default=text("'{}'"))
    #: How many it has met in all: those of ``met_ids``.
    bots_met: Mapped[int]
    #: How many of them its end is told of: others were removed, or have failed again since.
    bots_over: Mapped[int | None]
    severity: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    #: What is told of it in place of the reason's own words: of a drawdown, the fall and the limit.
    detail: Mapped[str | None] = mapped_column(Text)
    #: The names of its first few bots, as they were called then; of what is over, of those that its end is told of.
    bot_names: Mapped[list[str]] = mapped_column(ARRAY(Text))
    channel_ids: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid))
    tell_recovery: Mapped[bool] = mapped_column(Boolean)
    #: When the trouble began, which is before it was told.
    since: Mapped[datetime] = mapped_column(Timestamp)
    opened_at: Mapped[datetime] = mapped_column(Timestamp)
    #: When it was told last that it begins: at first, or when it came again.
    told_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
    closed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    resolution: Mapped[str | None] = mapped_column(Text)
    #: How often it came again shortly after it was over.
    flaps: Mapped[int] = mapped_column(Integer, server_default="0")
    reminded_at: Mapped[datetime | None] = mapped_column(Timestamp)


class AlertMessage(Base, TenantOwned):
    """One message for one channel. ``id`` is the ``webhook-id``: the same at each try. Those of a line go in order."""

    __tablename__ = "alert_messages"
    __table_args__ = (
        one_of("state", MESSAGE_STATES),
        tenant_key("alert_messages"),
        tenant_reference("alert_messages", "channel_id", "alert_channels"),
        tenant_index("alert_messages", "channel_id", "id"),
        Index(
            "ix_alert_messages_line",
            "tenant_id",
            "channel_id",
            "line",
            "seq",
            postgresql_where=text("state in ('pending', 'held')"),
        ),
        Index(
            "ix_alert_messages_incident",
            "tenant_id",
            "incident_id",
            "channel_id",
            postgresql_where=text("incident_id is not null"),
        ),
        Index("ix_alert_messages_due", "next_attempt_at", postgresql_where=text("state = 'pending'")),
        Index("ix_alert_messages_held", "release_at", postgresql_where=text("state = 'held'")),
    )

    seq: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    channel_id: Mapped[UUID]
    incident_id: Mapped[UUID | None]
    type: Mapped[str] = mapped_column(Text)
    line: Mapped[UUID]
    #: The JSON document, as a webhook sends it.
    body: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, server_default="pending")
    #: Of a held one: when quiet hours end.
    release_at: Mapped[datetime | None] = mapped_column(Timestamp)
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    next_attempt_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
    settled_at: Mapped[datetime | None] = mapped_column(Timestamp)
    #: Why the newest try failed: a stable word.
    error: Mapped[str | None] = mapped_column(Text)


class AlertPeak(Table):
    """The highest value of a bot's own index that the notifier has seen, and the newest. Machine-written."""

    __tablename__ = "alert_peaks"
    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "bot_id", name="pk_alert_peaks"),
        tenant_reference("alert_peaks", "bot_id", "bots"),
        Index("ix_alert_peaks_looked_at", "looked_at"),
        {"postgresql_with": {"fillfactor": "70"}},
    )

    tenant_id: Mapped[UUID]
    bot_id: Mapped[UUID]
    peak: Mapped[Decimal | None] = mapped_column(UnitValue)
    latest: Mapped[Decimal | None] = mapped_column(UnitValue)
    latest_at: Mapped[datetime | None] = mapped_column(Timestamp)
    looked_at: Mapped[datetime] = mapped_column(Timestamp)


class WebhookDelivery(Base, TenantOwned):
    """One try to deliver a message to a webhook. Append-only, written by the notifier, without any secret."""

    __tablename__ = "webhook_deliveries"
    __table_args__ = (
        one_of("outcome", DELIVERY_OUTCOMES),
        tenant_reference("webhook_deliveries", "endpoint_id", "webhook_endpoints"),
        tenant_index("webhook_deliveries", "endpoint_id", "id"),
    )

    endpoint_id: Mapped[UUID]
    message_id: Mapped[UUID]
    type: Mapped[str] = mapped_column(Text)
    attempt: Mapped[int]
    outcome: Mapped[str] = mapped_column(Text)
    status_code: Mapped[int | None]
    latency_ms: Mapped[float | None]
    error: Mapped[str | None] = mapped_column(Text)
