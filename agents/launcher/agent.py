"""The launcher agent: makes what runs on the engine be what the rows want, and tells what it saw.

One launcher acts for a database; any other stands by. Which one is decided by an advisory lock on a connection of its
own: it needs no clock and no renewal, and it ends with the process or its connection, so the next one takes over within
a second. One engine gains nothing from two hands. Where a cut connection leaves two that think they act, the rows still
fence: a copy is only started while its row is the bot's one live row.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Coroutine, Hashable
from typing import Any, ClassVar, Final
from uuid import UUID

import asyncpg

from agents.agent import Agent
from agents.launcher import queries
from agents.launcher.leadership import Leadership
from agents.launcher.live import LiveView
from agents.launcher.reconcile import Policy, decide, end
from agents.launcher.runtimes.base import EngineUnreachable, Observed, RuntimeFault
from agents.launcher.runtimes.docker import DockerRuntime
from agents.launcher.steps import Steps, by_bot
from control_plane.security.vault import Vault
from control_plane.settings import Settings

_STANDBY_S: Final = 1.0
_AFTER_FAULT_S: Final = 2.0
_FIRST_LOSS_S: Final = 1.0
_LONGEST_LOSS_S: Final = 15.0
_DRAIN_S: Final = 15.0


class Launcher(Agent):
    """Looks at bots that were named to it at once, and at all of them now and then."""

    kind: ClassVar[str] = "launcher"
    channels: ClassVar[tuple[str, ...]] = ("tradewise_desired", "tradewise_health")

    def __init__(self, settings: Settings, pool: asyncpg.Pool, vault: Vault, policy: Policy | None = None) -> None:
        super().__init__(settings, pool, vault)
        self.policy = policy or Policy(start_deadline=settings.start_deadline, stop_grace=settings.stop_grace)
        self._leadership = Leadership(pool)
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}
        self._all_at = 0.0
        self._loss_s = _FIRST_LOSS_S
        self._reachable: bool | None = None

    async def open(self) -> None:
        """Prepare the runtime; the engine itself may be away now and come later."""
        self._runtime = DockerRuntime(self.settings.docker_host, await queries.installation(self.pool))
        self._steps = Steps(self.settings, self.pool, self.vault, self._runtime, self.policy)
        self._live = LiveView(self.settings, self.pool, self.vault, self._runtime)
        self._live.open()
        loop = asyncio.get_running_loop()

        def changed(bot_id: str | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(self.wake, bot_id)

        self._runtime.watch(changed)

    async def close(self) -> None:
        """Let steps under way end, as far as they end soon; each may be cut off."""
        await self._live.close()
        if self._tasks:
            await asyncio.wait(self._tasks.values(), timeout=_DRAIN_S)
        for task in list(self._tasks.values()):
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)
        await asyncio.to_thread(self._runtime.close)
        await self._leadership.give_up()

    def wake(self, identity: str | None = None) -> None:
        """Ask for a look at one bot, or at all."""
        if identity is None:
            self._all_at = 0.0
        super().wake(identity)

    async def work(self, woken: frozenset[str]) -> float:
        """Look, decide for each bot, and let the steps run: a bot whose step takes long holds up no other."""
        if not await self._lead():
            return _STANDBY_S
        interval = self.settings.reconcile_interval
        everything = time.monotonic() >= self._all_at
        if everything:
            self._all_at = time.monotonic() + interval
        busy = frozenset(self._tasks)
        try:
            if not self._reachable:
                info = await self._runtime.info()
                self.detail["engine"] = {"name": info.name, "version": info.version, "reachable": True}
            containers = await self._runtime.observe()
        except EngineUnreachable as error:
            return await self._lost(error)
        await self._found()
        named = None if everything else [found for found in map(_uuid, woken) if found]
        self._assign(await queries.work(self.pool, named), containers, busy, everything=everything)
        return max(0.0, self._all_at - time.monotonic())

    def _assign(
        self, works: list[queries.Work], containers: list[Observed], busy: frozenset[Hashable], *, everything: bool
    ) -> None:
        """Give each bot that needs a step a task; one that was busy while we looked is looked at when it is done."""
        seen = by_bot(containers)
        for work in works:
            mine = seen.pop(work.bot.id, [])
            if work.bot.id in busy:
                continue
            decision = decide(work.bot, work.instance, mine, work.now, self.policy)
            if not decision.idle:
                self._begin(work.bot.id, str(work.bot.id), self._steps.take(work, decision))
            elif decision.again_in is not None:
                self._look_later(decision.again_in, str(work.bot.id))
        if everything:
            for bot_id, strays in seen.items():
                for stray in strays if bot_id not in busy else ():
                    if stray.ref not in busy:
                        self._begin(stray.ref, None, self._steps.clear_stray(end(stray)))

    def _begin(self, key: Hashable, identity: str | None, step: Coroutine[Any, Any, float | None]) -> None:
        self._tasks[key] = asyncio.create_task(self._see_through(key, identity, step))

    async def _see_through(self, key: Hashable, identity: str | None, step: Coroutine[Any, Any, float | None]) -> None:
        again: float | None = _AFTER_FAULT_S
        try:
            again = await step
        except (EngineUnreachable, RuntimeFault) as error:
            self.log.warning("step_failed", about=str(key), code=error.code, detail=str(error)[:200])
        except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError) as error:
            self.log.warning("step_failed", about=str(key), error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - a fault of ours in one bot's step must not end the others'
            # Where it happened, and no more: a message or a local variable might hold what was just opened.
            where = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-4:]]
            self.log.error("step_broken", about=str(key), error=type(error).__name__, where=where)  # noqa: TRY400
        finally:
            self._tasks.pop(key, None)
        if again is not None:
            self._look_later(again, identity)

    def _look_later(self, seconds: float, identity: str | None) -> None:
        asyncio.get_running_loop().call_later(seconds, self.wake, identity)

    async def _lead(self) -> bool:
        """Whether this launcher is the one that acts; tries to become it."""
        leads, just_now = await self._leadership.hold()
        if just_now:
            self._all_at, self._reachable = 0.0, None
            self.log.info("acting")
        self.detail["role"] = "acting" if leads else "standby"
        self._live.act(leads=leads)
        return leads

    async def _lost(self, error: EngineUnreachable) -> float:
        """Nothing is known of the bots: their status stays as it is, and their health is marked old."""
        if self._reachable is not False:
            self.log.error("engine_lost", detail=str(error)[:200])
        self._reachable = False
        self.detail["engine"] = {**self.detail.get("engine", {"name": self.settings.runtime}), "reachable": False}
        await queries.engine_lost(self.pool)
        delay, self._loss_s = self._loss_s, min(self._loss_s * 2, _LONGEST_LOSS_S)
        self._all_at = 0.0
        return delay

    async def _found(self) -> None:
        if self._reachable:
            return
        await queries.engine_back(self.pool)
        self._reachable, self._loss_s = True, _FIRST_LOSS_S
        self.log.info("engine_found", **self.detail["engine"])


def make_launcher(settings: Settings, pool: asyncpg.Pool, vault: Vault) -> Launcher:
    """The launcher as ``tradewise agent launcher`` runs it."""
    return Launcher(settings, pool, vault)


def _uuid(text: str) -> UUID | None:
    try:
        return UUID(text)
    except ValueError:
        return None
