"""The audit log: chained per tenant, partitioned by month"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_TIME = postgresql.TIMESTAMP(timezone=True)
_EMPTY = sa.text("'{}'::jsonb")


def _told() -> list[sa.Column[object]]:
    """What is told of an event, before it is linked and after."""
    return [
        sa.Column("actor_kind", sa.Text(), nullable=False),
        sa.Column("actor_id", sa.Text(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("address", postgresql.INET(), nullable=True),
        sa.Column("request_id", sa.Uuid(), nullable=True),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("resource", sa.Text(), nullable=True),
        sa.Column("resource_id", sa.Uuid(), nullable=True),
        sa.Column("outcome", sa.Text(), nullable=False),
    ]


def _signed() -> list[sa.Column[object]]:
    """A place in a chain, with a signature."""
    return [
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("signature", sa.LargeBinary(), nullable=False),
    ]


def upgrade() -> None:
    op.create_table(
        "audit_events",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        *_told(),
        sa.Column("changes", postgresql.JSONB(), nullable=False),
        sa.Column("detail", postgresql.JSONB(), nullable=False),
        sa.Column("prev_hash", sa.LargeBinary(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.CheckConstraint(
            "actor_kind in ('user', 'key', 'agent', 'role')", name=op.f("ck_audit_events_actor_kind_known")
        ),
        sa.CheckConstraint("outcome in ('success', 'failure', 'denied')", name=op.f("ck_audit_events_outcome_known")),
        sa.PrimaryKeyConstraint("tenant_id", "seq", "at", name="pk_audit_events"),
        postgresql_partition_by="RANGE (at)",
    )
    for columns in (["resource", "resource_id", "seq"], ["actor_kind", "actor_id", "seq"], ["action", "seq"]):
        name = f"ix_audit_events_tenant_{'_'.join(columns)}"
        op.create_index(name, "audit_events", ["tenant_id", *columns], unique=False)
    op.create_table(
        "audit_pending",
        sa.Column("xact", sa.BigInteger(), nullable=False),
        sa.Column("n", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        *_told(),
        sa.Column("changes", postgresql.JSONB(), server_default=_EMPTY, nullable=False),
        sa.Column("detail", postgresql.JSONB(), server_default=_EMPTY, nullable=False),
        sa.PrimaryKeyConstraint("xact", "n", name="pk_audit_pending"),
        prefixes=["UNLOGGED"],
        postgresql_with={
            "autovacuum_vacuum_scale_factor": "0",
            "autovacuum_vacuum_threshold": "1000",
            "autovacuum_analyze_threshold": "2000000000",
        },
    )
    op.create_table(
        "audit_chains",
        sa.Column("tenant_id", sa.Uuid(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("tenant_id", name=op.f("pk_audit_chains")),
        postgresql_with={"fillfactor": "50"},
    )
    op.create_table(
        "audit_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("suite", sa.SmallInteger(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped_private_key", sa.LargeBinary(), nullable=True),
        sa.Column("kek_id", sa.Text(), nullable=False),
        sa.Column("created_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_audit_keys")),
        sa.UniqueConstraint("version", name="uq_audit_keys_version"),
    )
    op.create_table(
        "audit_checkpoints",
        *_signed(),
        sa.PrimaryKeyConstraint("tenant_id", "seq", "at", name="pk_audit_checkpoints"),
        postgresql_partition_by="RANGE (at)",
    )
    op.create_table("audit_anchors", *_signed(), sa.PrimaryKeyConstraint("tenant_id", "seq", name="pk_audit_anchors"))


def downgrade() -> None:
    for table in ("audit_anchors", "audit_checkpoints", "audit_keys", "audit_chains", "audit_pending", "audit_events"):
        op.drop_table(table)
