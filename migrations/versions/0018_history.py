"""History of health, and rollups of performance"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "bot_health_changes",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("at", postgresql.TIMESTAMP(timezone=True), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("trading_state", sa.Text(), nullable=True),
        sa.CheckConstraint(
            "state in ('unknown', 'healthy', 'unhealthy', 'stale')", name=op.f("ck_bot_health_changes_state_known")
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id", "bot_id"],
            ["bots.tenant_id", "bots.id"],
            name="fk_bot_health_changes_bot_id",
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("tenant_id", "bot_id", "at", name="pk_bot_health_changes"),
    )
    op.add_column("performance_snapshots", sa.Column("latency_ms", sa.Double(), nullable=True))


def downgrade() -> None:
    op.drop_column("performance_snapshots", "latency_ms")
    op.drop_table("bot_health_changes")
