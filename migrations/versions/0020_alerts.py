"""Alerts, and the channels that they go out by"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_TENANT = sa.text("nullif(current_setting('app.tenant_id', true), '')::uuid")
_TIME = postgresql.TIMESTAMP(timezone=True)
_NOW = sa.text("now()")


def upgrade() -> None:
    op.create_table(
        "alert_channels",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), server_default=_TENANT, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("hint", sa.Text(), nullable=True),
        sa.Column("enabled", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("quiet", sa.Boolean(), server_default=sa.text("true"), nullable=False),
        sa.Column("verified_at", _TIME, nullable=True),
        sa.Column("code_hash", sa.LargeBinary(), nullable=True),
        sa.Column("code_expires_at", _TIME, nullable=True),
        sa.Column("code_tries", sa.SmallInteger(), server_default="0", nullable=False),
        sa.Column("failing_since", _TIME, nullable=True),
        sa.Column("disabled_at", _TIME, nullable=True),
        sa.Column("disabled_reason", sa.Text(), nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("updated_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint(
            "(kind = 'email') = (user_id is not null)", name=op.f("ck_alert_channels_email_of_a_member")
        ),
        sa.CheckConstraint("kind in ('webhook', 'email', 'telegram')", name=op.f("ck_alert_channels_kind_known")),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_alert_channels_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_alert_channels_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_channels")),
        sa.UniqueConstraint("tenant_id", "id", name="uq_alert_channels_tenant"),
    )
    op.create_index("ix_alert_channels_tenant_kind", "alert_channels", ["tenant_id", "kind"], unique=False)
    op.create_index("ix_alert_channels_user", "alert_channels", ["user_id"], unique=False)
    op.create_table(
        "alert_settings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), server_default=_TENANT, nullable=False),
        sa.Column("quiet_start", sa.Time(), nullable=True),
        sa.Column("quiet_end", sa.Time(), nullable=True),
        sa.Column("time_zone", sa.Text(), server_default="UTC", nullable=False),
        sa.Column("critical_breaks_quiet", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("remind_after_s", sa.Integer(), nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("updated_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint("(quiet_start is null) = (quiet_end is null)", name=op.f("ck_alert_settings_quiet_whole")),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_alert_settings_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_settings")),
        sa.UniqueConstraint("tenant_id", name="uq_alert_settings_only"),
    )
    op.create_table(
        "alert_messages",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), server_default=_TENANT, nullable=False),
        sa.Column("seq", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("channel_id", sa.Uuid(), nullable=False),
        sa.Column("incident_id", sa.Uuid(), nullable=True),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("line", sa.Uuid(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="pending", nullable=False),
        sa.Column("release_at", _TIME, nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("settled_at", _TIME, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint(
            "state in ('pending', 'held', 'sent', 'failed', 'summarised')", name=op.f("ck_alert_messages_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "channel_id"],
            ["alert_channels.tenant_id", "alert_channels.id"],
            name="fk_alert_messages_channel_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_alert_messages_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_messages")),
        sa.UniqueConstraint("tenant_id", "id", name="uq_alert_messages_tenant"),
    )
    op.create_index(
        "ix_alert_messages_due",
        "alert_messages",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("state = 'pending'"),
    )
    op.create_index(
        "ix_alert_messages_held",
        "alert_messages",
        ["release_at"],
        unique=False,
        postgresql_where=sa.text("state = 'held'"),
    )
    op.create_index(
        "ix_alert_messages_line",
        "alert_messages",
        ["tenant_id", "channel_id", "line", "seq"],
        unique=False,
        postgresql_where=sa.text("state in ('pending', 'held')"),
    )
    op.create_index(
        "ix_alert_messages_tenant_channel_id_id", "alert_messages", ["tenant_id", "channel_id", "id"], unique=False
    )
    op.create_table(
        "channel_secrets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), server_default=_TENANT, nullable=False),
        sa.Column("channel_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("suite", sa.SmallInteger(), nullable=False),
        sa.Column("expires_at", _TIME, nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint("kind in ('signing', 'chat', 'code')", name=op.f("ck_channel_secrets_kind_known")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "channel_id"],
            ["alert_channels.tenant_id", "alert_channels.id"],
            name="fk_channel_secrets_channel_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_channel_secrets_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_channel_secrets")),
    )
    op.create_index(
        "ix_channel_secrets_tenant_channel_id_kind",
        "channel_secrets",
        ["tenant_id", "channel_id", "kind"],
        unique=False,
    )
    op.create_index(
        "ix_channel_secrets_tenant_key_version", "channel_secrets", ["tenant_id", "key_version"], unique=False
    )
    op.create_table(
        "webhook_endpoints",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), server_default=_TENANT, nullable=False),
        sa.Column("url", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "id"],
            ["alert_channels.tenant_id", "alert_channels.id"],
            name="fk_webhook_endpoints_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_webhook_endpoints_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_endpoints")),
        sa.UniqueConstraint("tenant_id", "id", name="uq_webhook_endpoints_tenant"),
    )
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), server_default=_TENANT, nullable=False),
        sa.Column("endpoint_id", sa.Uuid(), nullable=False),
        sa.Column("message_id", sa.Uuid(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("status_code", sa.Integer(), nullable=True),
        sa.Column("latency_ms", sa.Float(), nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint(
            "outcome in ('delivered', 'again', 'failed')", name=op.f("ck_webhook_deliveries_outcome_known")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "endpoint_id"],
            ["webhook_endpoints.tenant_id", "webhook_endpoints.id"],
            name="fk_webhook_deliveries_endpoint_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_webhook_deliveries_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    op.create_index(
        "ix_webhook_deliveries_tenant_endpoint_id_id",
        "webhook_deliveries",
        ["tenant_id", "endpoint_id", "id"],
        unique=False,
    )
    op.create_table(
        "alert_incidents",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), server_default=_TENANT, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("scope", sa.Text(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("bot_id", sa.Uuid(), nullable=True),
        sa.Column("bot_ids", postgresql.ARRAY(sa.Uuid()), nullable=False),
        sa.Column("bots_met", sa.Integer(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("bot_names", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("channel_ids", postgresql.ARRAY(sa.Uuid()), nullable=True),
        sa.Column("tell_recovery", sa.Boolean(), nullable=False),
        sa.Column("since", _TIME, nullable=False),
        sa.Column("opened_at", _TIME, nullable=False),
        sa.Column("closed_at", _TIME, nullable=True),
        sa.Column("resolution", sa.Text(), nullable=True),
        sa.Column("flaps", sa.Integer(), server_default="0", nullable=False),
        sa.Column("reminded_at", _TIME, nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint(
            "kind in ('bot_down', 'credential_expired', 'trading_stopped', 'drawdown', 'not_watched')",
            name=op.f("ck_alert_incidents_kind_known"),
        ),
        sa.CheckConstraint("resolution in ('back', 'withdrawn')", name=op.f("ck_alert_incidents_resolution_known")),
        sa.CheckConstraint(
            "scope in ('bot', 'host', 'many', 'engine', 'platform')", name=op.f("ck_alert_incidents_scope_known")
        ),
        sa.CheckConstraint("severity in ('critical', 'warning')", name=op.f("ck_alert_incidents_severity_known")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "bot_id"], ["bots.tenant_id", "bots.id"], name="fk_alert_incidents_bot_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_alert_incidents_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_incidents")),
    )
    op.create_index("ix_alert_incidents_tenant_bot_id", "alert_incidents", ["tenant_id", "bot_id"], unique=False)
    op.create_index("ix_alert_incidents_tenant_id", "alert_incidents", ["tenant_id", "id"], unique=False)
    op.create_index(
        "uq_alert_incidents_open",
        "alert_incidents",
        ["tenant_id", "kind", "cause"],
        unique=True,
        postgresql_where=sa.text("closed_at is null"),
    )
    op.create_table(
        "alert_peaks",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("peak", sa.Numeric(precision=24, scale=12), nullable=True),
        sa.Column("latest", sa.Numeric(precision=24, scale=12), nullable=True),
        sa.Column("latest_at", _TIME, nullable=True),
        sa.Column("looked_at", _TIME, nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "bot_id"], ["bots.tenant_id", "bots.id"], name="fk_alert_peaks_bot_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "bot_id", name="pk_alert_peaks"),
        postgresql_with={"fillfactor": "70"},
    )
    op.create_index("ix_alert_peaks_looked_at", "alert_peaks", ["looked_at"], unique=False)
    op.create_table(
        "alert_rules",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), server_default=_TENANT, nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("bot_id", sa.Uuid(), nullable=True),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("delay_s", sa.Integer(), nullable=False),
        sa.Column("limit_percent", sa.Numeric(precision=5, scale=2), nullable=True),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("channel_ids", postgresql.ARRAY(sa.Uuid()), nullable=True),
        sa.Column("tell_recovery", sa.Boolean(), nullable=False),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("updated_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint(
            "kind in ('bot_down', 'credential_expired', 'trading_stopped', 'drawdown', 'not_watched')",
            name=op.f("ck_alert_rules_kind_known"),
        ),
        sa.CheckConstraint("severity in ('critical', 'warning')", name=op.f("ck_alert_rules_severity_known")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "bot_id"], ["bots.tenant_id", "bots.id"], name="fk_alert_rules_bot_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_alert_rules_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alert_rules")),
    )
    op.create_index("uq_alert_rules_bot", "alert_rules", ["tenant_id", "bot_id", "kind"], unique=True)
    op.create_index(
        "uq_alert_rules_general",
        "alert_rules",
        ["tenant_id", "kind"],
        unique=True,
        postgresql_where=sa.text("bot_id is null"),
    )


def downgrade() -> None:
    op.drop_table("alert_rules")
    op.drop_table("alert_peaks")
    op.drop_table("alert_incidents")
    op.drop_table("webhook_deliveries")
    op.drop_table("webhook_endpoints")
    op.drop_table("channel_secrets")
    op.drop_table("alert_messages")
    op.drop_table("alert_settings")
    op.drop_table("alert_channels")
