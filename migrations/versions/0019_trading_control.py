"""Steering of bots' trading, and bots that are one process"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

_TENANT = sa.text("nullif(current_setting('app.tenant_id', true), '')::uuid")
_TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "bot_trading",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), server_default=_TENANT, nullable=False),
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("wanted", sa.Text(), nullable=False),
        sa.Column("asked", sa.Integer(), server_default="1", nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=True),
        sa.Column("requested_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("tried_at", _TIME, nullable=True),
        sa.Column("confirmed_at", _TIME, nullable=True),
        sa.Column("problem", sa.Text(), nullable=True),
        sa.Column("problem_detail", sa.Text(), nullable=True),
        sa.Column("created_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("wanted in ('running', 'stopped', 'paused')", name=op.f("ck_bot_trading_wanted_known")),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_bot_trading_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "bot_id"], ["bots.tenant_id", "bots.id"], name="fk_bot_trading_bot_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_bot_trading")),
    )
    op.create_index("ix_bot_trading_tenant_bot_id", "bot_trading", ["tenant_id", "bot_id"], unique=True)
    op.create_index(
        "ix_bot_trading_tenant_requested_at",
        "bot_trading",
        ["tenant_id", "requested_at"],
        unique=False,
        postgresql_where=sa.text("confirmed_at is null and problem is null"),
    )
    # Who else is this process. What is indexed changes with the process and not with a look at it, so that rewriting
    # a row at each look stays a HOT update.
    op.create_index(
        "ix_bot_health_tenant_identity",
        "bot_health",
        ["tenant_id", "identity"],
        unique=False,
        postgresql_where=sa.text("identity is not null"),
    )


def downgrade() -> None:
    op.drop_index("ix_bot_health_tenant_identity", table_name="bot_health")
    op.drop_table("bot_trading")
