"""Steering of bots' trading"""

from __future__ import annotations

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Filled in by its slice."""


def downgrade() -> None:
    """Filled in by its slice."""
