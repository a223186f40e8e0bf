"""Codes by mail, what is known of failed sign-ins"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_NOW = sa.text("now()")
_TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.create_table(
        "verification_codes",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("purpose", sa.Text(), nullable=False),
        sa.Column("address", sa.LargeBinary(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("code_hash", sa.LargeBinary(), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("used_at", _TIME, nullable=True),
        sa.Column("attempts", sa.Integer(), server_default="0", nullable=False),
        sa.Column("created_at", _TIME, server_default=_NOW, nullable=False),
        sa.CheckConstraint(
            "purpose in ('verify_email', 'reset_password')", name=op.f("ck_verification_codes_purpose_known")
        ),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name=op.f("fk_verification_codes_user_id_users"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verification_codes")),
        sa.UniqueConstraint("purpose", "address", name="uq_verification_codes_address"),
    )
    op.create_index("ix_verification_codes_user", "verification_codes", ["user_id"], unique=False)
    op.create_index("ix_verification_codes_expires", "verification_codes", ["expires_at"], unique=False)
    op.create_table(
        "sign_in_failures",
        sa.Column("account", sa.LargeBinary(), nullable=False),
        sa.Column("network", sa.LargeBinary(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("pending", sa.Integer(), server_default="0", nullable=False),
        sa.Column("pending_until", _TIME, server_default=_NOW, nullable=False),
        sa.Column("locked_until", _TIME, server_default=_NOW, nullable=False),
        sa.Column("last_at", _TIME, server_default=_NOW, nullable=False),
        sa.PrimaryKeyConstraint("account", "network", name=op.f("pk_sign_in_failures")),
    )
    op.create_index("ix_sign_in_failures_last", "sign_in_failures", ["last_at"], unique=False)


def downgrade() -> None:
    op.drop_table("sign_in_failures")
    op.drop_table("verification_codes")
