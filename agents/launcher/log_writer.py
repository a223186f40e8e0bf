"""Numbers a bot's lines and writes them down in handfuls. What is left out has numbers as well, so that it is told."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Final
from uuid import UUID

import asyncpg

from agents.launcher import live_queries
from agents.launcher.live_queries import Cursor, Followed, Row
from agents.launcher.runtimes.base import LogLine

LONGEST_SHOWN: Final = 4000
_ROW_LINES: Final = 200
_ROW_BYTES: Final = 64 * 1024
_TRIM_EVERY: Final = 16


class Gap:
    """What comes before a line and is not there: so many lines, or so many at least."""

    __slots__ = ("broken", "lines")

    def __init__(self) -> None:
        self.lines = 0
        self.broken = False

    def __bool__(self) -> bool:
        return self.broken or self.lines > 0


class LogWriter:
    """Goes on where the last one left off, by what is in the database."""

    def __init__(self, pool: asyncpg.Pool, what: Followed, cursor: Cursor) -> None:
        self._pool = pool
        self._what = what
        self.cursor = cursor
        self._writes = 0

    async def write(self, instance_id: UUID, items: Sequence[tuple[str, LogLine, Gap | None]], after: Gap) -> None:
        """Write cleaned lines, each with what was left out before it; ``after`` is left out after the last."""
        rows: list[Row] = []
        lines: list[tuple[int, str, str]] = []
        size = 0
        first = self.cursor.position + 1

        def end_row() -> None:
            nonlocal lines, size
            self._advance(len(lines), size)
            rows.append(self._row(instance_id, first, lines))
            lines, size = [], 0

        for text, line, gap in items:
            if lines and (gap or len(lines) >= _ROW_LINES or size >= _ROW_BYTES):
                end_row()
            if gap:
                self._skip(gap)
            if not lines:
                first = self.cursor.position + 1
            shown = text[:LONGEST_SHOWN]
            lines.append((line.ns, "e" if line.stream == "stderr" else "o", shown))
            size += len(shown)
            self.cursor.read_ns = max(line.ns, self.cursor.read_ns or 0)
        if lines:
            end_row()
        if after:
            self._skip(after)
            rows.append(self._row(instance_id, self.cursor.position + 1, ()))
        if rows:
            await self._write(rows)

    async def begin(self, instance_id: UUID, *, broken: bool) -> None:
        """Another copy's lines follow."""
        self.cursor.instance_id, self.cursor.ended, self.cursor.read_ns = instance_id, False, None
        if broken or self.cursor.position == 0:
            self._break()

    async def end(self, instance_id: UUID, *, broken: bool) -> None:
        """The copy has ended, and this is all of it; where it is not, ``broken``."""
        if broken:
            self._break()
        self.cursor.position += 1
        self.cursor.ended, self.cursor.instance_id = True, instance_id
        await self._write([self._row(instance_id, self.cursor.position, ())])

    def _skip(self, gap: Gap) -> None:
        if gap.broken:
            self._break()
        self.cursor.position += gap.lines
        gap.lines, gap.broken = 0, False

    def _break(self) -> None:
        """Numbers that no reader has seen: microseconds since 1970 run ahead of any count of lines."""
        self.cursor.chain = max(time.time_ns() // 1000, self.cursor.position + 1)
        self.cursor.position = self.cursor.chain - 1

    def _advance(self, lines: int, size: int) -> None:
        self.cursor.position += lines
        self.cursor.total_lines += lines
        self.cursor.total_bytes += size

    def _row(self, instance_id: UUID, first: int, lines: Sequence[tuple[int, str, str]]) -> Row:
        return Row(
            first=first,
            position=self.cursor.position,
            chain=self.cursor.chain,
            instance_id=instance_id,
            lines=tuple(lines),
            read_ns=self.cursor.read_ns,
            total_lines=self.cursor.total_lines,
            total_bytes=self.cursor.total_bytes,
            ended=self.cursor.ended,
        )

    async def _write(self, rows: Sequence[Row]) -> None:
        self._writes += 1
        await live_queries.write(self._pool, self._what, rows, trim=self._writes % _TRIM_EVERY == 0)
