"""Until when a bot's figures were simulated and until when live; amounts that hold whatever units may become worth"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None

_AMOUNTS = (("subscriptions", "cash"), ("subscription_ledger", "amount"))
_COLUMNS = ("simulated_at", "live_at")
# Days are never built anew once their readings are gone. Hours are only looked at while they are young.
_SO_FAR = """
    update performance_daily d set simulated_at = c.simulated_at, live_at = c.live_at
    from (
        select tenant_id, bot_id, bucket,
            max(last_at) filter (where simulated) over w as simulated_at,
            max(last_at) filter (where not simulated) over w as live_at
        from performance_daily window w as (partition by tenant_id, bot_id order by bucket)
    ) c
    where d.tenant_id = c.tenant_id and d.bot_id = c.bot_id and d.bucket = c.bucket
"""


def upgrade() -> None:
    for table in ("performance_hourly", "performance_daily"):
        for name in _COLUMNS:
            op.add_column(table, sa.Column(name, sa.DateTime(timezone=True), nullable=True))
    op.execute("alter table performance_daily no force row level security")
    op.execute(_SO_FAR)
    op.execute("alter table performance_daily force row level security")
    for table, name in _AMOUNTS:
        op.alter_column(table, name, type_=sa.Numeric(38, 8), existing_type=sa.Numeric(24, 8))


def downgrade() -> None:
    for table, name in _AMOUNTS:
        op.alter_column(table, name, type_=sa.Numeric(24, 8), existing_type=sa.Numeric(38, 8))
    for table in ("performance_hourly", "performance_daily"):
        for name in _COLUMNS:
            op.drop_column(table, name)
