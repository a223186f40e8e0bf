"""History of health, and rollups of performance"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

_AT = postgresql.TIMESTAMP(timezone=True)
_STATES = "in ('unknown', 'healthy', 'unhealthy', 'stale')"
_MONEY = sa.Numeric(24, 8)
_UNIT = sa.Numeric(24, 12)
_SHARE = sa.Numeric(9, 8)


def _of_bot(table: str, *key: str) -> list[sa.Constraint]:
    return [
        sa.ForeignKeyConstraint(
            ["tenant_id", "bot_id"], ["bots.tenant_id", "bots.id"], name=f"fk_{table}_bot_id", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("tenant_id", "bot_id", *key, name=f"pk_{table}"),
    ]


def _rollup(table: str, *more: sa.Column[object]) -> None:
    op.create_table(
        table,
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("bucket", _AT, nullable=False),
        sa.Column("readings", sa.Integer(), nullable=False),
        sa.Column("first_at", _AT, nullable=False),
        sa.Column("last_at", _AT, nullable=False),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("simulated", sa.Boolean(), nullable=True),
        *(
            sa.Column(name, _MONEY, nullable=True)
            for name in ("equity_first", "equity_last", "equity_min", "equity_max")
        ),
        *(sa.Column(name, _MONEY, nullable=True) for name in ("capital_base", "realized_profit", "open_profit")),
        sa.Column("closed_trades", sa.Integer(), nullable=True),
        *(sa.Column(name, _UNIT, nullable=True) for name in ("unit_first", "unit_last", "unit_min", "unit_max")),
        sa.Column("unit_at", _AT, nullable=True),
        sa.Column("unit_drawdown", _SHARE, nullable=True),
        sa.Column("latency_count", sa.Integer(), nullable=False),
        sa.Column("latency_sum", sa.Double(), nullable=False),
        sa.Column("latency_max", sa.Double(), nullable=True),
        sa.Column("latency_bins", postgresql.ARRAY(sa.SmallInteger()), nullable=False),
        sa.Column("latency_counts", postgresql.ARRAY(sa.Integer()), nullable=False),
        *more,
        *_of_bot(table, "bucket"),
        postgresql_partition_by="RANGE (bucket)",
    )


def upgrade() -> None:
    op.create_table(
        "bot_health_changes",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("at", _AT, nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("trading_state", sa.Text(), nullable=True),
        sa.Column("created_at", _AT, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint(f"state {_STATES}", name=op.f("ck_bot_health_changes_state_known")),
        *_of_bot("bot_health_changes", "at"),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_table(
        "bot_health_daily",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("bucket", _AT, nullable=False),
        *(sa.Column(f"{state}_s", sa.Double(), nullable=False) for state in ("healthy", "unhealthy", "stale")),
        sa.Column("changes", sa.Integer(), nullable=False),
        sa.Column("last_state", sa.Text(), nullable=False),
        sa.Column("last_reason", sa.Text(), nullable=True),
        sa.Column("last_trading_state", sa.Text(), nullable=True),
        sa.CheckConstraint(f"last_state {_STATES}", name=op.f("ck_bot_health_daily_last_state_known")),
        *_of_bot("bot_health_daily", "bucket"),
        postgresql_partition_by="RANGE (bucket)",
    )
    _rollup("performance_hourly")
    _rollup(
        "performance_daily",
        sa.Column("peak_so_far", _UNIT, nullable=True),
        sa.Column("drawdown_so_far", _SHARE, nullable=True),
    )
    op.create_table(
        "rollup_pending",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("bucket", _AT, nullable=False),
        sa.CheckConstraint("kind in ('performance', 'health')", name=op.f("ck_rollup_pending_kind_known")),
        *_of_bot("rollup_pending", "kind", "bucket"),
    )
    op.create_table(
        "rollup_progress",
        sa.Column("id", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("seen_until", _AT, nullable=False),
        sa.Column("ready_until", _AT, nullable=False),
        sa.CheckConstraint("id = 1", name=op.f("ck_rollup_progress_only_one")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_rollup_progress")),
    )
    op.execute("insert into rollup_progress (id, seen_until, ready_until) values (1, '-infinity', '-infinity')")
    op.add_column("performance_snapshots", sa.Column("latency_ms", sa.Double(), nullable=True))
    # What arrived since the last pass is found by it; rows are appended in this order, so it is a few pages large.
    for table in ("performance_snapshots", "bot_health_changes"):
        op.create_index(f"ix_{table}_created_at", table, ["created_at"], postgresql_using="brin")
    op.add_column("marketplace_listings", sa.Column("score", _UNIT, nullable=True))
    op.create_index(
        "ix_marketplace_listings_score", "marketplace_listings", [sa.text("score DESC NULLS LAST"), sa.text("id DESC")]
    )


def downgrade() -> None:
    op.drop_index("ix_marketplace_listings_score", table_name="marketplace_listings")
    op.drop_column("marketplace_listings", "score")
    op.drop_index("ix_performance_snapshots_created_at", table_name="performance_snapshots")
    op.drop_column("performance_snapshots", "latency_ms")
    for table in (
        "rollup_progress",
        "rollup_pending",
        "performance_daily",
        "performance_hourly",
        "bot_health_daily",
        "bot_health_changes",
    ):
        op.drop_table(table)
