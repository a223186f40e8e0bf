"""Routes of signing in by other providers, and of a person's identities there."""

from __future__ import annotations

import time
from typing import Any
from uuid import UUID

from litestar import Request, Router, delete, get, post
from litestar.params import FromPath, JSONBody

from control_plane.http.address import client_address
from control_plane.http.caller import CallerDependency, require_session
from control_plane.http.openapi import operation
from control_plane.http.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from control_plane.identity import identities, oidc, telegram
from control_plane.identity.factor_schemas import (
    IdentityView,
    OidcProof,
    OidcSignIn,
    OidcStart,
    Providers,
    TelegramProof,
    TelegramSignIn,
)
from control_plane.identity.identities import LINK_RULE, Proof
from control_plane.identity.reauthentication import require_recent
from control_plane.identity.sign_in import SignedIn
from control_plane.security.limits import take


@get("/auth/providers", **operation("List ways in besides a password", auth=False, tag="auth"))
async def providers_route(request: Request[Any, Any, Any]) -> Providers:
    """What a sign-in page of one's own has to offer."""
    settings = request.app.state.settings
    return Providers(
        telegram_bot_name=settings.telegram_bot_name if telegram.is_configured(settings) else None,
        oidc_name=settings.oidc_name if oidc.is_configured(settings) else None,
    )


@post(
    "/auth/telegram",
    status_code=200,
    **operation("Sign in by Telegram", auth=False, tag="auth", errors=(401, 404, 409, 429)),
)
async def telegram_route(request: Request[Any, Any, Any], data: JSONBody[TelegramSignIn]) -> SignedIn:
    """The login widget's answer, as it is, within five minutes and once. Whoever is new gets an account and a tenant.

    401 `totp_required`: send the same again with `totp`.
    """
    state, address = request.app.state, client_address(request)
    await identities.count_attempt(state.database, address)
    proof = _telegram_proof(request, data)

    async def spend() -> bool:
        return await _spend_telegram(request, data)

    return await identities.enter(
        state.database,
        state.settings,
        state.data_keys,
        proof,
        spend=spend,
        totp=data.totp,
        address=address,
        user_agent=request.headers.get("user-agent"),
    )


@get(
    "/auth/oidc/start",
    **operation("Begin a sign-in by the OpenID provider", auth=False, tag="auth", errors=(404, 429)),
)
async def oidc_start_route(request: Request[Any, Any, Any]) -> OidcStart:
    """Keep `state` and send the browser to `authorization_url`. It comes back with a code and a state.

    Take the code only where the state is the one that this very browser was given: otherwise somebody else's sign-in
    would be finished in it.
    """
    state = request.app.state
    await identities.count_attempt(state.database, client_address(request))
    return await oidc.start(state.database, state.settings, None)


@post(
    "/auth/oidc/callback",
    status_code=200,
    **operation("Finish a sign-in by the OpenID provider", auth=False, tag="auth", errors=(401, 404, 409, 429)),
)
async def oidc_callback_route(request: Request[Any, Any, Any], data: JSONBody[OidcSignIn]) -> SignedIn:
    """Waits up to ten seconds for the provider. Whoever is new gets an account and a tenant.

    401 `totp_required`: send the same again with `totp`. 409 `email_known`: there is an account with the address that
    the provider vouches for; sign in there as before and link the identity.
    """
    state = request.app.state
    return await oidc.sign_in(
        state.database,
        state.settings,
        state.data_keys,
        data,
        address=client_address(request),
        user_agent=request.headers.get("user-agent"),
    )


@get("/me/identities", **operation("List who I am elsewhere", tag="me", tenant="any"))
async def list_identities_route(
    caller: CallerDependency, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[IdentityView]:
    """The providers that one may sign in by, newest first."""
    require_session(caller)
    async with caller.transaction() as session:
        rows = await identities.list_identities(session, caller.principal.user_id, decode_cursor(cursor), limit + 1)
    return page_of(rows, limit, lambda item: item.id)


@post(
    "/me/identities/telegram",
    status_code=201,
    **operation("Link my Telegram account", tag="me", tenant="any", errors=(404, 409, 429)),
)
async def link_telegram_route(
    request: Request[Any, Any, Any], caller: CallerDependency, data: JSONBody[TelegramProof]
) -> IdentityView:
    """The login widget's answer, as it is. Needs a session younger than five minutes, since it opens a way in."""
    require_session(caller)
    await take(caller.database, LINK_RULE, str(caller.principal.user_id))
    await require_recent(caller.database, caller.principal, request.app.state.passwords)
    proof = _telegram_proof(request, data)

    async def spend() -> bool:
        return await _spend_telegram(request, data)

    return await identities.link(caller.database, caller.principal, proof, spend)


@get("/me/identities/oidc/start", **operation("Begin to link an identity", tag="me", tenant="any", errors=(404, 429)))
async def link_oidc_start_route(request: Request[Any, Any, Any], caller: CallerDependency) -> OidcStart:
    """As for signing in; what is begun here can be finished by the same person alone, and only to link.

    Needs a session younger than five minutes, since it opens a way in.
    """
    require_session(caller)
    await take(caller.database, LINK_RULE, str(caller.principal.user_id))
    await require_recent(caller.database, caller.principal, request.app.state.passwords)
    return await oidc.start(caller.database, request.app.state.settings, caller.principal)


@post(
    "/me/identities/oidc",
    status_code=201,
    **operation("Link my account at the OpenID provider", tag="me", tenant="any", errors=(404, 409, 429)),
)
async def link_oidc_route(
    request: Request[Any, Any, Any], caller: CallerDependency, data: JSONBody[OidcProof]
) -> IdentityView:
    """Begin by `GET /me/identities/oidc/start`. Waits up to ten seconds for the provider."""
    require_session(caller)
    await take(caller.database, LINK_RULE, str(caller.principal.user_id))
    proof, exchange = await oidc.redeem(caller.database, request.app.state.settings, caller.principal, data)

    async def spend() -> bool:
        return await oidc.end(caller.database, exchange)

    return await identities.link(caller.database, caller.principal, proof, spend)


@delete(
    "/me/identities/{identity_id:uuid}",
    status_code=204,
    **operation("Unlink an identity", tag="me", tenant="any", errors=(404, 409)),
)
async def unlink_route(request: Request[Any, Any, Any], caller: CallerDependency, identity_id: FromPath[UUID]) -> None:
    """Refused where it is the last way in. Ends every other session. Needs a session younger than five minutes."""
    require_session(caller)
    await require_recent(caller.database, caller.principal, request.app.state.passwords)
    async with caller.transaction() as session:
        await identities.unlink(session, caller.principal, identity_id)


def _telegram_proof(request: Request[Any, Any, Any], data: TelegramProof) -> Proof:
    return telegram.proof_of(data, telegram.login_key(request.app.state.settings), time.time())


async def _spend_telegram(request: Request[Any, Any, Any], data: TelegramProof) -> bool:
    until = data.auth_date + telegram.MAXIMUM_AGE_S + telegram.MAXIMUM_LEAD_S
    return await identities.spend_once(request.app.state.database, telegram.digest_of_proof(data), until)


providers_router = Router(
    path="/",
    route_handlers=[
        providers_route,
        telegram_route,
        oidc_start_route,
        oidc_callback_route,
        list_identities_route,
        link_telegram_route,
        link_oidc_start_route,
        link_oidc_route,
        unlink_route,
    ],
)
