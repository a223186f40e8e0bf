"""Templates, the marketplace, bots and what is observed of them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bot_templates",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "tenant_id",
            sa.Uuid(),
            server_default=sa.text("nullif(current_setting('app.tenant_id', true), '')::uuid"),
            nullable=False,
        ),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("strategy_type", sa.Text(), nullable=False),
        sa.Column("risk_level", sa.Text(), nullable=False),
        sa.Column("hosting", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("minimum_allocation", sa.Numeric(precision=24, scale=8), nullable=False),
        sa.Column("status", sa.Text(), server_default="draft", nullable=False),
        sa.Column("latest_version", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_by", sa.Uuid(), nullable=False),
        sa.Column("deleted_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("hosting in ('dedicated', 'shared')", name=op.f("ck_bot_templates_hosting_known")),
        sa.CheckConstraint("risk_level in ('low', 'medium', 'high')", name=op.f("ck_bot_templates_risk_level_known")),
        sa.CheckConstraint("status in ('draft', 'published')", name=op.f("ck_bot_templates_status_known")),
        sa.CheckConstraint(
            "strategy_type in ('dca', 'grid', 'momentum', 'arbitrage')",
            name=op.f("ck_bot_templates_strategy_type_known"),
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_bot_templates_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bot_templates")),
        sa.UniqueConstraint("tenant_id", "id", name="uq_bot_templates_tenant"),
    )
    op.create_index("ix_bot_templates_tenant_status", "bot_templates", ["tenant_id", "status"], unique=False)
    op.create_table(
        "marketplace_listings",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "creator_tenant_id",
            sa.Uuid(),
            server_default=sa.text("nullif(current_setting('app.tenant_id', true), '')::uuid"),
            nullable=False,
        ),
        sa.Column("creator_name", sa.Text(), nullable=False),
        sa.Column("template_version_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("strategy_type", sa.Text(), nullable=False),
        sa.Column("risk_level", sa.Text(), nullable=False),
        sa.Column("hosting", sa.Text(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=False),
        sa.Column("minimum_allocation", sa.Numeric(precision=24, scale=8), nullable=False),
        sa.Column("parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("image", sa.Text(), nullable=True),
        sa.Column("shared_bot_id", sa.Uuid(), nullable=True),
        sa.Column("subscribers_count", sa.Integer(), server_default="0", nullable=False),
        sa.Column("published_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["creator_tenant_id", "id"],
            ["bot_templates.tenant_id", "bot_templates.id"],
            name="fk_marketplace_listings_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_marketplace_listings")),
    )
    op.create_index(
        "ix_marketplace_listings_browse", "marketplace_listings", ["strategy_type", "risk_level"], unique=False
    )
    op.create_index("ix_marketplace_listings_creator", "marketplace_listings", ["creator_tenant_id"], unique=False)
    op.create_table(
        "template_versions",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "tenant_id",
            sa.Uuid(),
            server_default=sa.text("nullif(current_setting('app.tenant_id', true), '')::uuid"),
            nullable=False,
        ),
        sa.Column("template_id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("parameters", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("image", sa.Text(), nullable=True),
        sa.Column("config_sealed", sa.LargeBinary(), nullable=False),
        sa.Column("config_key_version", sa.Integer(), nullable=False),
        sa.Column("config_suite", sa.SmallInteger(), nullable=False),
        sa.Column("config_fields", postgresql.ARRAY(sa.Text()), nullable=False),
        sa.Column("config_digest", sa.Text(), nullable=False),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.ForeignKeyConstraint(
            ["tenant_id", "template_id"],
            ["bot_templates.tenant_id", "bot_templates.id"],
            name="fk_template_versions_template_id",
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_template_versions_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_template_versions")),
        sa.UniqueConstraint("tenant_id", "id", name="uq_template_versions_tenant"),
        sa.UniqueConstraint("tenant_id", "template_id", "version", name="uq_template_versions_version"),
    )
    op.create_index(
        "ix_template_versions_parameters", "template_versions", ["parameters"], unique=False, postgresql_using="gin"
    )
    op.create_table(
        "bots",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "tenant_id",
            sa.Uuid(),
            server_default=sa.text("nullif(current_setting('app.tenant_id', true), '')::uuid"),
            nullable=False,
        ),
        sa.Column("bot_type", sa.Text(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("api_url", sa.Text(), nullable=True),
        sa.Column("image", sa.Text(), nullable=True),
        sa.Column("template_tenant_id", sa.Uuid(), nullable=True),
        sa.Column("template_version_id", sa.Uuid(), nullable=True),
        sa.Column("desired", sa.Text(), server_default="stopped", nullable=False),
        sa.Column("generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("ping_requested_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("deleted_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("status", sa.Text(), server_default="inactive", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("reason_detail", sa.Text(), nullable=True),
        sa.Column("status_since", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("observed_generation", sa.Integer(), server_default="-1", nullable=False),
        sa.Column("exposed_host_port", sa.Integer(), nullable=True),
        sa.Column("attempt", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_retry_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("bot_type in ('external', 'shared', 'platform')", name=op.f("ck_bots_bot_type_known")),
        sa.CheckConstraint("desired in ('running', 'stopped')", name=op.f("ck_bots_desired_known")),
        sa.CheckConstraint(
            "status in ('inactive', 'starting', 'running', 'stopping', 'error', 'connected')",
            name=op.f("ck_bots_status_known"),
        ),
        sa.ForeignKeyConstraint(
            ["template_tenant_id", "template_version_id"],
            ["template_versions.tenant_id", "template_versions.id"],
            name="fk_bots_template_version_id",
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_bots_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bots")),
        sa.UniqueConstraint("tenant_id", "id", name="uq_bots_tenant"),
    )
    op.create_index("ix_bots_tenant_status", "bots", ["tenant_id", "status"], unique=False)
    op.create_index("ix_bots_tenant_template_version_id", "bots", ["tenant_id", "template_version_id"], unique=False)
    op.create_index(
        "uq_bots_tenant_api_url",
        "bots",
        ["tenant_id", "api_url"],
        unique=True,
        postgresql_where=sa.text("bot_type = 'external' and deleted_at is null"),
    )
    op.create_table(
        "bot_events",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "tenant_id",
            sa.Uuid(),
            server_default=sa.text("nullif(current_setting('app.tenant_id', true), '')::uuid"),
            nullable=False,
        ),
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("from_status", sa.Text(), nullable=True),
        sa.Column("to_status", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("cause in ('person', 'key', 'agent', 'system')", name=op.f("ck_bot_events_cause_known")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "bot_id"], ["bots.tenant_id", "bots.id"], name="fk_bot_events_bot_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_bot_events_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bot_events")),
    )
    op.create_index("ix_bot_events_tenant_bot_id_id", "bot_events", ["tenant_id", "bot_id", "id"], unique=False)
    op.create_index("ix_bot_events_tenant_id", "bot_events", ["tenant_id", "id"], unique=False)
    op.create_table(
        "bot_health",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "tenant_id",
            sa.Uuid(),
            server_default=sa.text("nullif(current_setting('app.tenant_id', true), '')::uuid"),
            nullable=False,
        ),
        sa.Column("state", sa.Text(), server_default="unknown", nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("observed_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("healthy_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("latency_ms", sa.Double(), nullable=True),
        sa.Column("credential_ok", sa.Boolean(), nullable=True),
        sa.Column("trading_state", sa.Text(), nullable=True),
        sa.Column("loop_age_s", sa.Double(), nullable=True),
        sa.Column("simulated", sa.Boolean(), nullable=True),
        sa.Column("version", sa.Text(), nullable=True),
        sa.Column("identity", sa.Text(), nullable=True),
        sa.Column("observed_generation", sa.Integer(), server_default="-1", nullable=False),
        sa.Column("next_poll_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("lease_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("engine_lost_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "state in ('unknown', 'healthy', 'unhealthy', 'stale')", name=op.f("ck_bot_health_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "id"], ["bots.tenant_id", "bots.id"], name="fk_bot_health_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_bot_health_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bot_health")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_index("ix_bot_health_tenant_id", "bot_health", ["tenant_id", "id"], unique=True)
    op.create_table(
        "bot_instances",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "tenant_id",
            sa.Uuid(),
            server_default=sa.text("nullif(current_setting('app.tenant_id', true), '')::uuid"),
            nullable=False,
        ),
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("runtime", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="creating", nullable=False),
        sa.Column("container_id", sa.Text(), nullable=True),
        sa.Column("image", sa.Text(), nullable=False),
        sa.Column("image_id", sa.Text(), nullable=True),
        sa.Column("host_port", sa.Integer(), nullable=True),
        sa.Column("exit_code", sa.Integer(), nullable=True),
        sa.Column("oom_killed", sa.Boolean(), nullable=True),
        sa.Column("last_lines", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("started_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("finished_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("released_at", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(
            "state in ('creating', 'running', 'exited', 'removed')", name=op.f("ck_bot_instances_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "bot_id"], ["bots.tenant_id", "bots.id"], name="fk_bot_instances_bot_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_bot_instances_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bot_instances")),
    )
    op.create_index("ix_bot_instances_tenant_bot_id_id", "bot_instances", ["tenant_id", "bot_id", "id"], unique=False)
    op.create_index(
        "uq_bot_instances_host_port",
        "bot_instances",
        ["host_port"],
        unique=True,
        postgresql_where=sa.text("released_at is null and host_port is not null"),
    )
    op.create_index(
        "uq_bot_instances_live",
        "bot_instances",
        ["tenant_id", "bot_id"],
        unique=True,
        postgresql_where=sa.text("released_at is null"),
    )
    op.create_table(
        "bot_secrets",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "tenant_id",
            sa.Uuid(),
            server_default=sa.text("nullif(current_setting('app.tenant_id', true), '')::uuid"),
            nullable=False,
        ),
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("suite", sa.SmallInteger(), nullable=False),
        sa.Column("last4", sa.Text(), nullable=True),
        sa.Column("created_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("updated_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind in ('credentials', 'config')", name=op.f("ck_bot_secrets_kind_known")),
        sa.ForeignKeyConstraint(
            ["tenant_id", "bot_id"], ["bots.tenant_id", "bots.id"], name="fk_bot_secrets_bot_id", ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_bot_secrets_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bot_secrets")),
    )
    op.create_index("ix_bot_secrets_tenant_bot_id_kind", "bot_secrets", ["tenant_id", "bot_id", "kind"], unique=True)


def downgrade() -> None:
    op.drop_table("bot_secrets")
    op.drop_table("bot_instances")
    op.drop_table("bot_health")
    op.drop_table("bot_events")
    op.drop_table("bots")
    op.drop_table("template_versions")
    op.drop_table("marketplace_listings")
    op.drop_table("bot_templates")
