"""Incidents know which bots they met, when they were told last, what to say, and how many their end is told of"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "alert_incidents",
        sa.Column("met_ids", postgresql.ARRAY(sa.Uuid()), server_default=sa.text("'{}'"), nullable=False),
    )
    op.add_column(
        "alert_incidents",
        sa.Column("told_at", postgresql.TIMESTAMP(timezone=True), server_default=sa.text("now()"), nullable=False),
    )
    op.add_column("alert_incidents", sa.Column("bots_over", sa.Integer(), nullable=True))
    op.add_column("alert_incidents", sa.Column("detail", sa.Text(), nullable=True))
    op.create_index(
        "ix_alert_messages_incident",
        "alert_messages",
        ["tenant_id", "incident_id", "channel_id"],
        unique=False,
        postgresql_where=sa.text("incident_id is not null"),
    )
    # Who has left an incident that is open now is not known any more: those who are in it are.
    op.execute("alter table alert_incidents no force row level security")
    op.execute("update alert_incidents set told_at = greatest(opened_at, since), met_ids = bot_ids")
    op.execute("alter table alert_incidents force row level security")


def downgrade() -> None:
    op.drop_index("ix_alert_messages_incident", table_name="alert_messages")
    op.drop_column("alert_incidents", "detail")
    op.drop_column("alert_incidents", "bots_over")
    op.drop_column("alert_incidents", "told_at")
    op.drop_column("alert_incidents", "met_ids")
