"""Narrower API keys, rotation with overlap"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("api_keys", sa.Column("bot_ids", postgresql.ARRAY(sa.Uuid()), nullable=True))
    op.add_column("api_keys", sa.Column("allowed_addresses", postgresql.ARRAY(postgresql.CIDR()), nullable=True))
    op.add_column("api_keys", sa.Column("last_used_from", postgresql.INET(), nullable=True))
    op.add_column("api_keys", sa.Column("replaced_by", sa.Uuid(), nullable=True))
    op.add_column("api_keys", sa.Column("made_with", sa.Uuid(), nullable=True))
    op.create_unique_constraint("uq_api_keys_tenant", "api_keys", ["tenant_id", "id"])
    op.create_foreign_key(
        "fk_api_keys_replaced_by",
        "api_keys",
        "api_keys",
        ["tenant_id", "replaced_by"],
        ["tenant_id", "id"],
        ondelete="SET NULL (replaced_by)",
    )
    op.create_foreign_key(
        "fk_api_keys_made_with",
        "api_keys",
        "api_keys",
        ["tenant_id", "made_with"],
        ["tenant_id", "id"],
        ondelete="CASCADE",
    )
    op.create_index("ix_api_keys_tenant_replaced_by", "api_keys", ["tenant_id", "replaced_by"], unique=False)
    op.create_index("ix_api_keys_tenant_made_with", "api_keys", ["tenant_id", "made_with"], unique=False)


def downgrade() -> None:
    # The program before this one knows no restriction: a key that has one must not become one that has none.
    op.execute(
        "update api_keys set revoked_at = coalesce(revoked_at, now())"
        " where bot_ids is not null or allowed_addresses is not null"
    )
    op.drop_index("ix_api_keys_tenant_made_with", table_name="api_keys")
    op.drop_index("ix_api_keys_tenant_replaced_by", table_name="api_keys")
    op.drop_constraint("fk_api_keys_made_with", "api_keys", type_="foreignkey")
    op.drop_constraint("fk_api_keys_replaced_by", "api_keys", type_="foreignkey")
    op.drop_constraint("uq_api_keys_tenant", "api_keys", type_="unique")
    for column in ("made_with", "replaced_by", "last_used_from", "allowed_addresses", "bot_ids"):
        op.drop_column("api_keys", column)
