"""What is watched live, and for a while afterwards: who follows which bot, its newest lines, its use of resources."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import BigInteger, Boolean, Index, Integer, PrimaryKeyConstraint, Text, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.database.base import Table, TenantOwned, Timestamp, one_of, tenant_reference

FOLLOW_KINDS: Final = ("logs", "stats")


class BotFollow(TenantOwned, Table):
    """Somebody watches a bot: the API asks for it and renews, the launcher answers. One row, however many watch."""

    __tablename__ = "bot_follows"
    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "bot_id", "kind", name="pk_bot_follows"),
        one_of("kind", FOLLOW_KINDS),
        tenant_reference("bot_follows", "bot_id", "bots"),
        Index("ix_bot_follows_wanted_until", "wanted_until"),
        {"postgresql_with": {"fillfactor": "50"}},
    )

    bot_id: Mapped[UUID]
    kind: Mapped[str] = mapped_column(Text)
    # written by the API
    wanted_until: Mapped[datetime] = mapped_column(Timestamp)
    asked_at: Mapped[datetime] = mapped_column(Timestamp)
    # written by the launcher
    #: When what it had read was last all written down; None while it has not begun.
    served_at: Mapped[datetime | None] = mapped_column(Timestamp)
    #: Why there is nothing to be had just now; None while there is.
    problem: Mapped[str | None] = mapped_column(Text)
    instance_id: Mapped[UUID | None]
    #: The newest figures, for those who follow them.
    sample: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))


class BotLogLines(TenantOwned, Table):
    """A few lines of a bot's output in a row, without its secrets, kept for minutes. Unlogged: the engine has them too.

    Lines are numbered through a bot's copies; ``position`` is the number of the last one here. Numbers that no line has
    are of lines that were left out. Where ``chain`` is newer than a reader's position, nobody knows how many those are.
    """

    __tablename__ = "bot_log_lines"
    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "bot_id", "position", name="pk_bot_log_lines"),
        tenant_reference("bot_log_lines", "bot_id", "bots"),
        Index("ix_bot_log_lines_created_at", "created_at"),
        {"prefixes": ["UNLOGGED"]},
    )

    bot_id: Mapped[UUID]
    position: Mapped[int] = mapped_column(BigInteger)
    first: Mapped[int] = mapped_column(BigInteger)
    chain: Mapped[int] = mapped_column(BigInteger)
    instance_id: Mapped[UUID]
    #: ``[nanoseconds since 1970, "o" or "e" for the stream, text]`` each.
    lines: Mapped[list[Any]] = mapped_column(JSONB)
    #: Where reading goes on: the engine's time of the last line that was read, whether it was kept or left out.
    read_ns: Mapped[int | None] = mapped_column(BigInteger)
    #: How many lines and bytes were written before this row's end, for keeping a bounded number of them.
    total_lines: Mapped[int] = mapped_column(BigInteger)
    total_bytes: Mapped[int] = mapped_column(BigInteger)
    #: The copy has ended, and everything it wrote has been read: such a row holds no line.
    ended: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    created_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))


class BotStat(Table):
    """What a copy used at a moment. Counters count from the copy's start; null is unknown. Partitioned by day."""

    __tablename__ = "bot_stats"
    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "bot_id", "observed_at", name="pk_bot_stats"),
        tenant_reference("bot_stats", "bot_id", "bots"),
        {"postgresql_partition_by": "RANGE (observed_at)"},
    )

    tenant_id: Mapped[UUID]
    bot_id: Mapped[UUID]
    observed_at: Mapped[datetime] = mapped_column(Timestamp)
    instance_id: Mapped[UUID]
    cpu_seconds: Mapped[float | None]
    memory_bytes: Mapped[int | None] = mapped_column(BigInteger)
    memory_limit_bytes: Mapped[int | None] = mapped_column(BigInteger)
    received_bytes: Mapped[int | None] = mapped_column(BigInteger)
    sent_bytes: Mapped[int | None] = mapped_column(BigInteger)
    processes: Mapped[int | None] = mapped_column(Integer)
