"""Routes of what a tenant's hosted bots may take and reach."""

from __future__ import annotations

from typing import Any

from litestar import Request, Router, get, put
from litestar.params import JSONBody

from control_plane.http.caller import CallerDependency
from control_plane.http.openapi import operation
from control_plane.tenants import egress
from control_plane.tenants.egress import EgressView, PlanView, PutEgress

_TENANT = "/tenants/{tenant_id:uuid}"


@get(f"{_TENANT}/plan", **operation("Look at the plan", tag="tenants", tenant="path", scope="tenant:read"))
async def get_plan_route(request: Request[Any, Any, Any], caller: CallerDependency) -> PlanView:
    """What one hosted bot may take, how many may run at once, and how many are wished running now. A change of plan,
    which is the operator's, holds for a bot from its next start.
    """
    async with caller.transaction() as session:
        return await egress.get_plan(session, request.app.state.settings, caller.principal)


@get(f"{_TENANT}/egress", **operation("See what bots may reach", tag="tenants", tenant="path", scope="tenant:read"))
async def get_egress_route(request: Request[Any, Any, Any], caller: CallerDependency) -> EgressView:
    """The tenant's own rules, what comes out together with the operator's, what is closed to every bot and why, and
    whether the firewall has it all (`guard` is `holds`, `unknown`, `failed` or `off`).
    """
    async with caller.transaction() as session:
        return await egress.get_egress(session, request.app.state.settings, caller.principal)


@put(
    f"{_TENANT}/egress",
    **operation("Narrow what bots may reach", tag="tenants", tenant="path", scope="tenant:write", errors=(422,)),
)
async def put_egress_route(
    request: Request[Any, Any, Any], caller: CallerDependency, data: JSONBody[PutEgress]
) -> EgressView:
    """`public`: the internet. `listed`: only `destinations`, each `network` or `network:port`, IPv4. `none`: nothing,
    not even names are resolved. Connections that are open and no longer allowed end at once. Nothing here opens what
    the operator has closed. `applied` tells when the firewall has it, within seconds.
    """
    async with caller.transaction() as session:
        return await egress.put_egress(session, request.app.state.settings, caller.principal, data)


egress_router = Router(path="/", route_handlers=[get_plan_route, get_egress_route, put_egress_route])
