"""Lifecycle of hosted bots: crash policy, restart budget, crash capsules"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

_TIME = postgresql.TIMESTAMP(timezone=True)

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("bots", sa.Column("crash_policy", sa.Text(), server_default="on_failure", nullable=False))
    op.add_column("bots", sa.Column("wished_by", sa.Text(), nullable=True))
    op.add_column(
        "bots",
        sa.Column("restarts", postgresql.ARRAY(_TIME), server_default=sa.text("'{}'::timestamptz[]"), nullable=False),
    )
    op.create_check_constraint(
        op.f("ck_bots_crash_policy_known"), "bots", "crash_policy in ('never', 'on_failure', 'always')"
    )
    op.create_check_constraint(
        op.f("ck_bots_status_of_its_kind"),
        "bots",
        "case bot_type when 'external' then status in ('inactive', 'connected', 'error')"
        " else status <> 'connected' end",
    )
    op.add_column("bot_instances", sa.Column("attempt", sa.Integer(), server_default="0", nullable=False))
    op.add_column("bot_instances", sa.Column("end_reason", sa.Text(), nullable=True))
    op.add_column("bot_instances", sa.Column("end_detail", sa.Text(), nullable=True))
    op.add_column(
        "bot_instances",
        sa.Column("lease_until", _TIME, server_default=sa.text("now() + interval '60 seconds'"), nullable=False),
    )


def downgrade() -> None:
    for column in ("lease_until", "end_detail", "end_reason", "attempt"):
        op.drop_column("bot_instances", column)
    op.drop_constraint(op.f("ck_bots_status_of_its_kind"), "bots", type_="check")
    op.drop_constraint(op.f("ck_bots_crash_policy_known"), "bots", type_="check")
    for column in ("restarts", "wished_by", "crash_policy"):
        op.drop_column("bots", column)
