"""Port leases, exchange-account fences, trade-safe stops"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

_TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "port_leases",
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("proto", sa.Text(), server_default="tcp", nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("state", sa.Text(), server_default="free", nullable=False),
        sa.Column("bot_id", sa.Uuid(), nullable=True),
        sa.Column("instance_id", sa.Uuid(), nullable=True),
        sa.Column("generation", sa.Integer(), server_default="0", nullable=False),
        sa.Column("claimed_at", _TIME, nullable=True),
        sa.Column("released_at", _TIME, nullable=True),
        sa.Column("foreign_until", _TIME, nullable=True),
        sa.CheckConstraint("proto in ('tcp')", name=op.f("ck_port_leases_proto_known")),
        sa.CheckConstraint("state in ('free', 'leased', 'foreign')", name=op.f("ck_port_leases_state_known")),
        sa.PrimaryKeyConstraint("host", "proto", "port", name="pk_port_leases"),
    )
    op.create_index(
        "ix_port_leases_free",
        "port_leases",
        ["host", "proto", "port"],
        unique=False,
        postgresql_where=sa.text("state <> 'leased'"),
    )
    op.create_index("ix_port_leases_bot", "port_leases", ["bot_id"], unique=False)
    op.create_index("ix_port_leases_instance", "port_leases", ["instance_id"], unique=False)
    op.create_table(
        "account_leases",
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        sa.Column("bot_id", sa.Uuid(), nullable=False),
        sa.Column("instance_id", sa.Uuid(), nullable=False),
        sa.Column("claimed_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("fingerprint", name="pk_account_leases"),
        sa.UniqueConstraint("instance_id", name="uq_account_leases_instance"),
    )
    op.create_table(
        "account_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("wrapped_private_key", sa.LargeBinary(), nullable=False),
        sa.Column("kek_id", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_account_keys")),
    )
    op.create_index("uq_account_keys_only", "account_keys", [sa.text("(true)")], unique=True)

    op.add_column("template_versions", sa.Column("account_field", sa.Text(), nullable=True))

    op.add_column("bots", sa.Column("on_stop", sa.Text(), server_default="keep", nullable=False))
    op.create_check_constraint(op.f("ck_bots_on_stop_known"), "bots", "on_stop in ('keep', 'close')")
    op.add_column("bots", sa.Column("forced_generation", sa.Integer(), nullable=True))
    op.add_column("bots", sa.Column("orders_unconfirmed", sa.Boolean(), nullable=True))
    op.add_column("bots", sa.Column("orders_detail", sa.Text(), nullable=True))

    op.add_column("bot_instances", sa.Column("drain_state", sa.Text(), nullable=True))
    op.create_check_constraint(
        op.f("ck_bot_instances_drain_state_known"),
        "bot_instances",
        "drain_state in ('asking', 'asked', 'drained', 'unconfirmed')",
    )
    op.add_column("bot_instances", sa.Column("drain_positions", sa.Text(), nullable=True))
    op.create_check_constraint(
        op.f("ck_bot_instances_drain_positions_known"), "bot_instances", "drain_positions in ('keep', 'close')"
    )
    op.add_column("bot_instances", sa.Column("drain_started_at", _TIME, nullable=True))
    op.add_column("bot_instances", sa.Column("drain_detail", sa.Text(), nullable=True))
    # Which copy has a port is told by its lease. Copies that run hold theirs from now on.
    op.drop_index("uq_bot_instances_host_port", table_name="bot_instances")
    op.execute(
        "insert into port_leases (host, port, state, bot_id, instance_id, generation, claimed_at)"
        " select runtime, host_port, 'leased', bot_id, id, 1, created_at from bot_instances"
        " where released_at is null and host_port is not null"
    )


def downgrade() -> None:
    op.create_index(
        "uq_bot_instances_host_port",
        "bot_instances",
        ["host_port"],
        unique=True,
        postgresql_where=sa.text("released_at is null and host_port is not null"),
    )
    for column in ("drain_detail", "drain_started_at", "drain_positions", "drain_state"):
        op.drop_column("bot_instances", column)
    for column in ("orders_detail", "orders_unconfirmed", "forced_generation", "on_stop"):
        op.drop_column("bots", column)
    op.drop_column("template_versions", "account_field")
    op.drop_table("account_keys")
    op.drop_table("account_leases")
    op.drop_table("port_leases")
