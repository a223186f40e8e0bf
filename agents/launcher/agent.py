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
from collections.abc import Callable, Coroutine, Hashable
from datetime import UTC, datetime
from typing import Any, ClassVar, Final
from uuid import UUID

import asyncpg
import msgspec
from prometheus_client import Gauge

from agents.agent import Agent
from agents.launcher import listing, liveness, queries
from agents.launcher.alarms import Alarms
from agents.launcher.disk import DiskWatch
from agents.launcher.leadership import Leadership
from agents.launcher.lifecycle import Policy
from agents.launcher.live import LiveView
from agents.launcher.quarantine import Quarantine, Rules
from agents.launcher.reconcile import decide, end
from agents.launcher.runtimes.base import EngineUnreachable, Observed, RuntimeFault
from agents.launcher.runtimes.choose import runtime_of
from agents.launcher.runtimes.docker import DockerRuntime
from agents.launcher.steps import Steps, by_bot, policy_of
from control_plane.database.away import DATABASE_AWAY
from control_plane.security.vault import Vault
from control_plane.settings import Settings

_STANDBY_S: Final = 1.0
_AFTER_FAULT_S: Final = 2.0
_FIRST_LOSS_S: Final = 1.0
_LONGEST_LOSS_S: Final = 15.0
_DRAIN_S: Final = 15.0
#: Of the time that looks take, so many times is rested after each, at most so long: a listing costs the engine most.
_REST_A_LOOK: Final = 3.0
_LONGEST_REST_S: Final = 0.4
_UPKEEP: Final = "upkeep"

ORPHANS: Final = Gauge(
    "tradewise_launcher_orphans", "Containers of this installation that no bot in the database accounts for."
)


class Launcher(Agent):
    """Looks at bots that were named to it at once, and at all of them now and then."""

    kind: ClassVar[str] = "launcher"
    channels: ClassVar[tuple[str, ...]] = ("tradewise_desired", "tradewise_health", "tradewise_egress")

    def __init__(
        self,
        settings: Settings,
        pool: asyncpg.Pool,
        vault: Vault,
        policy: Policy | None = None,
        *,
        runtime: Callable[[Settings, UUID], DockerRuntime] = runtime_of,
    ) -> None:
        super().__init__(settings, pool, vault)
        self._runtime_of = runtime
        self.policy = policy or policy_of(settings)
        self._leadership = Leadership(pool)
        self._tasks: dict[Hashable, asyncio.Task[None]] = {}
        self._all_at = 0.0
        self._loss_s = _FIRST_LOSS_S
        self._reachable: bool | None = None
        self._rest_until = 0.0
        self._missed: set[Hashable] = set()
        self._blind = False
        self._quarantine = Quarantine(
            Rules(grace=settings.orphan_grace, limit=settings.orphan_limit, remove=settings.orphans == "remove")
        )
        self._alarms = Alarms(self.wake)

    async def open(self) -> None:
        """Prepare the runtime; the engine itself may be away now and come later."""
        self._runtime = self._runtime_of(self.settings, await queries.installation(self.pool))
        self._steps = Steps(self.settings, self.pool, self.vault, self._runtime, self.policy)
        self._disk = DiskWatch(self.settings, self.pool, self._runtime)
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
        self._alarms.close()
        self._steps.close()
        await asyncio.to_thread(self._runtime.close)
        await self._leadership.give_up()

    def wake(self, identity: str | None = None) -> None:
        """Ask for a look at one bot, or at all."""
        # A change of rules names no bot.
        if not identity:
            self._all_at = 0.0
        super().wake(identity or None)

    async def work(self, woken: frozenset[str]) -> float:
        """Look, decide for each bot, and let the steps run: a bot whose step takes long holds up no other."""
        if not await self._lead():
            return _STANDBY_S
        # A hundred wakes at once are answered by few looks: the engine has other things to do than to list.
        await asyncio.sleep(max(0.0, self._rest_until - time.monotonic()))
        interval = self.settings.reconcile_interval
        everything = time.monotonic() >= self._all_at
        if everything:
            self._all_at = time.monotonic() + interval
        busy = frozenset(self._tasks)
        named = None if everything else [found for found in map(_uuid, woken) if found]
        try:
            if not self._reachable:
                info = await self._runtime.info()
                self.detail["engine"] = {"name": info.name, "version": info.version, "reachable": True}
            begun = time.monotonic()
            containers = await self._runtime.observe()
            looked = time.monotonic()
            self._rest_until = looked + min(_LONGEST_REST_S, _REST_A_LOOK * (looked - begun))
            works = await queries.work(self.pool, named)
            await self._believe(works, containers)
        except EngineUnreachable as error:
            return await self._lost(error)
        await self._found()
        if everything:
            self._look_for_blindness(works)
        # Whether one bot hangs is judged beside all the others, or not at all.
        believed = everything and not self._blind
        policy = self.policy if believed else msgspec.structs.replace(self.policy, liveness_deadline=0.0)
        self._assign(works, seen := by_bot(containers), busy, policy)
        if everything:
            await self._clear_strays(seen, busy)
            if (works or containers) and _UPKEEP not in self._tasks:
                self._begin(_UPKEEP, None, self._keep_within_bounds())
        self.detail["containment"] = self._steps.containment.detail
        return max(0.0, self._all_at - time.monotonic())

    async def _believe(self, works: list[queries.Work], containers: list[Observed]) -> None:
        """Raise EngineUnreachable for a listing that lacks copies which are there: then nothing is decided by it."""
        live = [work.instance for work in works if work.instance is not None]
        gone = listing.missing(live, containers)
        if not listing.doubtful(live, gone):
            return
        found = await asyncio.gather(*(self._runtime.examine(ref) for ref in gone[: listing.SAMPLE]))
        if any(isinstance(copy, Observed) for copy in found):
            raise EngineUnreachable(f"its listing lacks {len(gone)} copies, and some of them run")

    def _in_sight_since(self, since: datetime) -> None:
        self.policy = self._steps.policy = msgspec.structs.replace(self.policy, in_sight_since=since)

    def _look_for_blindness(self, works: list[queries.Work]) -> None:
        blind = bool(works) and liveness.blind([work.bot for work in works], works[0].now, self.policy)
        if blind and not self._blind:
            self.log.error("checks_not_believed", detail="most running bots fail their checks at once: none restarts")
        if works and self._blind and not blind:
            self._in_sight_since(works[0].now)
        self._blind = blind
        self.detail["checks_believed"] = not blind

    def _assign(
        self,
        works: list[queries.Work],
        seen: dict[UUID | None, list[Observed]],
        busy: frozenset[Hashable],
        policy: Policy,
    ) -> None:
        """Give each bot that needs a step a task; one that was busy while we looked is looked at when it is done.

        What is left in ``seen`` belongs to no bot that needs anything.
        """
        for work in works:
            mine = seen.pop(work.bot.id, [])
            if work.bot.id in busy:
                self._look_when_done(work.bot.id)
                continue
            decision = decide(work.bot, work.instance, mine, work.now, policy)
            if not decision.idle:
                self._begin(work.bot.id, str(work.bot.id), self._steps.take(work, decision))
            elif decision.again_in is not None:
                self._alarms.set(str(work.bot.id), decision.again_in)

    async def _clear_strays(self, seen: dict[UUID | None, list[Observed]], busy: frozenset[Hashable]) -> None:
        """End at once what an existing bot's next launch would meet; of what no bot accounts for, only what is due."""
        known = await queries.known(self.pool, [bot for bot in seen if bot is not None]) if seen else set()
        strays = [stray for bot in known - busy for stray in seen[bot]]
        orphans = [orphan for bot, found in seen.items() if bot not in known for orphan in found]
        finding = self._quarantine.look(orphans, datetime.now(UTC))
        for orphan in finding.news:
            self.log.error("orphan_found", container=orphan.ref[:12], bot=str(orphan.bot_id), state=orphan.state)
        ORPHANS.set(len(orphans))
        self.detail.pop("orphans", None)
        if finding.told is not None:
            self.detail["orphans"] = finding.told
        for stray in (*strays, *finding.due):
            if stray.ref not in busy:
                self._begin(stray.ref, None, self._steps.clear_stray(end(stray)))

    def _look_when_done(self, bot_id: UUID) -> None:
        if bot_id in self._tasks:
            self._missed.add(bot_id)
        else:
            # It was done while we looked, and what we saw of it may be from before.
            self._alarms.set(str(bot_id), 0.0)

    def _begin(self, key: Hashable, identity: str | None, step: Coroutine[Any, Any, float | None]) -> None:
        self._tasks[key] = asyncio.create_task(self._see_through(key, identity, step))

    async def _see_through(self, key: Hashable, identity: str | None, step: Coroutine[Any, Any, float | None]) -> None:
        again: float | None = _AFTER_FAULT_S
        try:
            again = await step
        except (EngineUnreachable, RuntimeFault) as error:
            self.log.warning("step_failed", about=str(key), code=error.code, detail=str(error)[:200])
        except DATABASE_AWAY as error:
            self.log.warning("step_failed", about=str(key), error=type(error).__name__)
        except Exception as error:  # noqa: BLE001 - a fault of ours in one bot's step must not end the others'
            # Where it happened, and no more: a message or a local variable might hold what was just opened.
            where = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-4:]]
            self.log.error("step_broken", about=str(key), error=type(error).__name__, where=where)  # noqa: TRY400
        finally:
            self._tasks.pop(key, None)
        if key in self._missed:
            # Whatever somebody asked for while the step ran has had no answer yet.
            self._missed.discard(key)
            again = 0.0
        if again is not None:
            self._alarms.set(identity, again)

    async def _keep_within_bounds(self) -> None:
        """See that the rules of what bots reach are in force, and the room they may take.

        What runs goes on running where the rules are not: ending it would cost its owner more than it helps.
        """
        try:
            await self._steps.containment.hold()
        except RuntimeFault as fault:
            self.log.error("guard_failed", detail=str(fault)[:300])  # noqa: TRY400 - no fault of ours, and no trace helps
        self.detail["containment"] = self._steps.containment.detail
        await self._disk.look()

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
        self._steps.containment.forget()
        self.detail["engine"] = {**self.detail.get("engine", {"name": self.settings.runtime}), "reachable": False}
        await queries.engine_lost(self.pool)
        delay, self._loss_s = self._loss_s, min(self._loss_s * 2, _LONGEST_LOSS_S)
        self._all_at = 0.0
        return delay

    async def _found(self) -> None:
        if self._reachable:
            return
        back = await queries.engine_back(self.pool)
        if self._reachable is False:
            self._in_sight_since(back)
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
