"""Invitations, suspended and deleted tenants"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_TIME = postgresql.TIMESTAMP(timezone=True)


def upgrade() -> None:
    op.add_column("tenants", sa.Column("suspended_at", _TIME, nullable=True))
    op.add_column("tenants", sa.Column("suspended_by", sa.Text(), nullable=True))
    op.add_column("tenants", sa.Column("suspended_reason", sa.Text(), nullable=True))
    op.create_check_constraint(
        op.f("ck_tenants_suspended_by_known"), "tenants", "suspended_by in ('owner', 'operator')"
    )
    op.create_table(
        "invitations",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column(
            "tenant_id",
            sa.Uuid(),
            server_default=sa.text("nullif(current_setting('app.tenant_id', true), '')::uuid"),
            nullable=False,
        ),
        sa.Column("email", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("token_hash", sa.LargeBinary(), nullable=False),
        sa.Column("invited_by", sa.Uuid(), nullable=False),
        sa.Column("expires_at", _TIME, nullable=False),
        sa.Column("accepted_at", _TIME, nullable=True),
        sa.Column("revoked_at", _TIME, nullable=True),
        sa.Column("created_at", _TIME, server_default=sa.text("now()"), nullable=False),
        sa.CheckConstraint("role in ('owner', 'admin', 'trader', 'viewer')", name=op.f("ck_invitations_role_known")),
        sa.ForeignKeyConstraint(
            ["invited_by"], ["users.id"], name=op.f("fk_invitations_invited_by_users"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["tenant_id"], ["tenants.id"], name=op.f("fk_invitations_tenant_id_tenants"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_invitations")),
        sa.UniqueConstraint("token_hash", name=op.f("uq_invitations_token_hash")),
    )
    op.create_index(
        "uq_invitations_open",
        "invitations",
        ["tenant_id", sa.literal_column("lower(email)")],
        unique=True,
        postgresql_where=sa.text("accepted_at is null and revoked_at is null"),
    )
    op.create_index("ix_invitations_tenant_id", "invitations", ["tenant_id", "id"], unique=False)
    op.create_index("ix_invitations_invited_by", "invitations", ["invited_by"], unique=False)
    op.add_column(
        "marketplace_listings", sa.Column("suspended", sa.Boolean(), server_default=sa.text("false"), nullable=False)
    )
    # A key that was destroyed stays so, whoever wraps keys anew at the same moment.
    op.create_check_constraint(
        op.f("ck_tenant_keys_destroyed_is_gone"), "tenant_keys", "destroyed_at is null or wrapped_private_key is null"
    )


def downgrade() -> None:
    op.drop_constraint(op.f("ck_tenant_keys_destroyed_is_gone"), "tenant_keys", type_="check")
    op.drop_column("marketplace_listings", "suspended")
    op.drop_table("invitations")
    op.drop_constraint(op.f("ck_tenants_suspended_by_known"), "tenants", type_="check")
    op.drop_column("tenants", "suspended_reason")
    op.drop_column("tenants", "suspended_by")
    op.drop_column("tenants", "suspended_at")
