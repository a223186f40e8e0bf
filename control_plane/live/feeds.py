"""What this process reads of followed bots: once, however many follow, and for as long as somebody does.

A follower keeps nothing but its position. What is newest is in a short memory that all share; a follower that is slow
reads on in the database, and what is not there any more is told as left out. So none of them takes room here.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import deque
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any, Final, Literal
from uuid import UUID

import msgspec
import structlog
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.database.connection import Binding
from control_plane.database.sessions import Database
from control_plane.errors import AppError
from control_plane.live.hub import Hub

Kind = Literal["logs", "stats"]

MOST_A_TENANT: Final = 50
"""Followers of logs and figures of one tenant in one process."""
PAGE: Final = 16
_WANTED_S: Final = 15
_RENEW_S: Final = 5.0
_FRESH_S: Final = 8.0
_SHARED_ROWS: Final = 64

# Two processes may ask at once: whoever wants it longer prevails.
_WANT = text("""
    insert into bot_follows (bot_id, kind, wanted_until, asked_at)
    values (:bot, :kind, now() + make_interval(secs => :seconds), clock_timestamp())
    on conflict (tenant_id, bot_id, kind) do update
    set wanted_until = greatest(bot_follows.wanted_until, excluded.wanted_until),
        asked_at = case when :anew then excluded.asked_at else bot_follows.asked_at end
    returning asked_at
""")
_ANSWER = text("""
    select f.served_at, f.problem, f.instance_id, f.sample, f.asked_at,
        extract(epoch from clock_timestamp() - f.served_at)::float8 as age,
        exists (select from agent_beats a where a.kind = 'launcher' and a.beat_at > now() - interval '20 seconds')
            as launcher
    from bot_follows f where f.bot_id = :bot and f.kind = :kind
""").columns(sample=JSONB)
_ROWS = text("""
    select position, first, chain, instance_id, lines, ended from bot_log_lines
    where bot_id = :bot and position > :after order by position limit :limit
""").columns(lines=JSONB)
_NEWEST = text("select coalesce(max(position), 0) from bot_log_lines where bot_id = :bot")


class TooManyFollowersError(AppError):
    """A tenant follows as many bots as it may."""

    status, code, title = 429, "too_many_followers", "Too many follow at once"

    def __init__(self) -> None:
        super().__init__(
            f"this tenant follows {MOST_A_TENANT} streams already: close some first", headers={"Retry-After": "15"}
        )


class LogRow(msgspec.Struct, frozen=True):
    """Lines in a row, as the launcher wrote them down."""

    position: int
    first: int
    chain: int
    instance_id: UUID
    lines: list[tuple[int, str, str]]
    ended: bool


class Answer(msgspec.Struct, frozen=True):
    """How the launcher stands to what is asked for."""

    served_at: datetime | None = None
    problem: str | None = None
    instance_id: UUID | None = None
    sample: dict[str, Any] | None = None
    asked_at: datetime | None = None
    age: float | None = None
    launcher: bool = True

    @property
    def waits_for(self) -> str | None:
        """Why nothing can come just now; None where it can."""
        if self.age is not None and self.age < _FRESH_S:
            return self.problem
        return self.silence

    @property
    def silence(self) -> str:
        """What it means that the launcher has not answered."""
        return "launcher_busy" if self.launcher else "launcher_absent"


class Feed:
    """One bot's newest lines or figures."""

    def __init__(self, database: Database, hub: Hub, tenant_id: UUID, bot_id: UUID, kind: Kind) -> None:
        self._database = database
        self._hub = hub
        self._binding = Binding(tenant_id=tenant_id)
        self._tenant_id = tenant_id
        self._bot_id = bot_id
        self._kind: Kind = kind
        self.followers = 0
        self.answer: Answer | None = None
        #: Two samples in a row, for a rate.
        self.samples: tuple[dict[str, Any], ...] = ()
        self.ended = False
        self._asked_at: datetime | None = None
        self._rows: deque[LogRow] = deque(maxlen=_SHARED_ROWS)
        self._from: int | None = None
        self._newest = 0
        self._pulse = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Ask the launcher, and read what it answers."""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        """Ask no more. The launcher stops by itself when nobody has asked for some seconds."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def pulse(self) -> asyncio.Event:
        """Set once when there is something new; whoever waits takes it before looking."""
        return self._pulse

    async def caught_up(self, seconds: float) -> str | None:
        """None once everything that was there when this feed began is written down; else why it is not in time."""
        until = time.monotonic() + seconds
        while True:
            pulse, answer = self._pulse, self.answer
            served_at, asked_at = answer.served_at if answer is not None else None, self._asked_at
            if answer is not None and served_at is not None and asked_at is not None and served_at >= asked_at:
                return answer.problem if answer.problem != "no_copy" else None
            left = until - time.monotonic()
            if left <= 0 or self.ended:
                return answer.silence if answer is not None else "database_busy"
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await pulse.wait()

    async def after(self, position: int, binding: Binding) -> list[LogRow]:
        """The next rows after ``position``: from memory where it reaches back so far."""
        if self._from is not None and position >= self._from:
            return [row for row in self._rows if row.position > position][:PAGE]
        async with self._database.transaction(binding) as session:
            return await rows_after(session, self._bot_id, position, PAGE)

    async def _run(self) -> None:
        renewed = 0.0
        anew = True
        with self._hub.bell(self._tenant_id, self._bot_id) as bell:
            while True:
                try:
                    async with self._database.transaction(self._binding) as session:
                        if time.monotonic() - renewed >= _RENEW_S:
                            values = {"bot": self._bot_id, "kind": self._kind, "seconds": _WANTED_S, "anew": anew}
                            asked_at = await session.scalar(_WANT, values)
                            self._asked_at = asked_at if anew else self._asked_at
                            renewed, anew = time.monotonic(), False
                    async with self._database.transaction(self._binding) as session:
                        await self._read(session)
                except (DBAPIError, SQLAlchemyError, OSError, TimeoutError) as error:
                    structlog.get_logger(__name__).warning("feed_waits", error=type(error).__name__)
                    await asyncio.sleep(0.5)
                    # What was asked for may be lost with what was not written down.
                    renewed = 0.0
                self._tell()
                await bell.wait(_RENEW_S / 2)
                if bell.ended:
                    self.ended = True
                    self._tell()
                    return

    async def _read(self, session: AsyncSession) -> None:
        row = (await session.execute(_ANSWER, {"bot": self._bot_id, "kind": self._kind})).one_or_none()
        self.answer = Answer(**row._mapping) if row is not None else None  # noqa: SLF001 - the row's public mapping
        if self._kind == "stats":
            sample = self.answer.sample if self.answer is not None else None
            if sample is not None and (not self.samples or self.samples[-1] != sample):
                self.samples = (*self.samples[-1:], sample)
            return
        if self._from is None:
            self._from = self._newest = int(await session.scalar(_NEWEST, {"bot": self._bot_id}) or 0)
        while True:
            found = await rows_after(session, self._bot_id, self._newest, PAGE)
            for item in found:
                if len(self._rows) == self._rows.maxlen:
                    self._from = self._rows[0].position
                self._rows.append(item)
                self._newest = item.position
            if len(found) < PAGE:
                return

    def _tell(self) -> None:
        pulse, self._pulse = self._pulse, asyncio.Event()
        pulse.set()


class Feeds:
    """The feeds of this process: each begins with its first follower and ends with its last."""

    def __init__(self, hub: Hub, database: Database) -> None:
        self._hub = hub
        self._database = database
        self._feeds: dict[tuple[UUID, UUID, Kind], Feed] = {}
        self._counts: dict[UUID, int] = {}

    def require_room(self, tenant_id: UUID) -> None:
        """Raise :class:`TooManyFollowersError` where a tenant has no follower left to add."""
        if self._counts.get(tenant_id, 0) >= MOST_A_TENANT:
            raise TooManyFollowersError

    @property
    def count(self) -> int:
        """How many feeds there are."""
        return len(self._feeds)

    @contextlib.asynccontextmanager
    async def follow(self, tenant_id: UUID, bot_id: UUID, kind: Kind) -> AsyncIterator[Feed]:
        """The feed of one bot for as long as the block lasts."""
        key = (tenant_id, bot_id, kind)
        feed = self._feeds.get(key)
        if feed is None:
            feed = self._feeds[key] = Feed(self._database, self._hub, tenant_id, bot_id, kind)
            feed.start()
        feed.followers += 1
        self._counts[tenant_id] = self._counts.get(tenant_id, 0) + 1
        try:
            yield feed
        finally:
            self._counts[tenant_id] -= 1
            if self._counts[tenant_id] == 0:
                del self._counts[tenant_id]
            feed.followers -= 1
            if feed.followers == 0:
                del self._feeds[key]
                await feed.stop()


async def rows_after(session: AsyncSession, bot_id: UUID, position: int, limit: int) -> list[LogRow]:
    """Rows after ``position``, oldest first."""
    found = await session.execute(_ROWS, {"bot": bot_id, "after": position, "limit": limit})
    return [LogRow(*row) for row in found]
