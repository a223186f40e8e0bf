"""What happens next to one hosted bot: pure decisions over what is wanted and what was seen. No clock, no I/O.

A decision is one step. After each step the launcher looks again, so that a bot gets from any state to the wanted one
by steps that are each right by themselves, wherever an earlier launcher was cut off.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec

from agents.launcher import draining, published
from agents.launcher.lifecycle import Bot, Change, Instance, Intent, Policy
from agents.launcher.runtimes.base import Observed

_LOOK_WHILE_STARTING_S: Final = 1.0


class Verb(StrEnum):
    """The one thing to do."""

    LAUNCH = "launch"
    DRAIN = "drain"
    """Have it wind down its trading, and see whether it has: what is to be done before STOP."""
    STOP = "stop"
    EXAMINE = "examine"
    """Find out for certain how a copy ended, or that it is gone: a listing is not proof."""
    REMOVE = "remove"
    RELEASE = "release"
    DROP_STORAGE = "drop_storage"


class Action(msgspec.Struct, frozen=True):
    """A verb and the copy that it is about."""

    verb: Verb
    ref: str | None = None


class Decision(msgspec.Struct, frozen=True, kw_only=True):
    """First the change, then the action; ``afterwards`` is written when the action is done."""

    change: Change | None = None
    action: Action | None = None
    afterwards: Change | None = None
    again_in: float | None = None

    @property
    def idle(self) -> bool:
        """Nothing to write and nothing to do."""
        return self.change is None and self.action is None


def decide(
    bot: Bot, instance: Instance | None, containers: Sequence[Observed], now: datetime, policy: Policy
) -> Decision:
    """The next step for ``bot``, given its live instance and every container that carries its label."""
    return _drained_first(bot, instance, _step(bot, instance, containers, now, policy), now, policy)


def _drained_first(bot: Bot, instance: Instance | None, step: Decision, now: datetime, policy: Policy) -> Decision:
    """``step``, but where somebody's wish ends a copy that trades, it winds its trading down before.

    A copy that hangs, failed its start or lost its port is not asked: it does not answer, and another one follows it.
    """
    if step.action is None or step.action.verb is not Verb.STOP or instance is None or instance.state != "running":
        return step
    wished = bot.intent is not Intent.RUN or bot.withdrawn or instance.generation != bot.generation
    if not wished or step.action.ref != instance.container_id or instance.host_port is None:
        return step
    if not draining.due(instance.drain, bot.positions, forced=bot.forced, now=now, deadline_s=policy.drain_deadline):
        return step
    return msgspec.structs.replace(step, action=Action(Verb.DRAIN, step.action.ref))


def _step(
    bot: Bot, instance: Instance | None, containers: Sequence[Observed], now: datetime, policy: Policy
) -> Decision:
    own = _own(instance, containers)
    stranger = next((container for container in containers if container is not own), None)
    if stranger is not None:
        # Whatever else is wanted: while a second copy is there, no first one is launched.
        return Decision(action=end(stranger))
    if bot.intent is not Intent.RUN:
        return _wind_down(bot, instance, own)
    if bot.withdrawn:
        words = "Whoever made its template has withdrawn from TradeWise. Cancel the subscription, or delete the bot."
        gone = Change(status="error", reason="template_withdrawn", detail=words, attempt=bot.attempt)
        return Decision(change=_unless_so(bot, gone), action=_clear(instance, own))
    if bot.status == "error" and not bot.fresh:
        return Decision(action=_clear(instance, own))
    if instance is not None and own is not None and own.state == "running":
        return _keep(bot, instance, own, now, policy)
    return _bring_up(bot, instance, own, now)


def end(container: Observed) -> Action:
    """The next step to get rid of a container."""
    return Action(Verb.STOP if container.state == "running" else Verb.REMOVE, container.ref)


def _own(instance: Instance | None, containers: Sequence[Observed]) -> Observed | None:
    """The container that belongs to the live instance."""
    if instance is None:
        return None
    return next(
        (
            container
            for container in containers
            if container.instance_id == instance.id and instance.container_id in {None, container.ref}
        ),
        None,
    )


def _clear(instance: Instance | None, own: Observed | None) -> Action | None:
    """The next step towards nothing left of the bot on the engine, None when that is so."""
    if own is not None:
        if own.state == "exited" and instance is not None and instance.state == "running":
            return Action(Verb.EXAMINE, own.ref)
        return end(own)
    if instance is None:
        return None
    if instance.container_id is None or instance.state == "exited":
        return Action(Verb.RELEASE)
    return Action(Verb.EXAMINE, instance.container_id)


def _wind_down(bot: Bot, instance: Instance | None, own: Observed | None) -> Decision:
    halted = bot.intent is Intent.HALT
    action = _clear(instance, own)
    if halted and bot.status == "error":
        return Decision(action=action)
    if action is not None:
        return Decision(change=_unless_so(bot, Change(status="stopping")), action=action)
    if halted:
        return Decision(change=_unless_so(bot, Change(status="inactive", reason=bot.halt_reason)))
    if bot.intent is Intent.DELETE:
        gone = _unless_so(bot, Change(status="inactive", reason="deleted"))
        return Decision(action=Action(Verb.DROP_STORAGE) if gone else None, afterwards=gone)
    if bot.orders_unconfirmed:
        said = Change(status="inactive", reason="orders_unconfirmed", detail=bot.orders_detail)
        return Decision(change=_unless_so(bot, said))
    return Decision(change=_unless_so(bot, Change(status="inactive")))


def _keep(bot: Bot, instance: Instance, own: Observed, now: datetime, policy: Policy) -> Decision:
    """A copy runs: is it the right one, and is it well?"""
    started = instance.started_at
    if instance.state != "running" or started is None:
        return Decision(change=_starting(bot) if bot.fresh else None, action=end(own))
    if instance.generation != bot.generation or bot.status == "stopping":
        attempt = 0 if bot.fresh else bot.attempt
        told = bot.status == "stopping" and not bot.fresh
        return Decision(change=None if told else Change(status="stopping", attempt=attempt), action=end(own))
    lost = published.misplaced(own, policy.publish_address, instance.host_port, started, now)
    if lost is not None:
        return Decision(change=_moved(bot, lost, policy), action=end(own))
    if bot.status == "running":
        steady = now - started >= timedelta(seconds=policy.steady_after)
        return Decision(change=_unless_so(bot, Change(status="running", attempt=0 if steady else bot.attempt)))
    if bot.healthy_at is not None and bot.healthy_at >= started:
        return Decision(change=Change(status="running", attempt=bot.attempt))
    if now - started >= timedelta(seconds=policy.start_deadline):
        words = f"It did not answer its checks within {policy.start_deadline:g} s of its start."
        return Decision(
            change=Change(status="error", reason="start_timeout", detail=words, attempt=bot.attempt), action=end(own)
        )
    change = None if bot.status == "starting" and not bot.fresh else _starting(bot)
    return Decision(change=change, again_in=_LOOK_WHILE_STARTING_S)


def _bring_up(bot: Bot, instance: Instance | None, own: Observed | None, now: datetime) -> Decision:
    """Nothing runs, and something should."""
    action = _clear(instance, own)
    if action is not None:
        # What is left of an older generation or a crash goes first; how it ended is judged when it is examined.
        change = Change(status="stopping") if bot.status in {"running", "stopping"} else _starting(bot)
        return Decision(change=change if bot.fresh else None, action=action)
    if bot.fresh or bot.status != "starting":
        return Decision(change=_starting(bot), action=Action(Verb.LAUNCH))
    if bot.next_retry_at is not None and now < bot.next_retry_at:
        return Decision(again_in=(bot.next_retry_at - now).total_seconds())
    return Decision(action=Action(Verb.LAUNCH))


def _moved(bot: Bot, lost: str, policy: Policy) -> Change:
    """A bot that nobody reaches where it runs is started anew, within the budget of restarts."""
    if bot.attempt >= policy.restarts:
        words = f"{lost}. It was started again {policy.restarts} times. Ask your operator, then start it again."
        return Change(status="error", reason=published.REASON, detail=words, attempt=bot.attempt)
    return Change(status="stopping", reason=published.REASON, detail=f"{lost}.", attempt=bot.attempt + 1)


def _starting(bot: Bot) -> Change:
    """A start that somebody asked for begins without the memory of earlier attempts."""
    counted = bot.status == "running" or bot.reason == published.REASON
    return Change(status="starting", attempt=bot.attempt if counted and not bot.fresh else 0)


def _unless_so(bot: Bot, change: Change) -> Change | None:
    """``change``, or None where every column is like that already."""
    now = Change(
        status=bot.status, reason=bot.reason, detail=bot.detail, attempt=bot.attempt, next_retry_at=bot.next_retry_at
    )
    return change if bot.fresh or change != now else None
