"""Which tenant a person works in: chosen in the bar, made anew, or joined by an invitation that came by mail."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.datastructures import Cookie
from uuid_utils.compat import uuid7

from control_plane.dashboard.forms import REFUSALS, FormDependency, FormState, in_words
from control_plane.dashboard.rendering import go, page
from control_plane.dashboard.session import TENANT, Visitor, make_cookie
from control_plane.errors import ForbiddenError, NotFoundError
from control_plane.http.caller import CallerDependency
from control_plane.security.limits import TooManyAttemptsError
from control_plane.tenants import invitations, service
from control_plane.tenants.schemas import AcceptInvitation, NewTenant

_ANY_TENANT = {"any_tenant": True}
#: Pages that every tenant has and every role may open: who switches there stays there.
_EVERYWHERE: Final = frozenset({"/", "/marketplace", "/subscriptions", "/templates", "/team"})


def chosen(request: Request[Any, Any, Any], tenant_id: UUID | None) -> Cookie:
    """The choice as the browser keeps it: a mere id, which is looked at anew with each request. None forgets it."""
    settings = request.app.state.settings
    lifetime = int(settings.session_lifetime) if tenant_id else 0
    return make_cookie(settings, TENANT, str(tenant_id or ""), lifetime)


@post("/switch-tenant", opt=_ANY_TENANT)
async def switch_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[Any]:
    """Work in another tenant from now on."""
    wished = form.get("tenant")
    found = next((tenant.id for tenant in caller.principal.tenants if str(tenant.id) == wished), None)
    if found is None:
        raise NotFoundError("tenant")
    here = form.get("next")
    return go(request, here if here in _EVERYWHERE else "/", cookies=[chosen(request, found)])


@get("/tenants/new", opt=_ANY_TENANT)
async def new_tenant_page(request: Request[Any, Any, Any]) -> Response[str]:
    """The form for a further tenant; for somebody who is in none, the way into one."""
    return page(request, "team/new.html", form=FormState())


@post("/tenants", opt=_ANY_TENANT)
async def found_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[Any]:
    """Make it, and go there."""
    tenant_id = uuid7()
    there = msgspec.structs.replace(caller.principal, tenant=tenant_id)
    try:
        data = form.read(NewTenant)
        await service.count_founding(caller.database, caller.principal)
        async with caller.database.transaction(there.binding) as session:
            await service.found(session, caller.principal, tenant_id, data)
    except (*REFUSALS, TooManyAttemptsError) as error:
        return page(request, "team/new.html", status_code=error.status, form=form.refused(error, shown=("name",)))
    return go(request, "/", say="tenant-made", cookies=[chosen(request, tenant_id)])


@get("/invitations", opt={"guest": True})
async def invitation_page(request: Request[Any, Any, Any]) -> Response[str]:
    """Where the mail leads. The code stands behind the ``#`` of the address, which browsers keep to themselves: the
    page's script puts it into the field, and keeps it in the tab while a guest signs in.
    """
    return _invitation(request, FormState())


def _invitation(request: Request[Any, Any, Any], form: FormState, status: int = 200) -> Response[str]:
    visitor: Visitor = request.state.visitor
    return page(request, "team/invitation.html", status_code=status, form=form, guest=visitor.caller is None)


@post("/invitations/accept", opt=_ANY_TENANT)
async def accept_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[Any]:
    """Join the tenant that the code leads to, and go there. The code is never put into a page."""
    try:
        data = AcceptInvitation(token=form.read(AcceptInvitation).token.strip())
        joined = await invitations.accept(caller.database, caller.principal, data.token)
    except REFUSALS as error:
        return _invitation(request, FormState(errors=form.refused(error, shown=("token",)).errors), error.status)
    except (NotFoundError, ForbiddenError, TooManyAttemptsError) as error:
        return _invitation(request, FormState(errors={"token": in_words(error.detail)}), error.status)
    return go(request, "/team", say="joined", cookies=[chosen(request, joined.id)])


HANDLERS = [switch_action, new_tenant_page, found_action, invitation_page, accept_action]
