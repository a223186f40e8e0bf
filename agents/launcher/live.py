"""The launcher's side of the live view: who follows what, seen at once when it changes; streams and samples of it."""

from __future__ import annotations

import asyncio
import contextlib
import time
import traceback
from collections.abc import Awaitable, Callable
from typing import Final
from uuid import UUID

import asyncpg
import structlog

from agents.launcher import live_queries
from agents.launcher.live_queries import Followed, Running
from agents.launcher.runtimes.base import Runtime
from agents.launcher.sampling import Sampling
from agents.launcher.watching import Watching
from control_plane.database.away import DATABASE_AWAY
from control_plane.database.listener import Listener
from control_plane.security.vault import Vault
from control_plane.settings import Settings

_CHANNELS: Final = ("tradewise_follow", "tradewise_launched")
_LOOK_S: Final = 2.0
_LOOK_IDLE_S: Final = 5.0
_FORGET_EVERY_S: Final = 60.0


class LiveView:
    """Two loops beside the launcher's own: whatever happens to them, bots are launched and stopped all the same."""

    def __init__(self, settings: Settings, pool: asyncpg.Pool, vault: Vault, runtime: Runtime) -> None:
        self._pool = pool
        self._watching = Watching(pool, vault, runtime)
        self._sampling = Sampling(pool, runtime, settings.stats_interval)
        self._acts = False
        self._forgotten_at = 0.0
        self._followed: list[Followed] = []
        self._running: list[Running] = []
        self._running_at = 0.0
        self._look = asyncio.Event()
        self._sample = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        self._listener = Listener(
            settings.agent_database_url or "",
            _CHANNELS,
            on_notify=self._notified,
            on_connect=self._wake,
            application_name="tradewise-launcher-live",
        )
        self._log = structlog.get_logger("launcher")

    def open(self) -> None:
        """Begin; nothing is done until this launcher acts."""
        loops = (self._listener.run(), self._forever(self._attend, self._look), self._forever(self._take, self._sample))
        self._tasks = [asyncio.create_task(loop) for loop in loops]

    def act(self, *, leads: bool) -> None:
        """Whether this launcher is the one that acts."""
        if leads is not self._acts:
            self._acts = leads
            self._wake()

    async def close(self) -> None:
        """End every stream."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._watching.close()

    def _notified(self, channel: str, payload: str) -> None:
        self._look.set()
        self._running_at = 0.0
        self._sample.set()
        if channel == "tradewise_launched":
            with contextlib.suppress(ValueError):
                self._watching.wake(UUID(payload))

    def _wake(self) -> None:
        self._running_at = 0.0
        self._look.set()
        self._sample.set()
        self._watching.wake(None)

    async def _forever(self, work: Callable[[], Awaitable[float]], woken: asyncio.Event) -> None:
        while True:
            woken.clear()
            try:
                delay = await work()
            except DATABASE_AWAY as error:
                delay = 1.0
                self._log.warning("live_view_waits", error=type(error).__name__)
            except Exception as error:  # noqa: BLE001 - a fault of ours here must not end what others follow
                delay = _LOOK_S
                # Where it happened and no more: a message might hold what was just opened.
                where = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-4:]]
                self._log.error("live_view_broken", error=type(error).__name__, where=where)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await woken.wait()

    async def _attend(self) -> float:
        """Look who follows what."""
        if not self._acts:
            await self._watching.keep([])
            return _LOOK_IDLE_S
        self._followed = await live_queries.followed(self._pool)
        await self._watching.keep([item for item in self._followed if item.kind == "logs"])
        if time.monotonic() - self._forgotten_at >= _FORGET_EVERY_S:
            self._forgotten_at = time.monotonic()
            await live_queries.forget(self._pool)
        if any(item.kind == "stats" for item in self._followed):
            self._sample.set()
        return _LOOK_S if self._followed else _LOOK_IDLE_S

    async def _take(self) -> float:
        """Take the samples that are due."""
        if not self._acts:
            return _LOOK_IDLE_S
        if time.monotonic() - self._running_at >= _LOOK_IDLE_S:
            self._running_at = time.monotonic()
            self._running = await live_queries.running(self._pool)
        stats = [item for item in self._followed if item.kind == "stats"]
        return min(await self._sampling.round(self._running, stats), _LOOK_IDLE_S)
