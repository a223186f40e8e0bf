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
from agents.launcher.lifecycle import HUNG, Bot, Change, Instance, Intent, Policy, deadline
from agents.launcher.liveness import hung
from agents.launcher.runtimes.base import Observed

_LOOK_WHILE_STARTING_S: Final = 1.0
#: Reasons that a bot keeps when it has come to rest: what its owner should know of how it stopped.
_KEPT_AT_REST: Final = frozenset({"killed"})


class Verb(StrEnum):
    """The one thing to do."""

    LAUNCH = "launch"
    DRAIN = "drain"
    """Have it wind down its trading, and see whether it has: what is to be done before STOP."""
    STOP = "stop"
    """Ask it to end; the runtime ends it by force once its grace is over."""
    KILL = "kill"
    """End it by force now: its time is over, whoever asked it first."""
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
    left = _clear(bot, instance, own, now, policy)
    if bot.intent is not Intent.RUN:
        return _wind_down(bot, left, now, policy)
    if bot.withdrawn:
        words = "Whoever made its template has withdrawn from TradeWise. Cancel the subscription, or delete the bot."
        gone = Change(status="error", reason="template_withdrawn", detail=words, restarts=bot.restarts)
        return Decision(change=_unless_so(bot, gone), action=left)
    if bot.status == "error" and not bot.fresh:
        return Decision(action=left)
    if instance is not None and own is not None and own.state == "running":
        return _keep(bot, instance, own, now, policy)
    return _bring_up(bot, left, now, policy)


def stop_step(bot: Bot, own: Observed, now: datetime, policy: Policy) -> Action:
    """The next step of the end of a bot's own copy: ask it, kill it once its time is over, remove what is left.

    Each look decides anew, from the row and from what is seen, so a stop goes on wherever an earlier launcher left it.
    """
    if own.state != "running":
        return Action(Verb.REMOVE, own.ref)
    overdue = bot.status == "stopping" and not bot.fresh and now >= _deadline(bot, now, policy)
    return Action(Verb.KILL if overdue else Verb.STOP, own.ref)


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


def _clear(bot: Bot, instance: Instance | None, own: Observed | None, now: datetime, policy: Policy) -> Action | None:
    """The next step towards nothing left of the bot on the engine, None when that is so."""
    if own is not None:
        if own.state == "exited" and instance is not None and instance.state == "running":
            return Action(Verb.EXAMINE, own.ref)
        return stop_step(bot, own, now, policy)
    if instance is None:
        return None
    if instance.container_id is None or instance.state == "exited":
        return Action(Verb.RELEASE)
    return Action(Verb.EXAMINE, instance.container_id)


def _wind_down(bot: Bot, left: Action | None, now: datetime, policy: Policy) -> Decision:
    """Nothing should run; ``left`` is the next step against what still does."""
    halted = bot.intent is Intent.HALT
    if halted and bot.status == "error":
        return Decision(action=left)
    if left is not None or bot.status == "running":
        return Decision(change=_stopping(bot, now, policy), action=left, again_in=0.0 if left is None else None)
    if halted:
        return Decision(change=_unless_so(bot, Change(status="inactive", reason=bot.halt_reason)))
    if bot.intent is Intent.DELETE:
        gone = _unless_so(bot, Change(status="inactive", reason="deleted"))
        return Decision(action=Action(Verb.DROP_STORAGE) if gone else None, afterwards=gone)
    if bot.status == "inactive" and not bot.fresh:
        return Decision()
    return Decision(change=_unless_so(bot, _at_rest(bot)))


def _keep(bot: Bot, instance: Instance, own: Observed, now: datetime, policy: Policy) -> Decision:
    """A copy runs: is it the right one, and is it well?"""
    started = instance.started_at
    if instance.state != "running" or started is None:
        return Decision(change=_starting(bot) if bot.fresh else None, action=end(own))
    if instance.generation != bot.generation or bot.status == "stopping":
        return Decision(change=_stopping(bot, now, policy), action=stop_step(bot, own, now, policy))
    lost = published.misplaced(own, policy.publish_address, instance.host_port, started, now)
    if lost is not None:
        return _restart(bot, Change(status="stopping", reason=published.REASON, detail=lost), own)
    if bot.status == "running":
        hangs = hung(bot, started, now, policy)
        if hangs is not None:
            return _restart(bot, Change(status="stopping", reason="liveness", detail=hangs), own)
        steady = bot.unwell is None and now - started >= timedelta(seconds=policy.steady_after)
        well = Change(status="running", restarts=() if steady else bot.restarts)
        return Decision(change=_unless_so(bot, well))
    if bot.status != "starting" or bot.fresh:
        return Decision(change=_starting(bot), again_in=_LOOK_WHILE_STARTING_S)
    if bot.healthy_at is not None and bot.healthy_at >= started:
        return Decision(change=Change(status="running", restarts=bot.restarts))
    if now >= _deadline(bot, now, policy, instance):
        words = f"It did not answer its checks within {policy.start_deadline:g} s of its start"
        return _restart(bot, Change(status="stopping", reason="start_timeout", detail=words), own)
    return Decision(again_in=_LOOK_WHILE_STARTING_S)


def _restart(bot: Bot, why: Change, own: Observed) -> Decision:
    """End a copy that hangs. What follows is judged, within the budget, when its end is seen."""
    return Decision(change=msgspec.structs.replace(why, restarts=bot.restarts), action=Action(Verb.STOP, own.ref))


def _bring_up(bot: Bot, left: Action | None, now: datetime, policy: Policy) -> Decision:
    """Nothing runs, and something should."""
    if left is not None:
        # What is left of an older generation or a crash goes first; how it ended is judged when it is examined.
        change = _stopping(bot, now, policy) if bot.status in {"running", "stopping"} else _starting(bot)
        return Decision(change=change if bot.fresh else None, action=left)
    if bot.fresh or bot.status != "starting":
        return Decision(change=_starting(bot), action=Action(Verb.LAUNCH))
    if bot.next_retry_at is not None and now < bot.next_retry_at:
        return Decision(again_in=(bot.next_retry_at - now).total_seconds())
    return Decision(action=Action(Verb.LAUNCH))


def _starting(bot: Bot) -> Change:
    """A start that somebody asked for begins without the memory of earlier attempts."""
    return Change(status="starting", restarts=() if bot.fresh or bot.status == "inactive" else bot.restarts)


def _stopping(bot: Bot, now: datetime, policy: Policy) -> Change | None:
    """The row of a bot whose copy ends, None where it says so already: told as stuck where not even a kill ended it."""
    if bot.fresh or bot.status not in {"stopping", "error"}:
        return Change(status="stopping", restarts=() if bot.fresh else bot.restarts)
    if bot.status == "error":
        return None if bot.reason == "stuck_stopping" else Change(status="stopping")
    if bot.intent is not Intent.RUN and bot.reason in HUNG:
        # It is not restarted any more: whoever starts it again begins another story.
        return Change(status="stopping", restarts=bot.restarts)
    if now < _deadline(bot, now, policy) + timedelta(seconds=policy.stop_deadline):
        return None
    words = "It does not end, not even by force. Ask your operator to look at the container engine."
    return Change(status="error", reason="stuck_stopping", detail=words, restarts=bot.restarts)


def _at_rest(bot: Bot) -> Change:
    if bot.reason == "stuck_stopping" and not bot.fresh:
        return Change(status="inactive", reason="killed", detail=bot.detail)
    kept = bot.reason in _KEPT_AT_REST and bot.status == "stopping" and not bot.fresh
    if bot.orders_unconfirmed and not kept:
        return Change(status="inactive", reason="orders_unconfirmed", detail=bot.orders_detail)
    said = [bot.detail if kept else None, bot.orders_detail if bot.orders_unconfirmed else None]
    return Change(status="inactive", reason=bot.reason if kept else None, detail=" ".join(filter(None, said)) or None)


def _deadline(bot: Bot, now: datetime, policy: Policy, instance: Instance | None = None) -> datetime:
    return deadline(bot, instance, policy) or now


def _unless_so(bot: Bot, change: Change) -> Change | None:
    """``change``, or None where every column is like that already."""
    now = Change(**{name: getattr(bot, name) for name in Change.__struct_fields__})
    return change if bot.fresh or change != now else None
