"""What the tenant's hosted bots may take and reach: its plan with what is used of it, and the rules, to be narrowed."""

from __future__ import annotations

from typing import Any, Final

from litestar import Request, Response, get, post

from control_plane.bots.schemas import LimitsView
from control_plane.dashboard.forms import REFUSALS, Form, FormDependency, FormState
from control_plane.dashboard.reach import closed, listed
from control_plane.dashboard.rendering import go, page
from control_plane.http.caller import Caller, CallerDependency
from control_plane.plans import LEAST_MEMORY_BYTES
from control_plane.tenants import egress, queries
from control_plane.tenants.egress import EgressView, PutEgress

_FIELDS: Final = ("mode", "destinations")


@get("/team/hosting")
async def hosting_page(request: Request[Any, Any, Any], caller: CallerDependency) -> Response[str]:
    """For every member to read."""
    return await _hosting(request, caller)


async def _hosting(
    request: Request[Any, Any, Any], caller: Caller, form: FormState | None = None, status_code: int = 200
) -> Response[str]:
    """The page. ``form`` is what was refused of a change."""
    person, settings = caller.principal, request.app.state.settings
    person.require("tenant:read")
    async with caller.transaction() as session:
        tenant = await queries.get_tenant(session, person)
        plan = await egress.get_plan(session, settings, person)
        reach = await egress.get_egress(session, settings, person)
    opened, shut = listed(reach.effective)
    return page(
        request,
        "team/hosting.html",
        status_code=status_code,
        tenant=tenant,
        plan=plan,
        needs_more=_needs_more(plan.limits),
        reach=reach,
        opened=opened,
        shut=shut,
        closed=closed(reach.effective.blocked),
        may_narrow=tenant.status == "active" and "tenant:write" in person.scopes,
        form=form or _stored(reach),
    )


def _stored(reach: EgressView) -> FormState:
    """The form with the rules as they are."""
    return FormState(values={"mode": reach.mode, "destinations": "\n".join(reach.destinations)})


def _needs_more(limits: LimitsView) -> list[tuple[str, int]]:
    """Families of bots that get more memory than the plan says, since they would not even start with that."""
    return [(engine, least) for engine, least in sorted(LEAST_MEMORY_BYTES.items()) if least > limits.memory_bytes]


@post("/team/hosting/reach")
async def reach_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[Any]:
    """Narrow what the bots may reach, or widen it again as far as the operator lets them."""
    caller.principal.require("tenant:write")
    try:
        data = form.read(PutEgress, destinations=_destinations(form))
        async with caller.transaction() as session:
            await egress.put_egress(session, request.app.state.settings, caller.principal, data)
    except REFUSALS as error:
        return await _hosting(request, caller, form.refused(error, shown=_FIELDS), error.status)
    return go(request, "/team/hosting", say="reach-changed")


def _destinations(form: Form) -> list[str]:
    """Entries one a line, or apart by commas or spaces."""
    return form.get("destinations").replace(",", " ").split()


HANDLERS = [hosting_page, reach_action]
