"""Progress of key rotations, and how sealed values are found by the version of their key"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_NOW = sa.text("now()")
_TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "key_rotations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), server_default="running", nullable=False),
        sa.Column("with_tenants", sa.Boolean(), server_default="true", nullable=False),
        sa.Column("with_platform", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("only_tenant", sa.Uuid(), nullable=True),
        sa.Column("total", sa.Integer(), nullable=True),
        sa.Column("done", sa.Integer(), server_default="0", nullable=False),
        sa.Column("failed", sa.Integer(), server_default="0", nullable=False),
        sa.Column("requested_by", sa.Text(), nullable=False),
        sa.Column("started_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("beat_at", _TIME, nullable=True),
        sa.Column("finished_at", _TIME, nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint("kind in ('wraps', 'pairs')", name=op.f("ck_key_rotations_kind_known")),
        sa.CheckConstraint("state in ('running', 'stopped', 'done')", name=op.f("ck_key_rotations_state_known")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_key_rotations")),
    )
    op.create_index(
        "uq_key_rotations_running",
        "key_rotations",
        ["kind"],
        unique=True,
        postgresql_where=sa.text("state = 'running'"),
    )
    op.create_table(
        "key_rotation_failures",
        sa.Column("rotation_id", sa.Uuid(), nullable=False),
        sa.Column("relation", sa.Text(), nullable=False),
        sa.Column("row_id", sa.Uuid(), nullable=False),
        sa.Column("of_tenant", sa.Uuid(), nullable=True),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("lost", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["rotation_id"],
            ["key_rotations.id"],
            name=op.f("fk_key_rotation_failures_rotation_id_key_rotations"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("rotation_id", "relation", "row_id", name=op.f("pk_key_rotation_failures")),
    )
    op.create_index("ix_bot_secrets_tenant_key_version", "bot_secrets", ["tenant_id", "key_version"], unique=False)
    op.create_index(
        "ix_template_versions_tenant_config_key_version",
        "template_versions",
        ["tenant_id", "config_key_version"],
        unique=False,
    )
    op.create_index("ix_mails_key_version", "mails", ["key_version"], unique=False)


def downgrade() -> None:
    op.drop_index("ix_mails_key_version", table_name="mails")
    op.drop_index("ix_template_versions_tenant_config_key_version", table_name="template_versions")
    op.drop_index("ix_bot_secrets_tenant_key_version", table_name="bot_secrets")
    op.drop_table("key_rotation_failures")
    op.drop_index("uq_key_rotations_running", table_name="key_rotations", postgresql_where=sa.text("state = 'running'"))
    op.drop_table("key_rotations")
