"""Wishes about trading know which bot they meant"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("bot_trading", sa.Column("generation", sa.Integer(), nullable=True))


def downgrade() -> None:
    op.drop_column("bot_trading", "generation")
