"""The platform's own key pair, mails to be sent, limits of attempts, people without an address"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_NOW = sa.text("now()")
_TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "platform_keys",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("suite", sa.SmallInteger(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("wrapped_private_key", sa.LargeBinary(), nullable=True),
        sa.Column("kek_id", sa.Text(), nullable=False),
        sa.Column("destroyed_at", _TIME, nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_platform_keys")),
        sa.UniqueConstraint("version", name="uq_platform_keys_version"),
    )
    op.create_table(
        "mails",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("sealed", sa.LargeBinary(), nullable=True),
        sa.Column("key_version", sa.Integer(), nullable=False),
        sa.Column("suite", sa.SmallInteger(), nullable=False),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("next_attempt_at", _TIME, server_default=_NOW, nullable=False),
        sa.Column("sent_at", _TIME, nullable=True),
        sa.Column("failed_at", _TIME, nullable=True),
        sa.Column("error", sa.Text(), nullable=True),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mails")),
    )
    op.create_index(
        "ix_mails_due",
        "mails",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("sent_at is null and failed_at is null"),
    )
    op.create_table(
        "attempt_limits",
        sa.Column("rule", sa.Text(), nullable=False),
        sa.Column("subject", sa.LargeBinary(), nullable=False),
        sa.Column("full_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("rule", "subject", name=op.f("pk_attempt_limits")),
    )
    op.create_index("ix_attempt_limits_full", "attempt_limits", ["full_at"], unique=False)
    op.alter_column("users", "email", nullable=True)
    op.alter_column("users", "password_hash", nullable=True)
    op.add_column("users", sa.Column("email_verified_at", _TIME, nullable=True))


def downgrade() -> None:
    op.drop_column("users", "email_verified_at")
    # No policy shows a row to anyone while a migration runs, the owner included.
    op.execute("alter table users no force row level security")
    op.execute("update users set email = id::text || '@removed.invalid' where email is null")
    op.execute("update users set password_hash = '' where password_hash is null")
    op.execute("alter table users force row level security")
    op.alter_column("users", "password_hash", nullable=False)
    op.alter_column("users", "email", nullable=False)
    op.drop_table("attempt_limits")
    op.drop_table("mails")
    op.drop_table("platform_keys")
