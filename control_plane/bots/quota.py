"""How many bots a tenant may have running at once, by its plan."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.errors import ConflictError
from control_plane.identity.principal import Principal
from control_plane.plans import Plan, plan_of

# Nothing that only refers to the tenant waits for this. To be taken before any lock on a bot, as whoever ends a tenant
# does.
_TURN = text("select plan from tenants where id = :tenant for no key update")
_WISHED = text("select hosted_bots_wished()")


async def wished(session: AsyncSession) -> int:
    """How many hosted bots of the bound tenant are wished running."""
    return int(await session.scalar(_WISHED) or 0)


async def take_turn(session: AsyncSession, principal: Principal) -> str:
    """Wait for other starts of the same tenant; until the transaction ends its bots are counted by nobody else.

    Returns the name of the tenant's plan.
    """
    return str(await session.scalar(_TURN, {"tenant": principal.tenant_id}))


async def require_room(session: AsyncSession, plans: Mapping[str, Plan], name: str) -> None:
    """Room for one more bot; the caller has taken its turn. Raises 409 `quota_exceeded`."""
    most = plan_of(plans, name).running_bots
    if most is not None and await wished(session) >= most:
        raise ConflictError(
            f"the plan {name} lets {most} hosted bot{'' if most == 1 else 's'} run at once: stop another one first, or"
            " ask your operator for a larger plan",
            code="quota_exceeded",
        )
