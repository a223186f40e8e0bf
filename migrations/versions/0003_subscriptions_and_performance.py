"""Subscriptions with their ledger, and performance over time"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "performance_snapshots",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("observed_at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("simulated", sa.Boolean(), nullable=True),
        sa.Column("equity", sa.Numeric(precision=24, scale=8), nullable=True),
        sa.Column("capital_base", sa.Numeric(precision=24, scale=8), nullable=True),
        sa.Column("realized_profit", sa.Numeric(precision=24, scale=8), nullable=True),
        sa.Column("open_profit", sa.Numeric(precision=24, scale=8), nullable=True),
        sa.Column("win_rate", sa.Numeric(precision=9, scale=8), nullable=True),
        sa.Column("max_drawdown", sa.Numeric(precision=9, scale=8), nullable=True),
        sa.Column("closed_trades", sa.Integer(), nullable=True),
        sa.Column("open_positions", sa.Integer(), nullable=True),
        sa.Column("unit_value", sa.Numeric(precision=24, scale=12), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "bot_id"],
            ["bots.tenant_id", "bots.id"],
            name="fk_performance_snapshots_bot_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "bot_id", "observed_at", name="pk_performance_snapshots"),
        postgresql_partition_by="RANGE (observed_at)",
    )
    op.create_table(
        "subscriptions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "tenant_id",
            sa.Uuid(),
            server_default=sa.text("nullif(current_setting('app.tenant_id', true), '')::uuid"),
            nullable=False,
        ),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.Column("creator_tenant_id", sa.Uuid(), nullable=False),
        sa.Column("template_id", sa.Uuid(), nullable=False),
        sa.Column("template_version_id", sa.Uuid(), nullable=False),
        sa.Column("hosting", sa.Text(), nullable=False),
        sa.Column("bot_tenant_id", sa.Uuid(), nullable=False),
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("status", sa.Text(), server_default="active", nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("allocation_amount", sa.Numeric(precision=24, scale=8), nullable=False),
        sa.Column("units", sa.Numeric(precision=24, scale=12), nullable=True),
        sa.Column("cash", sa.Numeric(precision=24, scale=8), server_default="0", nullable=False),
        sa.Column("cancelled_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("status in ('active', 'paused', 'cancelled')", name=op.f("ck_subscriptions_status_known")),
        sa.ForeignKeyConstraint(
            ["bot_tenant_id", "bot_id"],
            ["bots.tenant_id", "bots.id"],
            name="fk_subscriptions_bot_id",
            ondelete="RESTRICT",
        ),
        sa.ForeignKeyConstraint(
            ["creator_tenant_id", "template_version_id"],
            ["template_versions.tenant_id", "template_versions.id"],
            name="fk_subscriptions_template_version_id",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_subscriptions_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_subscriptions_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscriptions")),
        sa.UniqueConstraint("tenant_id", "id", name="uq_subscriptions_tenant"),
    )
    op.create_index("ix_subscriptions_creator", "subscriptions", ["creator_tenant_id", "template_id"], unique=False)
    op.create_index("ix_subscriptions_tenant_bot_id", "subscriptions", ["tenant_id", "bot_id"], unique=False)
    op.create_index(
        "uq_subscriptions_live",
        "subscriptions",
        ["tenant_id", "user_id", "template_id"],
        unique=True,
        postgresql_where=sa.text("status <> 'cancelled'"),
    )
    op.create_table(
        "subscription_ledger",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "tenant_id",
            sa.Uuid(),
            server_default=sa.text("nullif(current_setting('app.tenant_id', true), '')::uuid"),
            nullable=False,
        ),
        sa.Column("subscription_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("amount", sa.Numeric(precision=24, scale=8), nullable=False),
        sa.Column("units", sa.Numeric(precision=24, scale=12), nullable=True),
        sa.Column("unit_value", sa.Numeric(precision=24, scale=12), nullable=True),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "kind in ('deposit', 'withdrawal', 'pause', 'resume', 'redemption')",
            name=op.f("ck_subscription_ledger_kind_known"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "subscription_id"],
            ["subscriptions.tenant_id", "subscriptions.id"],
            name="fk_subscription_ledger_subscription_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_subscription_ledger_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_subscription_ledger")),
    )
    op.create_index(
        "ix_subscription_ledger_tenant_subscription_id_id",
        "subscription_ledger",
        ["tenant_id", "subscription_id", "id"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_table("subscription_ledger")
    op.drop_table("subscriptions")
    op.drop_table("performance_snapshots")
