"""Alerts, and the channels that they go out by"""

from __future__ import annotations

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Filled in by its slice."""


def downgrade() -> None:
    """Filled in by its slice."""
