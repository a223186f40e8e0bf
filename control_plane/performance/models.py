"""Snapshots: append-only, partitioned by month. Null is unknown, never zero."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import Boolean, Numeric, PrimaryKeyConstraint, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.bots.models import HEALTH_STATES
from control_plane.database.base import Money, Table, Timestamp, UnitValue, one_of, tenant_reference


class PerformanceSnapshot(Table):
    """One full reading of a bot's figures.

    ``unit_value`` is the bot's time-weighted index at that moment, 1 at its first figure: deposits and withdrawals
    (changes of ``capital_base``) do not move it, profit does.
    """

    __tablename__ = "performance_snapshots"
    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "bot_id", "observed_at", name="pk_performance_snapshots"),
        tenant_reference("performance_snapshots", "bot_id", "bots"),
        {"postgresql_partition_by": "RANGE (observed_at)"},
    )

    tenant_id: Mapped[UUID]
    bot_id: Mapped[UUID]
    observed_at: Mapped[datetime] = mapped_column(Timestamp)
    currency: Mapped[str | None] = mapped_column(Text)
    simulated: Mapped[bool | None] = mapped_column(Boolean)
    equity: Mapped[Decimal | None] = mapped_column(Money)
    capital_base: Mapped[Decimal | None] = mapped_column(Money)
    realized_profit: Mapped[Decimal | None] = mapped_column(Money)
    open_profit: Mapped[Decimal | None] = mapped_column(Money)
    win_rate: Mapped[Decimal | None] = mapped_column(Numeric(9, 8))
    max_drawdown: Mapped[Decimal | None] = mapped_column(Numeric(9, 8))
    closed_trades: Mapped[int | None]
    open_positions: Mapped[int | None]
    unit_value: Mapped[Decimal | None] = mapped_column(UnitValue)
    #: Milliseconds of the liveness call of the same check.
    latency_ms: Mapped[float | None]
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))


class BotHealthChange(Table):
    """From when a bot's health, its reason or its trading state was what it says here, until the bot's next row.

    ``unknown`` is a gap: nobody looked, so nothing may be drawn through it.
    """

    __tablename__ = "bot_health_changes"
    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "bot_id", "at", name="pk_bot_health_changes"),
        one_of("state", HEALTH_STATES),
        tenant_reference("bot_health_changes", "bot_id", "bots"),
    )

    tenant_id: Mapped[UUID]
    bot_id: Mapped[UUID]
    at: Mapped[datetime] = mapped_column(Timestamp)
    state: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    trading_state: Mapped[str | None] = mapped_column(Text)
