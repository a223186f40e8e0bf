"""Routes of identity: auth, me, API keys."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, Response, Router, delete, get, patch, post
from litestar.params import FromPath, JSONBody
from sqlalchemy import text

from control_plane.http.address import client_address
from control_plane.http.caller import Caller, CallerDependency, require_session
from control_plane.http.idempotency import once
from control_plane.http.openapi import operation
from control_plane.http.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from control_plane.identity import api_keys, sign_in
from control_plane.identity.schemas import Accepted, KeyView, MeView, NewKey, PatchMe, SignIn, SignUp
from control_plane.identity.sign_in import SignedIn

_SIGN_UP_ANSWER = Accepted("if this address is new here, the account is ready: sign in")


@post("/auth/sign-up", status_code=202, **operation("Make a person and their tenant", auth=False, tag="auth"))
async def sign_up_route(request: Request[Any, Any, Any], data: JSONBody[SignUp]) -> Accepted:
    """The same answer and the same work whether or not the address is known."""
    await sign_in.sign_up(request.app.state.database, request.app.state.passwords, data)
    return _SIGN_UP_ANSWER


@post("/auth/sign-in", status_code=200, **operation("Open a session", auth=False, tag="auth", errors=(401,)))
async def sign_in_route(request: Request[Any, Any, Any], data: JSONBody[SignIn]) -> SignedIn:
    """`access_token` goes into `Authorization: Bearer …`."""
    return await sign_in.sign_in(
        request.app.state.database,
        request.app.state.passwords,
        request.app.state.settings,
        email=data.email,
        password=data.password,
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
        await session.execute(
            text("update users set full_name = :name where id = :id"),
            {"name": data.full_name, "id": caller.principal.user_id},
        )
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


@post(
    "/api-keys",
    status_code=201,
    **operation("Make an API key, shown once", tag="keys", scope="keys:write", idempotent=True, errors=(422,)),
)
async def create_key_route(
    request: Request[Any, Any, Any], caller: CallerDependency, data: JSONBody[NewKey]
) -> Response[KeyView]:
    """A key can never do more than its maker can at the time it is used. A replayed answer does not carry the key."""
    return await once(
        request,
        caller,
        201,
        lambda session: api_keys.create_key(session, caller.principal, data),
        stored=api_keys.without_key,
    )


@get("/api-keys", **operation("List API keys", tag="keys", scope="keys:read"))
async def list_keys_route(
    caller: CallerDependency, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[KeyView]:
    """Newest first, revoked ones included."""
    async with caller.transaction() as session:
        rows = await api_keys.list_keys(session, caller.principal, decode_cursor(cursor), limit + 1)
    return page_of(rows, limit, lambda item: item.id)


@delete(
    "/api-keys/{key_id:uuid}",
    status_code=204,
    **operation("Revoke an API key", tag="keys", scope="keys:write", errors=(404,)),
)
async def revoke_key_route(caller: CallerDependency, key_id: FromPath[UUID]) -> None:
    """It stops working at once."""
    async with caller.transaction() as session:
        await api_keys.revoke_key(session, caller.principal, key_id)


identity_router = Router(
    path="/",
    route_handlers=[
        sign_up_route,
        sign_in_route,
        sign_out_route,
        me_route,
        patch_me_route,
        create_key_route,
        list_keys_route,
        revoke_key_route,
    ],
)
