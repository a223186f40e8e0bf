"""What is told of a bot's output and its use of resources. Null is unknown, never zero."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import msgspec


class LogLineView(msgspec.Struct, frozen=True):
    """One line, without the bot's secrets. Kept last lines of a copy that ended have neither place nor time."""

    position: int | None
    at: datetime | None
    stream: str | None
    text: str


class LogsView(msgspec.Struct, frozen=True):
    """The last lines of the newest copy, oldest first.

    ``source`` is ``live`` for a copy that runs, ``kept`` for one that ended. ``complete`` is false where the newest
    lines could not be had in time; ``reason`` then tells why. ``position`` is where following goes on.
    """

    bot_id: UUID
    instance_id: UUID | None
    source: str | None
    complete: bool
    reason: str | None
    position: int | None
    items: list[LogLineView]


class FiguresView(msgspec.Struct, frozen=True, kw_only=True):
    """What one copy used at a moment, and its rates since the figures before. Bytes, bytes a second, whole cores."""

    at: datetime
    instance_id: UUID
    cpu_cores: float | None
    memory_bytes: int | None
    memory_limit_bytes: int | None
    receive_rate: float | None
    send_rate: float | None
    received_bytes: int | None
    sent_bytes: int | None
    processes: int | None


class StatsView(msgspec.Struct, frozen=True):
    """A bot's use of resources over time, oldest first, at most 500 points.

    In a point of several samples, memory and processes are the most there were. ``restarts`` counts the copies that
    began in this time and were not the bot's first.
    """

    interval: str
    restarts: int
    points: list[FiguresView]
