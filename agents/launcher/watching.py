"""Shows bots' output to whoever asks for it: one stream a bot from the engine, however many follow it.

A follower's process renews a row; while there is one, the bot's output is read, cleaned and written down in handfuls,
each of which tells all followers. Where the stream goes on is in the database with the lines: a launcher that was
killed is followed by one that reads on from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any, Final
from uuid import UUID

import asyncpg
import structlog

from agents.launcher import handover, live_queries, queries
from agents.launcher.handover import SecretUnreadable
from agents.launcher.live_queries import Copy, Followed
from agents.launcher.log_writer import Gap, LogWriter
from agents.launcher.redaction import Redactor
from agents.launcher.runtimes.base import EngineUnreachable, LogChunk, LogLine, Pace, Runtime, RuntimeFault
from control_plane.database.away import DATABASE_AWAY
from control_plane.security.vault import Vault

#: What is read of what a copy wrote before anybody followed it.
TAIL: Final = 1000
MOST_STREAMS: Final = 32
"""Bots whose output is read at once: each is a thread and a connection."""
_BACKLOG: Final = Pace(lines=TAIL, size=1024 * 1024)
_PACE: Final = Pace()
#: Texts that may be looked for in a quarter of a megabyte a second; with more, less is read.
_USUAL_WEIGHT: Final = 200
_HELD_S: Final = 1.0
_AGAIN_S: Final = 1.0
_END_KNOWN_S: Final = 15.0
#: Of a copy that was gone before it was read, the launcher has kept so many lines at most.
_KEPT_LINES: Final = 50


class Watching:
    """The streams of the bots that are followed now."""

    def __init__(self, pool: asyncpg.Pool, vault: Vault, runtime: Runtime) -> None:
        self._pool = pool
        self._vault = vault
        self._runtime = runtime
        self._streams: dict[UUID, tuple[asyncio.Task[None], LogStream]] = {}

    async def keep(self, followed: list[Followed]) -> None:
        """Read the output of these bots from now on, and of no other."""
        wanted = {item.bot_id: item for item in followed}
        for bot_id, (task, _) in list(self._streams.items()):
            if bot_id not in wanted:
                task.cancel()
        gone = [bot_id for bot_id, (task, _) in self._streams.items() if bot_id not in wanted or task.done()]
        for bot_id in gone:
            task, _ = self._streams.pop(bot_id)
            [failure] = await asyncio.gather(task, return_exceptions=True)
            if isinstance(failure, Exception):
                raise failure
        for bot_id, item in wanted.items():
            if bot_id in self._streams:
                continue
            if len(self._streams) >= MOST_STREAMS:
                await live_queries.answer(self._pool, item, problem="too_many_followed", instance_id=None)
                continue
            stream = LogStream(self._pool, self._vault, self._runtime, item)
            self._streams[bot_id] = (asyncio.create_task(stream.run()), stream)
        if served := [bot_id for bot_id, (_, stream) in self._streams.items() if stream.serving]:
            await live_queries.still_served(self._pool, served)

    def wake(self, bot_id: UUID | None) -> None:
        """Something began: look at once."""
        for identity, (_, stream) in self._streams.items():
            if bot_id is None or identity == bot_id:
                stream.wake.set()

    async def close(self) -> None:
        """End every stream."""
        for task, _ in self._streams.values():
            task.cancel()
        await asyncio.gather(*(task for task, _ in self._streams.values()), return_exceptions=True)
        self._streams.clear()


class LogStream:
    """One bot's output, from copy to copy."""

    def __init__(self, pool: asyncpg.Pool, vault: Vault, runtime: Runtime, what: Followed) -> None:
        self._pool = pool
        self._vault = vault
        self._runtime = runtime
        self._what = what
        self.wake = asyncio.Event()
        self.serving = False
        self._log = structlog.get_logger("launcher")

    async def run(self) -> None:
        """Read until cancelled. Whatever goes wrong, it is begun again from what is written down."""
        while True:
            try:
                writer = LogWriter(self._pool, self._what, await live_queries.cursor(self._pool, self._what))
                await self._follow(writer)
            except EngineUnreachable:
                await self._say("engine_unreachable")
            except RuntimeFault as error:
                self._log.warning("log_stream_failed", bot=str(self._what.bot_id), detail=str(error)[:200])
                await self._say("logs_unavailable")
            except DATABASE_AWAY as error:
                self.serving = False
                self._log.warning("log_stream_cut", bot=str(self._what.bot_id), error=type(error).__name__)
            await self._wait(_AGAIN_S)

    async def _follow(self, writer: LogWriter) -> None:
        while True:
            copy = await self._next(writer)
            if copy is None:
                await self._say("no_copy")
                await self._wait(_AGAIN_S * 2)
            elif copy.live and copy.state == "creating":
                await self._say("starting", copy.id)
                await self._wait(_AGAIN_S)
            elif copy.live and copy.state == "running" and copy.container_id is not None:
                await self._read(writer, copy, copy.container_id)
            else:
                await self._tell_kept(writer, copy)

    async def _next(self, writer: LogWriter) -> Copy | None:
        """The copy whose output comes next, None where none is or was."""
        cursor = writer.cursor
        found = await live_queries.copies(self._pool, self._what, cursor.instance_id)
        return next((copy for copy in found if copy.id != cursor.instance_id or not cursor.ended), None)

    async def _tell_kept(self, writer: LogWriter, copy: Copy) -> None:
        """A copy that ended before it was read to its end: what was kept of it, as far as it is not told already."""
        if writer.cursor.instance_id == copy.id:
            await writer.end(copy.id, broken=True)
            return
        broken = len(copy.last_lines) >= _KEPT_LINES or not copy.last_lines
        await writer.begin(copy.id, broken=broken)
        lines = [(text, LogLine(ns=copy.finished_ns, stream="stdout", text=""), None) for text in copy.last_lines]
        await writer.write(copy.id, lines, Gap())
        await writer.end(copy.id, broken=False)

    async def _read(self, writer: LogWriter, copy: Copy, ref: str) -> None:
        """A copy that runs, until it ends."""
        redactor = await self._redactor(copy)
        if redactor is None:
            await self._wait(_AGAIN_S * 2)
            return
        if writer.cursor.instance_id != copy.id:
            await writer.begin(copy.id, broken=False)
        since = writer.cursor.read_ns
        backlog = self._runtime.logs(ref, since=since, follow=False, tail=TAIL, pace=_BACKLOG)
        await self._pour(writer, copy, redactor, backlog)
        self.serving = True
        try:
            await live_queries.answer(self._pool, self._what, problem=None, instance_id=copy.id)
            weight = min(1.0, _USUAL_WEIGHT / max(1, redactor.weight))
            pace = Pace(lines=max(20, int(_PACE.lines * weight)), size=max(4096, int(_PACE.size * weight)))
            since = writer.cursor.read_ns
            further = self._runtime.logs(ref, since=since, follow=True, tail=TAIL, pace=pace)
            await self._pour(writer, copy, redactor, further)
        finally:
            self.serving = False
        if await self._has_ended(copy):
            await writer.end(copy.id, broken=False)

    async def _redactor(self, copy: Copy) -> Redactor[_Item] | None:
        """What takes this copy's secrets out, None where they cannot be known: then no line of it is shown."""
        works = await queries.work(self._pool, [self._what.bot_id])
        if works and copy.secrets_known:
            with contextlib.suppress(SecretUnreadable):
                return Redactor(handover.secrets_of(await handover.open_all(self._pool, self._vault, works[0])))
        await self._say("logs_withheld", copy.id)
        return None

    async def _pour(
        self, writer: LogWriter, copy: Copy, redactor: Redactor[_Item], chunks: AsyncIterator[LogChunk]
    ) -> None:
        """Write down what comes until no more does."""
        gap = Gap()
        async with contextlib.aclosing(_timed(chunks, redactor)) as timed:
            async for chunk in timed:
                if chunk is None:
                    await writer.write(copy.id, _things(redactor.flush()), gap)
                    continue
                gap.lines += chunk.left_out
                gap.broken = gap.broken or chunk.broken
                items = []
                for line in chunk.lines:
                    items.append((line.stream, line.text, line.cut, (line, gap if gap else None)))
                    gap = Gap() if gap else gap
                settled = redactor.feed(items)
                if redactor.waiting:
                    await writer.write(copy.id, _things(settled), Gap())
                    continue
                await writer.write(copy.id, _things(settled), gap)
                if chunk.read_ns is not None:
                    writer.cursor.read_ns = max(chunk.read_ns, writer.cursor.read_ns or 0)
        await writer.write(copy.id, _things(redactor.flush()), gap)

    async def _has_ended(self, copy: Copy) -> bool:
        """Whether the launcher has found this copy ended, as it does soon after its output did."""
        until = time.monotonic() + _END_KNOWN_S
        while time.monotonic() < until:
            now = await live_queries.copies(self._pool, self._what, copy.id)
            if not any(one.id == copy.id and one.live and one.state == "running" for one in now):
                return True
            await self._wait(0.2)
        return False

    async def _say(self, problem: str, instance_id: UUID | None = None) -> None:
        with contextlib.suppress(*DATABASE_AWAY):
            await live_queries.answer(self._pool, self._what, problem=problem, instance_id=instance_id)

    async def _wait(self, seconds: float) -> None:
        """Until somebody wakes this stream, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.wake.wait()
        self.wake.clear()


_Item = tuple[LogLine, Gap | None]


def _things(settled: list[tuple[str, _Item]]) -> list[tuple[str, LogLine, Gap | None]]:
    return [(text, line, gap) for text, (line, gap) in settled]


async def _timed(chunks: AsyncIterator[LogChunk], redactor: Redactor[Any]) -> AsyncGenerator[LogChunk | None]:
    """``chunks``, and a None whenever lines have been held back for a second in which nothing came."""
    coming: asyncio.Task[LogChunk] | None = None
    try:
        while True:
            coming = coming or asyncio.ensure_future(_one(chunks))
            done, _ = await asyncio.wait({coming}, timeout=_HELD_S if redactor.waiting else None)
            if not done:
                yield None
                continue
            try:
                chunk = coming.result()
            except _Over:
                return
            coming = None
            yield chunk
    finally:
        if coming is not None:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)
        close: Any = getattr(chunks, "aclose", None)
        if close is not None:
            await close()


async def _one(chunks: AsyncIterator[LogChunk]) -> LogChunk:
    try:
        return await anext(chunks)
    except StopAsyncIteration:
        # A task cannot end in this exception.
        raise _Over from None


class _Over(Exception):  # noqa: N818 - an end, no error
    """Nothing more comes."""
