"""Wishes about trading know which bot they meant, and what it was asked before them"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("bot_trading", sa.Column("generation", sa.Integer(), nullable=True))
    op.add_column("bot_trading", sa.Column("unsettled_at", postgresql.TIMESTAMP(timezone=True), nullable=True))


def downgrade() -> None:
    op.drop_column("bot_trading", "unsettled_at")
    op.drop_column("bot_trading", "generation")
