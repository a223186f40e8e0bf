"""Rows, containers and steps for tests of the launcher's decisions, at one moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from agents.launcher.lifecycle import Bot, Change, Instance, Intent, Policy, Unwell
from agents.launcher.reconcile import Action, Decision, Verb
from agents.launcher.runtimes.base import Observed

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
POLICY = Policy()
BOT_ID, TENANT, COPY, OTHER_COPY = (UUID(int=number) for number in range(1, 5))


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def used(restarts: int) -> tuple[datetime, ...]:
    """So many restarts within the last minutes."""
    return tuple(ago(10 * number) for number in range(restarts, 0, -1))


def bot(status: str = "running", *, attempt: int = 0, **more: Any) -> Bot:
    fields: dict[str, Any] = {"intent": Intent.RUN, "generation": 3, "observed_generation": 3}
    fields |= {"status_since": ago(20), "restarts": used(attempt)}
    return Bot(id=BOT_ID, tenant_id=TENANT, status=status, **{**fields, **more})


def unwell(**more: Any) -> Unwell:
    """Checks that have failed for five minutes, the newest a moment ago."""
    fields: dict[str, Any] = {"reason": "timeout", "seen_at": ago(5), "failures": 20, "well_at": ago(305)}
    return Unwell(**{**fields, **more})


def copy(state: str = "running", **more: Any) -> Instance:
    fields: dict[str, Any] = {"generation": 3, "container_id": "c1", "started_at": ago(30)}
    return Instance(id=COPY, state=state, **{**fields, **more})


def seen(state: str = "running", ref: str = "c1", instance_id: UUID | None = COPY) -> Observed:
    return Observed(ref=ref, state=state, bot_id=BOT_ID, instance_id=instance_id)  # type: ignore[arg-type]


LAUNCH = Action(Verb.LAUNCH)
RELEASE = Action(Verb.RELEASE)
STOP, KILL, REMOVE, EXAMINE = (Action(verb, "c1") for verb in (Verb.STOP, Verb.KILL, Verb.REMOVE, Verb.EXAMINE))
STARTING, STOPPING, RUNNING, INACTIVE = (
    Change(status=name) for name in ("starting", "stopping", "running", "inactive")
)
NOTHING = Decision()
RESTS: dict[str, Any] = {"intent": Intent.HALT, "halt_reason": "tenant_suspended"}
RESTING = Change(status="inactive", reason="tenant_suspended")
WITHDRAWN = Change(
    status="error",
    reason="template_withdrawn",
    detail="Whoever made its template has withdrawn from TradeWise. Cancel the subscription, or delete the bot.",
)
FRESH: dict[str, Any] = {"observed_generation": 2}
OLD: dict[str, Any] = {"generation": 2}
LATE = Change(
    status="stopping",
    reason="start_timeout",
    detail="It did not answer its checks within 120 s of its start",
)
