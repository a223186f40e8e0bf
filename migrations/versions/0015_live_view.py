"""Logs and resource figures of hosted bots"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

_TENANT = sa.text("nullif(current_setting('app.tenant_id', true), '')::uuid")
_TIME = postgresql.TIMESTAMP(timezone=True)


def _bot_key(table: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(
        ["tenant_id", "bot_id"], ["bots.tenant_id", "bots.id"], name=f"fk_{table}_bot_id", ondelete="CASCADE"
    )


def _tenant_key(table: str) -> sa.ForeignKeyConstraint:
    name = f"fk_{table}_tenant_id_tenants"
    return sa.ForeignKeyConstraint(["tenant_id"], ["tenants.id"], name=op.f(name), ondelete="CASCADE")


def upgrade() -> None:
    op.create_table(
        "bot_follows",
        sa.Column("tenant_id", sa.Uuid(), server_default=_TENANT, nullable=False),
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("wanted_until", _TIME, nullable=False),
        sa.Column("asked_at", _TIME, nullable=False),
        sa.Column("served_at", _TIME, nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("instance_id", sa.Uuid(), nullable=True),
        sa.Column("sample", postgresql.JSONB(), nullable=True),
        sa.Column("created_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("kind in ('logs', 'stats')", name=op.f("ck_bot_follows_kind_known")),
        _tenant_key("bot_follows"),
        _bot_key("bot_follows"),
        sa.PrimaryKeyConstraint("tenant_id", "bot_id", "kind", name="pk_bot_follows"),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_index("ix_bot_follows_wanted_until", "bot_follows", ["wanted_until"], unique=False)
    op.create_table(
        "bot_log_lines",
        sa.Column("tenant_id", sa.Uuid(), server_default=_TENANT, nullable=False),
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("position", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("first", sa.BigInteger(), nullable=False),
        sa.Column("chain", sa.BigInteger(), nullable=False),
        sa.Column("instance_id", sa.Uuid(), nullable=False),
        sa.Column("lines", postgresql.JSONB(), nullable=False),
        sa.Column("read_ns", sa.BigInteger(), nullable=True),
        sa.Column("total_lines", sa.BigInteger(), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), nullable=False),
        sa.Column("ended", sa.Boolean(), server_default=sa.text("false"), nullable=False),
        sa.Column("created_at", _TIME, server_default=sa.text("now()"), nullable=False),
        _tenant_key("bot_log_lines"),
        _bot_key("bot_log_lines"),
        sa.PrimaryKeyConstraint("tenant_id", "bot_id", "position", name="pk_bot_log_lines"),
        prefixes=["UNLOGGED"],
    )
    op.create_index("ix_bot_log_lines_created_at", "bot_log_lines", ["created_at"], unique=False)
    op.create_table(
        "bot_stats",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("observed_at", _TIME, nullable=False),
        sa.Column("instance_id", sa.Uuid(), nullable=False),
        sa.Column("cpu_seconds", sa.Float(), nullable=True),
        sa.Column("memory_bytes", sa.BigInteger(), nullable=True),
        sa.Column("memory_limit_bytes", sa.BigInteger(), nullable=True),
        sa.Column("received_bytes", sa.BigInteger(), nullable=True),
        sa.Column("sent_bytes", sa.BigInteger(), nullable=True),
        sa.Column("processes", sa.Integer(), nullable=True),
        _bot_key("bot_stats"),
        sa.PrimaryKeyConstraint("tenant_id", "bot_id", "observed_at", name="pk_bot_stats"),
        postgresql_partition_by="RANGE (observed_at)",
    )
    op.add_column("bot_instances", sa.Column("resource_curve", postgresql.JSONB(), nullable=True))


def downgrade() -> None:
    op.drop_column("bot_instances", "resource_curve")
    op.drop_table("bot_stats")
    op.drop_index("ix_bot_log_lines_created_at", table_name="bot_log_lines")
    op.drop_table("bot_log_lines")
    op.drop_index("ix_bot_follows_wanted_until", table_name="bot_follows")
    op.drop_table("bot_follows")
