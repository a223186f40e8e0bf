"""Bot families with a public configuration, several bots of one of which may live behind one address"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_INDEX = "uq_bots_tenant_api_url"
_WATCHED = sa.text("bot_type = 'external' and deleted_at is null")


def upgrade() -> None:
    op.add_column("bots", sa.Column("engine_config", postgresql.JSONB(), nullable=True))
    op.add_column("bots", sa.Column("api_part", sa.Text(), server_default="", nullable=False))
    op.drop_index(_INDEX, table_name="bots")
    op.create_index(_INDEX, "bots", ["tenant_id", "api_url", "api_part"], unique=True, postgresql_where=_WATCHED)


def downgrade() -> None:
    # The program before knows one bot an address, and none of the families that have several.
    op.execute("alter table bots no force row level security")
    op.execute("update bots set deleted_at = now() where deleted_at is null and api_part <> ''")
    op.execute("alter table bots force row level security")
    op.drop_index(_INDEX, table_name="bots")
    op.create_index(_INDEX, "bots", ["tenant_id", "api_url"], unique=True, postgresql_where=_WATCHED)
    op.drop_column("bots", "api_part")
    op.drop_column("bots", "engine_config")
