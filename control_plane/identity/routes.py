"""Routes of identity: auth, me."""

from __future__ import annotations

from typing import Any

from litestar import Request, Router, get, patch, post
from litestar.params import JSONBody

from control_plane.http.address import client_address
from control_plane.http.caller import Caller, CallerDependency, require_session
from control_plane.http.openapi import operation
from control_plane.identity import sign_in
from control_plane.identity.account_routes import ACCOUNT_ROUTES
from control_plane.identity.people import rename
from control_plane.identity.schemas import Accepted, MeView, PatchMe, SignIn, SignUp
from control_plane.identity.sign_in import SignedIn
from control_plane.identity.sign_up import sign_up

_SIGN_UP_ANSWER = Accepted(
    "if this address is new here, the account is ready: sign in; a mail to it is on its way, with a code to confirm it"
)


@post(
    "/auth/sign-up",
    status_code=202,
    **operation("Make a person and their tenant", auth=False, tag="auth", errors=(429,)),
)
async def sign_up_route(request: Request[Any, Any, Any], data: JSONBody[SignUp]) -> Accepted:
    """The same answer and the same work whether or not the address is known; the mail tells the difference."""
    state = request.app.state
    await sign_up(state.database, state.passwords, state.settings, data, address=client_address(request))
    return _SIGN_UP_ANSWER


@post(
    "/auth/sign-in",
    status_code=200,
    **operation("Open a session", auth=False, tag="auth", errors=(401, 403, 429)),
)
async def sign_in_route(request: Request[Any, Any, Any], data: JSONBody[SignIn]) -> SignedIn:
    """`access_token` goes into `Authorization: Bearer …`.

    401 `totp_required`: send the same again with `totp`.

    After some wrong passwords in a row the account is locked for a while, for the right one as well (429). Where
    addresses must be confirmed, the right password of one that is not gets 403 `email_not_verified`, and a fresh code
    by mail.
    """
    return await sign_in.sign_in(
        request.app.state.database,
        request.app.state.passwords,
        request.app.state.settings,
        data_keys=request.app.state.data_keys,
        email=data.email,
        password=data.password,
        totp=data.totp,
        address=client_address(request),
        user_agent=request.headers.get("user-agent"),
    )


@post("/auth/sign-out", status_code=204, **operation("End this session", tag="auth", tenant="any"))
async def sign_out_route(caller: CallerDependency) -> None:
    """The token is worthless afterwards."""
    require_session(caller)
    await sign_in.sign_out(caller.database, caller.principal)


@get("/me", **operation("Who am I", tag="me", tenant="any"))
async def me_route(caller: CallerDependency) -> MeView:
    """The person, the tenant acted in, and the scopes held there."""
    return await _me(caller)


@patch("/me", **operation("Change my profile", tag="me", tenant="any"))
async def patch_me_route(caller: CallerDependency, data: JSONBody[PatchMe]) -> MeView:
    """Only the name, for now."""
    require_session(caller)
    async with caller.transaction() as session:
        await rename(session, caller.principal.user_id, data.full_name)
    return await _me(caller)


async def _me(caller: Caller) -> MeView:
    principal = caller.principal
    async with caller.transaction() as session:
        user = await sign_in.user_view(session, principal.user_id)
        tenants = await sign_in.tenants_of(session, principal.user_id)
    current = next((item for item in tenants if item.id == principal.tenant), None)
    # A key is of one tenant: who holds it learns nothing of the others that its maker is in.
    shown = [item for item in tenants if principal.key_id is None or item is current]
    return MeView(user=user, tenant=current, tenants=shown, scopes=sorted(principal.scopes))


identity_router = Router(
    path="/",
    route_handlers=[
        sign_up_route,
        sign_in_route,
        sign_out_route,
        me_route,
        patch_me_route,
        *ACCOUNT_ROUTES,
    ],
)
