"""A bot's output: the last lines there are, and a stream of what comes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import msgspec
from litestar.response.sse import ServerSentEventMessage
from sqlalchemy import Row, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.database.connection import Binding
from control_plane.database.sessions import Database
from control_plane.live.feeds import Feed, Feeds, LogRow, rows_after
from control_plane.live.schemas import LogLineView, LogsView
from control_plane.live.waiting import quiet_until

StillGood = Callable[[], Awaitable[bool]]

DEFAULT_TAIL: Final = 200
MOST_TAIL: Final = 1000
_ANSWER_S: Final = 2.0

_NEWEST_COPY = text("""
    select id, state, released_at is null as live, last_lines from bot_instances
    where bot_id = :bot order by id desc limit 1
""").columns(last_lines=JSONB)
_TAIL = text("""
    select max(position) from bot_log_lines
    where bot_id = :bot and total_lines <= (
        select max(total_lines) from bot_log_lines where bot_id = :bot) - cast(:tail as bigint)
""")
_READ_TO_ITS_END = text("select true from bot_log_lines where bot_id = :bot and instance_id = :copy and ended limit 1")


async def read_logs(
    feeds: Feeds, database: Database, binding: Binding, bot_id: UUID, tail: int, since: datetime | None
) -> LogsView:
    """The last lines of a bot that we run; within two seconds, or what there is by then."""
    async with database.transaction(binding) as session:
        copy = (await session.execute(_NEWEST_COPY, {"bot": bot_id})).one_or_none()
        if copy is None:
            return LogsView(bot_id, None, None, complete=True, reason=None, position=None, items=[])
        if not copy.live or copy.state != "running":
            return await _kept(session, bot_id, copy, tail, since)
    assert binding.tenant_id is not None  # noqa: S101 - a bot was found, so it is somebody's
    async with feeds.follow(binding.tenant_id, bot_id, "logs") as feed:
        reason = await feed.caught_up(_ANSWER_S)
    async with database.transaction(binding) as session:
        rows = await _tail_rows(session, bot_id, copy.id, tail)
    lines = _chosen(rows, tail, since)
    position = rows[-1].position if rows else None
    return LogsView(bot_id, copy.id, "live", complete=reason is None, reason=reason, position=position, items=lines)


async def _kept(session: AsyncSession, bot_id: UUID, copy: Row[Any], tail: int, since: datetime | None) -> LogsView:
    """What is left of a copy that ended: what was followed to its end, or the last lines that its launcher kept."""
    items: list[LogLineView] = []
    position = None
    if await session.scalar(_READ_TO_ITS_END, {"bot": bot_id, "copy": copy.id}):
        rows = await _tail_rows(session, bot_id, copy.id, tail)
        items, position = _chosen(rows, tail, since), rows[-1].position
    elif since is None:
        items = [LogLineView(None, None, None, line) for line in (copy.last_lines or [])[-tail:]]
    return LogsView(bot_id, copy.id, "kept", complete=True, reason=None, position=position, items=items)


async def _tail_rows(session: AsyncSession, bot_id: UUID, copy: UUID | None, tail: int) -> list[LogRow]:
    after = await session.scalar(_TAIL, {"bot": bot_id, "tail": tail})
    # One line a row at the least, but for those that mark an end or a gap.
    rows = await rows_after(session, bot_id, after or 0, 2 * tail)
    return rows if copy is None else [row for row in rows if row.instance_id == copy]


def _chosen(rows: Sequence[LogRow], tail: int, since: datetime | None) -> list[LogLineView]:
    lines = [view for row in rows for view in _views(row)]
    if since is not None:
        lines = [line for line in lines if line.at is not None and line.at >= since]
    return lines[-tail:]


def _views(row: LogRow, after: int = 0) -> list[LogLineView]:
    return [
        LogLineView(row.first + number, _moment(ns), "stderr" if stream == "e" else "stdout", words)
        for number, (ns, stream, words) in enumerate(row.lines)
        if row.first + number > after
    ]


def _moment(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // 10**9, UTC).replace(microsecond=ns % 10**9 // 1000)


async def log_messages(
    feeds: Feeds,
    database: Database,
    binding: Binding,
    bot_id: UUID,
    *,
    tail: int,
    last_event_id: str | None,
    still_good: StillGood,
) -> AsyncIterator[ServerSentEventMessage]:
    """Server-sent events of a bot's output until the client leaves, from copy to copy.

    ``lines`` with the position as their id, ``dropped`` where some were left out, ``copy`` and ``ended`` around the
    lines of one copy, ``waiting`` with the reason why nothing can come, ``end`` when this process goes away.
    """
    assert binding.tenant_id is not None  # noqa: S101 - the caller has found the bot
    async with feeds.follow(binding.tenant_id, bot_id, "logs") as feed:
        yield ServerSentEventMessage(data=None, comment="following", retry=2000)
        reader = _Reader(_position(last_event_id))
        if reader.seen is None:
            await feed.caught_up(_ANSWER_S)
            async with database.transaction(binding) as session:
                rows = await _tail_rows(session, bot_id, None, tail)
            for message in reader.begin(rows, tail):
                yield message
        checked = told = time.monotonic()
        while not feed.ended:
            pulse = feed.pulse
            sent = False
            for row in await feed.after(reader.seen or 0, binding):
                for message in reader.messages(row):
                    sent = True
                    yield message
            if not sent and (waiting := reader.waiting(feed)) is not None:
                sent = True
                yield waiting
            told = time.monotonic() if sent else told
            if await quiet_until(pulse, told, sent=sent):
                told = time.monotonic()
                yield ServerSentEventMessage(data=None, comment="still here")
            if time.monotonic() - checked >= CHECK_EVERY_S:
                checked = time.monotonic()
                if not await still_good():
                    return
        yield _event("end", {})


CHECK_EVERY_S = 15.0


class _Reader:
    """What one follower has been told."""

    def __init__(self, seen: int | None) -> None:
        self.seen = seen
        self._copy: UUID | None = None
        self._waits_for: str | None = None

    def begin(self, rows: Sequence[LogRow], tail: int) -> list[ServerSentEventMessage]:
        """The last ``tail`` lines for somebody who has just come: what was before them is not missed."""
        lines = sum(len(row.lines) for row in rows)
        messages: list[ServerSentEventMessage] = []
        fresh = True
        for row in rows:
            first = max(0, lines - tail)
            lines -= len(row.lines)
            if first >= len(row.lines) and row.lines:
                continue
            if self.seen is None:
                self.seen = row.first + first - 1 if row.lines else row.position - 1
            messages += self.messages(row, fresh=fresh)
            fresh = False
        self.seen = self.seen or 0
        return messages

    def messages(self, row: LogRow, *, fresh: bool = False) -> list[ServerSentEventMessage]:
        """What a row has to tell to who has seen everything up to a position; ``fresh`` has missed nothing."""
        seen = self.seen or 0
        # Whoever was told that nothing comes is told that it does again.
        found = [_event("reading", {})] if self._waits_for is not None else []
        missing = row.position - max(seen, row.chain - 1) - len(row.lines) - row.ended
        if fresh or not seen:
            pass
        elif seen < row.chain:
            found.append(_event("dropped", {"lines": max(0, missing), "at_least": True}, row.first - 1))
        elif missing > 0:
            found.append(_event("dropped", {"lines": missing, "at_least": False}, row.first - 1))
        if row.instance_id != self._copy:
            self._copy = row.instance_id
            found.append(_event("copy", {"instance_id": row.instance_id}))
        if lines := _views(row, seen):
            found.append(_event("lines", {"instance_id": row.instance_id, "lines": lines}, row.position))
        if row.ended:
            found.append(_event("ended", {"instance_id": row.instance_id}, row.position))
        self.seen = row.position
        self._waits_for = None
        return found

    def waiting(self, feed: Feed) -> ServerSentEventMessage | None:
        """Why nothing comes, once for each reason; None where it may come at any moment."""
        why = feed.answer.waits_for if feed.answer is not None else None
        if why == self._waits_for:
            return None
        self._waits_for = why
        return _event("waiting", {"reason": why}) if why is not None else _event("reading", {})


def _position(last_event_id: str | None) -> int | None:
    """What a follower has seen. What is no position of ours is none, as for somebody who has just come."""
    if last_event_id is None or not last_event_id.isascii() or not last_event_id.isdigit():
        return None
    position = int(last_event_id)
    # Positions run at most a little ahead of the microseconds since 1970.
    return position if 0 < position < (time.time() + 3600) * 1e6 else None


def _event(kind: str, data: dict[str, Any], position: int | None = None) -> ServerSentEventMessage:
    return ServerSentEventMessage(
        data=msgspec.json.encode(data).decode(), event=kind, id=str(position) if position is not None else None
    )
