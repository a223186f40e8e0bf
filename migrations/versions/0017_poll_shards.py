"""Shards of bots, which pollers share by leases"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "poll_shards",
        sa.Column("shard", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=True),
        sa.Column("epoch", sa.BigInteger(), server_default="0", nullable=False),
        sa.Column("lease_until", postgresql.TIMESTAMP(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("shard", name=op.f("pk_poll_shards")),
        postgresql_with={"fillfactor": "50"},
    )
    # Who is looked at when is no longer written down.
    op.drop_column("bot_health", "lease_until")
    op.drop_column("bot_health", "next_poll_at")
    op.execute("alter table bot_health set (fillfactor = 20)")
    op.execute("insert into poll_shards (shard) select generate_series(0, 255)")


def downgrade() -> None:
    op.execute("alter table bot_health set (fillfactor = 50)")
    op.add_column(
        "bot_health",
        sa.Column("next_poll_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.add_column("bot_health", sa.Column("lease_until", postgresql.TIMESTAMP(timezone=True), nullable=True))
    op.drop_table("poll_shards")
