"""Bots of other families as containers"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("bot_instances", sa.Column("ready_state", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("bot_instances", "ready_state")
