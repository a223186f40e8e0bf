"""Search by parameters, an index for every foreign key, reports across tenants"""

from __future__ import annotations

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Deleting what a foreign key points at looks for its rows: without these, through the whole table.
    op.create_index("ix_api_keys_created_by", "api_keys", ["created_by"], unique=False)
    op.create_index("ix_bots_template", "bots", ["template_tenant_id", "template_version_id"], unique=False)
    op.create_index("ix_subscriptions_user", "subscriptions", ["user_id"], unique=False)
    op.create_index(
        "ix_subscriptions_version", "subscriptions", ["creator_tenant_id", "template_version_id"], unique=False
    )
    op.create_index("ix_subscriptions_bot", "subscriptions", ["bot_tenant_id", "bot_id"], unique=False)
    op.drop_index("ix_marketplace_listings_creator", table_name="marketplace_listings")
    op.create_index(
        "ix_marketplace_listings_creator", "marketplace_listings", ["creator_tenant_id", "id"], unique=False
    )
    # Row-level security keeps this one from ever being used; a tenant's own templates are found by their tenant.
    op.drop_index("ix_template_versions_parameters", table_name="template_versions")
    op.create_index(
        "ix_marketplace_listings_parameters",
        "marketplace_listings",
        ["parameters"],
        unique=False,
        postgresql_using="gin",
        postgresql_ops={"parameters": "jsonb_path_ops"},
    )
    op.execute("alter table schema_snapshot add column id uuid primary key default gen_random_uuid()")


def downgrade() -> None:
    op.drop_column("schema_snapshot", "id")
    op.drop_index("ix_marketplace_listings_parameters", table_name="marketplace_listings")
    op.create_index(
        "ix_template_versions_parameters", "template_versions", ["parameters"], unique=False, postgresql_using="gin"
    )
    op.drop_index("ix_marketplace_listings_creator", table_name="marketplace_listings")
    op.create_index("ix_marketplace_listings_creator", "marketplace_listings", ["creator_tenant_id"], unique=False)
    op.drop_index("ix_subscriptions_bot", table_name="subscriptions")
    op.drop_index("ix_subscriptions_version", table_name="subscriptions")
    op.drop_index("ix_subscriptions_user", table_name="subscriptions")
    op.drop_index("ix_bots_template", table_name="bots")
    op.drop_index("ix_api_keys_created_by", table_name="api_keys")
