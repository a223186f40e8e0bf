"""Carries out one decision about one bot: the only place where the launcher's decisions become deeds."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable
from typing import Final
from uuid import UUID

import asyncpg
import msgspec
import structlog

from agents.launcher import accounts, handover, queries, transitions
from agents.launcher.drainer import Drainer
from agents.launcher.failures import LaunchFailed
from agents.launcher.handover import SecretUnreadable
from agents.launcher.launch import Starter
from agents.launcher.lifecycle import Bot, Policy, deadline
from agents.launcher.queries import Work
from agents.launcher.reconcile import Action, Decision, Verb
from agents.launcher.runtimes.base import EngineUnreachable, Exit, Observed, Runtime
from agents.launcher.verdicts import after_exit, after_failure
from control_plane.security.vault import Vault
from control_plane.settings import Settings

_AT_ONCE: Final = 0.0
_LOOK_AGAIN_S: Final = 1.0


class Steps:
    """Takes steps. Every one may be cut off at any point and is then taken again by whoever looks next."""

    def __init__(self, settings: Settings, pool: asyncpg.Pool, vault: Vault, runtime: Runtime, policy: Policy) -> None:
        self._pool = pool
        self._vault = vault
        self._runtime = runtime
        self.policy = policy
        self._starter = Starter(settings, pool, vault, runtime)
        self._drainer = Drainer(settings, pool, vault, policy)
        self.containment = self._starter.containment
        self._log = structlog.get_logger("launcher")

    async def take(self, work: Work, decision: Decision) -> float | None:
        """Write the decision's change, then act. Returns in how many seconds to look again, None for the usual time.

        Raises EngineUnreachable, RuntimeFault.
        """
        bot: Bot | None = work.bot
        if decision.change is not None:
            bot = await transitions.change(self._pool, work.bot, decision.change)
        if bot is None:
            return _AT_ONCE
        if bot.status != work.bot.status:
            self._log.info("bot_status", bot=str(bot.id), status=bot.status, was=work.bot.status, reason=bot.reason)
        if decision.action is None:
            return decision.again_in
        again = await self._act(msgspec.structs.replace(work, bot=bot), decision.action)
        if decision.afterwards is not None:
            await transitions.change(self._pool, bot, decision.afterwards)
        return again

    def close(self) -> None:
        """Let go of what is kept open to bots."""
        self._drainer.close()

    async def clear_stray(self, action: Action) -> float:
        """Take the next step against a container of ours that no bot accounts for."""
        self._log.warning("stray_container", container=(action.ref or "")[:12], step=action.verb.value)
        return await self._on_container(action)

    async def _act(self, work: Work, action: Action) -> float | None:
        if action.verb is Verb.LAUNCH:
            return await self._launch(work)
        if action.verb is Verb.DRAIN:
            return await self._drainer.look(work)
        if action.verb is Verb.EXAMINE:
            return await self._examine(work, action)
        if action.verb is Verb.DROP_STORAGE:
            await self._runtime.drop_storage(work.bot.id)
            await queries.forget_secrets(self._pool, work.bot)
            return None
        if action.verb is Verb.RELEASE:
            if work.instance is not None:
                await queries.release(self._pool, work.bot, work.instance.id)
            return _AT_ONCE
        return await self._on_container(action)

    async def _on_container(self, action: Action) -> float:
        if action.ref is None:
            return _LOOK_AGAIN_S
        if action.verb in {Verb.STOP, Verb.KILL}:
            grace = self.policy.stop_grace if action.verb is Verb.STOP else 0.0
            return await self._runtime.stop(action.ref, grace)
        await self._runtime.remove(action.ref)
        return _AT_ONCE

    async def _launch(self, work: Work) -> float:
        try:
            launched = await self._starter.launch(work)
        except accounts.AccountInUse:
            chance = random.random()  # noqa: S311 - spreading, not secrecy
            await transitions.change(self._pool, work.bot, accounts.waiting(work.bot, work.now, chance))
            return _AT_ONCE
        except LaunchFailed as failure:
            return await self._not_launched(work, failure)
        except EngineUnreachable:
            overdue = deadline(work.bot, None, self.policy)
            if overdue is None or work.now < overdue:
                raise
            # The engine answers others: what hangs is this bot's launch, and it has hung for long enough.
            words = "The container engine did not start it in time"
            return await self._not_launched(work, LaunchFailed("launch_failed", words, retry=True))
        # Its health wakes us; a hundred that were started together need no look each.
        return _LOOK_AGAIN_S if launched else _AT_ONCE

    async def _not_launched(self, work: Work, failure: LaunchFailed) -> float:
        self._log.warning("launch_failed", bot=str(work.bot.id), reason=failure.reason, detail=failure.detail)
        verdict = after_failure(
            work.bot,
            failure.reason,
            failure.detail,
            work.now,
            self.policy,
            random.random(),  # noqa: S311 - spreading, not secrecy
            retry=failure.retry,
        )
        await transitions.change(self._pool, work.bot, verdict)
        return _AT_ONCE

    async def _examine(self, work: Work, action: Action) -> float:
        if action.ref is None or work.instance is None:
            return _LOOK_AGAIN_S
        found = await self._runtime.examine(action.ref)
        if isinstance(found, Observed):
            # The listing did not have it, or had it as ended: not proof, as we see.
            return _LOOK_AGAIN_S
        kept = await self._without_secrets(work, found or Exit())
        verdict = after_exit(
            work.bot,
            work.instance,
            kept,
            work.now,
            self.policy,
            random.random(),  # noqa: S311 - spreading, not secrecy
            oom_before=bool(kept.oom_killed) and await queries.ran_out_of_memory(self._pool, work.bot),
        )
        await queries.exited(self._pool, work.bot, work.instance, kept, verdict)
        self._log.info(
            "bot_exited", bot=str(work.bot.id), exit_code=kept.code, oom_killed=kept.oom_killed, why=verdict.why
        )
        return _AT_ONCE

    async def _without_secrets(self, work: Work, found: Exit) -> Exit:
        """``found`` with its last lines as they may be kept; without any where the secrets cannot be known."""
        if not found.lines:
            return found
        try:
            opened = await handover.open_all(self._pool, self._vault, work)
        except SecretUnreadable:
            opened = None
        return msgspec.structs.replace(found, lines=handover.redacted(found.lines, opened))


def policy_of(settings: Settings) -> Policy:
    """How patient the operator wants the launcher to be."""
    return Policy(
        start_deadline=settings.start_deadline,
        stop_grace=settings.stop_grace,
        drain_deadline=settings.drain_deadline,
        publish_address=settings.publish_address,
        liveness_deadline=settings.liveness_deadline,
        # Three checks, by the plan whose bots are looked at least often, and the time that one without an answer takes.
        health_fresh=3 * max(plan.poll_interval or settings.poll_interval for plan in settings.plans.values()) + 30.0,
    )


def by_bot(containers: Iterable[Observed]) -> dict[UUID | None, list[Observed]]:
    """Containers by the bot whose label they carry; those without a readable one under None."""
    found: dict[UUID | None, list[Observed]] = defaultdict(list)
    for container in containers:
        found[container.bot_id].append(container)
    return found
