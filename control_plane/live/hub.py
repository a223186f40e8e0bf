"""Fans notifications out to the followers of each tenant: bounded queues, and a resync after every gap."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Collection, Iterator
from types import TracebackType
from typing import Literal, Self
from uuid import UUID

import msgspec
import structlog
from uuid_utils.compat import uuid7

from control_plane.database.listener import Listener

_QUEUE_LENGTH = 256
_CHANGES, _LIVE = "tradewise_observed", "tradewise_live"
_log = structlog.get_logger(__name__)


class Change(msgspec.Struct, frozen=True):
    """Something of a tenant changed: read it to know what.

    Kind ``resync`` means: read everything again. Kind ``end``: no more will come, this process is going away.
    """

    kind: str
    id: UUID | None
    #: Where a follower goes on after it: a UUIDv7, of which only the time counts. One for all followers.
    position: UUID | None = None


class _Notice(msgspec.Struct, frozen=True):
    tenant: UUID
    kind: Literal["bot", "subscription"]
    id: UUID


class _LiveNotice(msgspec.Struct, frozen=True):
    tenant: UUID
    bot: UUID


RESYNC = Change("resync", None)
END = Change("end", None)


class Bell:
    """Rung when there is something new about one bot to be read. Rings count; a missed one is not lost."""

    def __init__(self) -> None:
        self.ended = False
        self._rung = asyncio.Event()

    def ring(self) -> None:
        """Something is there."""
        self._rung.set()

    async def wait(self, seconds: float) -> bool:
        """Until it has rung since the last time; False where it has not within ``seconds``."""
        try:
            async with asyncio.timeout(seconds):
                await self._rung.wait()
        except TimeoutError:
            return False
        self._rung.clear()
        return True


class Hub:
    """One LISTEN connection, many followers. A follower that is too slow loses single changes and gets a resync."""

    def __init__(self, url: str) -> None:
        self._followers: defaultdict[UUID, dict[asyncio.Queue[Change], frozenset[UUID] | None]] = defaultdict(dict)
        self._bells: defaultdict[tuple[UUID, UUID], set[Bell]] = defaultdict(set)
        self._listener = Listener(
            url, (_CHANGES, _LIVE), self._receive, self._resync, application_name="tradewise-api-listen"
        )
        self._task: asyncio.Task[None] | None = None
        self._ended = False

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._listener.run())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task

    def _receive(self, channel: str, payload: str) -> None:
        try:
            if channel == _LIVE:
                there = msgspec.json.decode(payload, type=_LiveNotice)
                for bell in self._bells.get((there.tenant, there.bot), ()):
                    bell.ring()
                return
            said = msgspec.json.decode(payload, type=_Notice)
        except msgspec.MsgspecError:
            # Any role that may connect may notify; only the triggers of policies/ speak this language.
            _log.warning("strange_notification")
            return
        change: Change | None = None
        for queue, bots in self._followers.get(said.tenant, {}).items():
            if bots is None or (said.kind == "bot" and said.id in bots):
                change = change or Change(said.kind, said.id, uuid7())
                _offer(queue, change)

    def _resync(self) -> None:
        # What the connection before this one would have heard may have been committed some time ago: where a follower
        # stands stays where it was.
        self._tell_all(RESYNC)

    def end(self) -> None:
        """Tell every follower to leave, so that open streams do not hold up the end of the process."""
        self._ended = True
        self._tell_all(END)

    def _tell_all(self, change: Change) -> None:
        for queues in self._followers.values():
            for queue in queues:
                _offer(queue, change)
        for bells in self._bells.values():
            for bell in bells:
                bell.ended = self._ended
                bell.ring()

    @contextlib.asynccontextmanager
    async def follow(
        self, tenant_id: UUID, bots: Collection[UUID] | None = None
    ) -> AsyncIterator[asyncio.Queue[Change]]:
        """A queue of this tenant's changes for as long as the block lasts; with ``bots``, of those bots alone."""
        queue: asyncio.Queue[Change] = asyncio.Queue(_QUEUE_LENGTH)
        self._followers[tenant_id][queue] = frozenset(bots) if bots is not None else None
        if self._ended:
            _offer(queue, END)
        try:
            yield queue
        finally:
            del self._followers[tenant_id][queue]
            if not self._followers[tenant_id]:
                del self._followers[tenant_id]

    @contextlib.contextmanager
    def bell(self, tenant_id: UUID, bot_id: UUID) -> Iterator[Bell]:
        """A bell that rings for what the launcher has written down about one bot."""
        bell, key = Bell(), (tenant_id, bot_id)
        bell.ended = self._ended
        self._bells[key].add(bell)
        try:
            yield bell
        finally:
            self._bells[key].discard(bell)
            if not self._bells[key]:
                del self._bells[key]


async def next_change(queue: asyncio.Queue[Change], seconds: float) -> Change | None:
    """The next change; None where none comes within ``seconds``."""
    try:
        async with asyncio.timeout(seconds):
            return await queue.get()
    except TimeoutError:
        return None


def _offer(queue: asyncio.Queue[Change], change: Change) -> None:
    try:
        queue.put_nowait(change)
    except asyncio.QueueFull:
        while not queue.empty():
            queue.get_nowait()
        queue.put_nowait(END if change is END else RESYNC)
