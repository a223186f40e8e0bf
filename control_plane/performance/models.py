"""Snapshots: append-only, partitioned by month. Null is unknown, never zero."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from uuid import UUID

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    Double,
    Index,
    Integer,
    Numeric,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.bots.models import HEALTH_STATES
from control_plane.database.base import Money, Table, Timestamp, UnitValue, one_of, tenant_reference

#: What waits to be rolled up.
ROLLUP_KINDS = ("performance", "health")
#: A share of one, such as a drawdown.
Share = Numeric(9, 8)


class PerformanceSnapshot(Table):
    """One full reading of a bot's figures.

    ``unit_value`` is the bot's time-weighted index at that moment, 1 at its first figure: deposits and withdrawals
    (changes of ``capital_base``) do not move it, profit does.
    """

    __tablename__ = "performance_snapshots"
    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "bot_id", "observed_at", name="pk_performance_snapshots"),
        tenant_reference("performance_snapshots", "bot_id", "bots"),
        # What arrived since the last rollup is found by it. Rows are appended in this order: it is a few pages large.
        Index("ix_performance_snapshots_created_at", "created_at", postgresql_using="brin"),
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
        Index("ix_bot_health_changes_created_at", "created_at", postgresql_using="brin"),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    tenant_id: Mapped[UUID]
    bot_id: Mapped[UUID]
    at: Mapped[datetime] = mapped_column(Timestamp)
    state: Mapped[str] = mapped_column(Text)
    reason: Mapped[str | None] = mapped_column(Text)
    trading_state: Mapped[str | None] = mapped_column(Text)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))


class BotHealthDaily(Table):
    """One day (UTC) in which a bot's health changed: how long it was what, and what it was at the day's end.

    Of a day without a row nothing changed: it was all day what it was at the end of the newest row before. What is
    missing to the day's length was ``unknown``.
    """

    __tablename__ = "bot_health_daily"
    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "bot_id", "bucket", name="pk_bot_health_daily"),
        one_of("last_state", HEALTH_STATES),
        tenant_reference("bot_health_daily", "bot_id", "bots"),
        {"postgresql_partition_by": "RANGE (bucket)"},
    )

    tenant_id: Mapped[UUID]
    bot_id: Mapped[UUID]
    bucket: Mapped[datetime] = mapped_column(Timestamp)
    healthy_s: Mapped[float] = mapped_column(Double)
    unhealthy_s: Mapped[float] = mapped_column(Double)
    stale_s: Mapped[float] = mapped_column(Double)
    changes: Mapped[int]
    last_state: Mapped[str] = mapped_column(Text)
    last_reason: Mapped[str | None] = mapped_column(Text)
    last_trading_state: Mapped[str | None] = mapped_column(Text)


class _Rollup:
    """What is kept of a bot's readings in one bucket. Amounts are those of ``currency``, the newest one in it.

    Equity, capital base and profits are the last *known* ones, null where none was. ``unit_drawdown`` is the worst
    fall below an earlier high within the bucket; together with ``unit_min`` and ``unit_max`` it composes with that of
    other buckets (control_plane/performance/drawdown.py). ``latency_bins`` and ``latency_counts`` are a histogram
    (control_plane/performance/latency.py).
    """

    tenant_id: Mapped[UUID]
    bot_id: Mapped[UUID]
    bucket: Mapped[datetime] = mapped_column(Timestamp)
    readings: Mapped[int]
    first_at: Mapped[datetime] = mapped_column(Timestamp)
    last_at: Mapped[datetime] = mapped_column(Timestamp)
    currency: Mapped[str | None] = mapped_column(Text)
    simulated: Mapped[bool | None] = mapped_column(Boolean)
    equity_first: Mapped[Decimal | None] = mapped_column(Money)
    equity_last: Mapped[Decimal | None] = mapped_column(Money)
    equity_min: Mapped[Decimal | None] = mapped_column(Money)
    equity_max: Mapped[Decimal | None] = mapped_column(Money)
    capital_base: Mapped[Decimal | None] = mapped_column(Money)
    realized_profit: Mapped[Decimal | None] = mapped_column(Money)
    open_profit: Mapped[Decimal | None] = mapped_column(Money)
    closed_trades: Mapped[int | None]
    unit_first: Mapped[Decimal | None] = mapped_column(UnitValue)
    unit_last: Mapped[Decimal | None] = mapped_column(UnitValue)
    unit_min: Mapped[Decimal | None] = mapped_column(UnitValue)
    unit_max: Mapped[Decimal | None] = mapped_column(UnitValue)
    #: When ``unit_last`` was read.
    unit_at: Mapped[datetime | None] = mapped_column(Timestamp)
    unit_drawdown: Mapped[Decimal | None] = mapped_column(Share)
    #: The newest reading that was simulated, and the newest that was not; of days, of all days up to each.
    simulated_at: Mapped[datetime | None] = mapped_column(Timestamp)
    live_at: Mapped[datetime | None] = mapped_column(Timestamp)
    latency_count: Mapped[int]
    latency_sum: Mapped[float] = mapped_column(Double)
    latency_max: Mapped[float | None] = mapped_column(Double)
    latency_bins: Mapped[list[int]] = mapped_column(ARRAY(SmallInteger))
    latency_counts: Mapped[list[int]] = mapped_column(ARRAY(Integer))


class PerformanceHourly(_Rollup, Table):
    """An hour of a bot's readings."""

    __tablename__ = "performance_hourly"
    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "bot_id", "bucket", name="pk_performance_hourly"),
        tenant_reference("performance_hourly", "bot_id", "bots"),
        {"postgresql_partition_by": "RANGE (bucket)"},
    )


class PerformanceDaily(_Rollup, Table):
    """A day (UTC) of a bot's readings, with the high and the worst drawdown of all days up to its end."""

    __tablename__ = "performance_daily"
    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "bot_id", "bucket", name="pk_performance_daily"),
        tenant_reference("performance_daily", "bot_id", "bots"),
        {"postgresql_partition_by": "RANGE (bucket)"},
    )

    peak_so_far: Mapped[Decimal | None] = mapped_column(UnitValue)
    drawdown_so_far: Mapped[Decimal | None] = mapped_column(Share)


class RollupPending(Table):
    """A bucket into which rows came that its rollup does not hold yet."""

    __tablename__ = "rollup_pending"
    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "bot_id", "kind", "bucket", name="pk_rollup_pending"),
        one_of("kind", ROLLUP_KINDS),
        tenant_reference("rollup_pending", "bot_id", "bots"),
    )

    tenant_id: Mapped[UUID]
    bot_id: Mapped[UUID]
    kind: Mapped[str] = mapped_column(Text)
    bucket: Mapped[datetime] = mapped_column(Timestamp)


class RollupProgress(Table):
    """How far rollups have come, by the time at which rows arrived: one row, whose holder is the one that builds."""

    __tablename__ = "rollup_progress"
    __table_args__ = (CheckConstraint("id = 1", name="only_one"),)

    id: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    #: Rows that arrived until then have been told to ``rollup_pending``.
    seen_until: Mapped[datetime] = mapped_column(Timestamp)
    #: Rows that arrived until then are in rollups: reads take what is younger from the rows themselves.
    ready_until: Mapped[datetime] = mapped_column(Timestamp)
