"""Who a person is at other providers: listed, linked, taken away."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.params import FromPath

from control_plane.dashboard.entrance import TRIES, oidc_name, told
from control_plane.dashboard.forms import FormDependency, FormState
from control_plane.dashboard.pages.own.exchange import LINK, Kept, keep
from control_plane.dashboard.pages.own.profile import ANY_TENANT
from control_plane.dashboard.pages.own.proof import still_them
from control_plane.dashboard.rendering import go, page
from control_plane.errors import AppError
from control_plane.http.caller import Caller, CallerDependency
from control_plane.identity import identities, oidc
from control_plane.identity.identities import LINK_RULE, NotConfiguredError
from control_plane.security.limits import take

_MOST = 100


@get("/account/identities", opt=ANY_TENANT)
async def identities_page(request: Request[Any, Any, Any], caller: CallerDependency) -> Response[str]:
    """The ways in besides the password."""
    return await identities_shown(request, caller, FormState())


async def identities_shown(
    request: Request[Any, Any, Any], caller: Caller, form: FormState, error: AppError | None = None
) -> Response[str]:
    """The page, after ``error`` with what was wrong."""
    async with caller.transaction() as session:
        found = await identities.list_identities(session, caller.principal.user_id, None, _MOST)
    name = oidc_name(request.app.state.settings)
    shown = page(
        request,
        "account/identities.html",
        status_code=error.status if error else 200,
        identities=found,
        form=form,
        oidc_name=name,
        names={"oidc": name or "OpenID", "telegram": "Telegram"},
    )
    return told(shown, error) if error else shown


@post("/account/identities/oidc", opt=ANY_TENANT)
async def link_action(request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency) -> Response[str]:
    """Begin to link; the page leads on to the provider.

    A form may not be answered with the way to another site (the policy of our pages), so the page goes there itself.
    By a form of ours and no link: who could make a browser begin this could link themself to somebody's account.
    """
    state = request.app.state
    try:
        await take(caller.database, LINK_RULE, str(caller.principal.user_id))
        await still_them(request, caller, form)
        begun = await oidc.start(caller.database, state.settings, caller.principal)
    except (*TRIES, NotConfiguredError) as error:
        return await identities_shown(request, caller, form.refused(error, shown=("password",)), error)
    shown = page(
        request, "account/leaving.html", address=begun.authorization_url, oidc_name=oidc_name(state.settings) or ""
    )
    shown.cookies.append(keep(state.settings, Kept(purpose=LINK, state=begun.state)))
    return shown


@post("/account/identities/{identity_id:uuid}/unlink", opt=ANY_TENANT)
async def unlink_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency, identity_id: FromPath[UUID]
) -> Response[Any]:
    """Take one away, unless it is the last way in."""
    try:
        await still_them(request, caller, form)
        async with caller.transaction() as session:
            await identities.unlink(session, caller.principal, identity_id)
    except TRIES as error:
        return await identities_shown(request, caller, form.refused(error, shown=()), error)
    return go(request, "/account/identities", say="identity-unlinked")


HANDLERS = [identities_page, link_action, unlink_action]
