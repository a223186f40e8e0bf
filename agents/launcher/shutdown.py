"""Ends every bot of an installation with the platform itself, so that the next start begins them again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final

import asyncpg
import msgspec
import structlog

from agents.agent import make_pool
from agents.keys.providers import vault_for
from agents.launcher import queries
from agents.launcher.lifecycle import Intent, Policy
from agents.launcher.queries import Work
from agents.launcher.reconcile import decide, end
from agents.launcher.runtimes.base import EngineUnreachable, RuntimeFault
from agents.launcher.runtimes.choose import runtime_of
from agents.launcher.runtimes.docker import DockerRuntime
from agents.launcher.steps import Steps, by_bot, policy_of
from control_plane.settings import Settings

_LOOK_S: Final = 0.25
_LAUNCHER_ENDS_S: Final = 30.0
_MARGIN_S: Final = 30.0
_log = structlog.get_logger("shutdown")


class LauncherStillRunsError(RuntimeError):
    """Another launcher acts for this database: whatever is stopped here it would start again."""

    code = "launcher_still_runs"


async def stop_all_bots(
    settings: Settings, *, say: Callable[[str], None], launcher_ends_s: float = _LAUNCHER_ENDS_S
) -> int:
    """Stop and remove this installation's containers; returns how many there were. Volumes stay.

    To be called when the launcher has ended, with the launcher's connection string as ``agent_database_url``. A bot
    that should run becomes `inactive` with the reason `platform_stopped`; the launcher starts an inactive bot that
    should run, so the platform's next start brings it back at once and counts no crash. Bots in `error` stay so. Where
    the engine is away, nothing is known and nothing is changed. Raises LauncherStillRunsError where a launcher has not
    ended in ``launcher_ends_s``.
    """
    if settings.agent_database_url is None:
        raise ValueError("stop_all_bots needs agent_database_url, the launcher's connection string")
    pool = await make_pool(settings.agent_database_url, "shutdown", size=4)
    try:
        async with pool.acquire() as connection:
            await _lead(connection, launcher_ends_s)
            runtime = runtime_of(settings, await queries.installation(pool))
            try:
                return await _stop_all(settings, pool, runtime, say)
            except EngineUnreachable as error:
                say(f"The container engine does not answer, so bots were left as they are ({str(error)[:120]})")
                return 0
            finally:
                await asyncio.to_thread(runtime.close)
    finally:
        await pool.close()


async def _lead(connection: Any, ends_s: float) -> None:
    until = time.monotonic() + ends_s
    while not await queries.lead(connection):
        if time.monotonic() >= until:
            raise LauncherStillRunsError("a launcher still acts for this database; end it first")
        await asyncio.sleep(_LOOK_S)


async def _stop_all(settings: Settings, pool: asyncpg.Pool, runtime: DockerRuntime, say: Callable[[str], None]) -> int:
    policy = policy_of(settings)
    steps = Steps(settings, pool, vault_for(settings), runtime, policy)
    count = len(await runtime.observe())
    longest = settings.drain_deadline + settings.stop_grace
    if count:
        say(f"Stopping {count} bot{'s' if count > 1 else ''} (at most {longest:g} s)")
    until = time.monotonic() + longest + _MARGIN_S
    try:
        while await _one_round(pool, runtime, steps, policy):
            if time.monotonic() >= until:
                say("Some bots could not be stopped; the next start of the platform takes care of them")
                return count
            await asyncio.sleep(_LOOK_S)
    finally:
        steps.close()
    try:
        await runtime.drop_network()
    except RuntimeFault as error:
        _log.warning("network_kept", detail=str(error)[:200])
    return count


async def _one_round(pool: asyncpg.Pool, runtime: DockerRuntime, steps: Steps, policy: Policy) -> bool:
    """One step for every bot and stray container at once; False when nothing was left to do."""
    seen = by_bot(await runtime.observe())
    due = []
    for work in map(_halted, await queries.work(pool)):
        decision = decide(work.bot, work.instance, seen.pop(work.bot.id, []), work.now, policy)
        if not decision.idle:
            due.append(steps.take(work, decision))
    due += [steps.clear_stray(end(stray)) for strays in seen.values() for stray in strays]
    for result in await asyncio.gather(*due, return_exceptions=True):
        if isinstance(result, EngineUnreachable):
            raise result
        if isinstance(result, BaseException):
            _log.warning("step_failed", error=type(result).__name__, detail=str(result)[:200])
    return bool(due)


def _halted(work: Work) -> Work:
    if work.bot.intent is not Intent.RUN:
        return work
    bot = msgspec.structs.replace(work.bot, intent=Intent.HALT, halt_reason="platform_stopped")
    return msgspec.structs.replace(work, bot=bot)
