"""Bot families"""

from __future__ import annotations

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Filled in by its slice."""


def downgrade() -> None:
    """Filled in by its slice."""
