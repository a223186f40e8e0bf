"""The operator's hand on tenants: on the command line, as the owner of the schema, through a few narrow functions.

Row-level security is forced on the owner too, so nothing of a tenant but these few columns can be read this way.
"""

from __future__ import annotations

from collections.abc import Mapping
from uuid import UUID

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from control_plane.database.roles import OWNER
from control_plane.database.visit import visiting
from control_plane.plans import STANDARD, Plan

_AS_OWNER = text(f"set local role {OWNER}")
_SUSPEND = text("select operator_suspend_tenant(:tenant, :reason)")
_RESUME = text("select operator_resume_tenant(:tenant)")
_PLAN = text("select operator_plan_tenant(:tenant, :plan)")
_ALL = text("select * from operator_tenants()")


class UnknownTenantError(RuntimeError):
    """No tenant of this id that could be suspended or resumed."""

    code = "unknown_tenant"

    def __init__(self, tenant_id: UUID, problem: str) -> None:
        super().__init__(f"{tenant_id} {problem}; `tradewise tenants list` shows all of them")


class UnknownPlanError(RuntimeError):
    """No such plan in the operator's table."""

    code = "unknown_plan"

    def __init__(self, plan: str, plans: Mapping[str, Plan]) -> None:
        super().__init__(f"there is no plan {plan!r}; TRADEWISE_PLANS has {', '.join(sorted(plans))}")


async def suspend(url: str, tenant_id: UUID, reason: str | None) -> None:
    """Suspend a tenant so that its owner cannot resume it. Raises :class:`UnknownTenantError`."""
    if not await _asked(url, _SUSPEND, {"tenant": tenant_id, "reason": reason}):
        raise UnknownTenantError(tenant_id, "is no tenant, or was deleted")


async def resume(url: str, tenant_id: UUID) -> None:
    """End a suspension, an owner's as well. Raises :class:`UnknownTenantError`."""
    if not await _asked(url, _RESUME, {"tenant": tenant_id}):
        raise UnknownTenantError(tenant_id, "is not suspended")


async def set_plan(url: str, plans: Mapping[str, Plan], tenant_id: UUID, plan: str) -> None:
    """Give a tenant another plan; its bots have it from their next start. Raises what names the remedy."""
    if plan not in plans:
        raise UnknownPlanError(plan, plans)
    if not await _asked(url, _PLAN, {"tenant": tenant_id, "plan": plan}):
        raise UnknownTenantError(tenant_id, "is no tenant, or was deleted")


async def all_tenants(url: str) -> list[str]:
    """One line each."""
    async with visiting(url) as connection, connection.begin():
        await connection.execute(_AS_OWNER)
        rows = (await connection.execute(_ALL)).all()
    lines = []
    for row in rows:
        since = f" by the {row.suspended_by} since {row.suspended_at:%Y-%m-%d %H:%M}" if row.suspended_at else ""
        reason = f" ({row.suspended_reason})" if row.suspended_reason else ""
        members = f"{row.members} member{'' if row.members == 1 else 's'}"
        plan = "" if row.plan == STANDARD else f"  plan {row.plan}"
        lines.append(f"{row.id}  {row.status}{since}{reason}{plan}  {members}  {row.name}")
    return lines


async def _asked(url: str, question: TextClause, values: dict[str, object]) -> bool:
    async with visiting(url) as connection, connection.begin():
        return await _as_owner(connection, question, values)


async def _as_owner(connection: AsyncConnection, question: TextClause, values: dict[str, object]) -> bool:
    await connection.execute(_AS_OWNER)
    return bool(await connection.scalar(question, values))
