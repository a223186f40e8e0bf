"""Routes of a person's second factor."""

from __future__ import annotations

from typing import Any

from litestar import Request, Router, delete, get, post
from litestar.params import JSONBody

from control_plane.http.caller import CallerDependency, require_session
from control_plane.http.openapi import operation
from control_plane.identity import factors
from control_plane.identity.factor_schemas import Code, NewTotp, RecoveryCodes, TotpSeed, TotpView
from control_plane.identity.reauthentication import require_recent


@get("/me/totp", **operation("How my second factor stands", tag="me", tenant="any"))
async def totp_route(caller: CallerDependency) -> TotpView:
    """Whether it is on, since when, and how many recovery codes are left."""
    async with caller.transaction() as session:
        return await factors.view(session, caller.principal.user_id)


@post(
    "/me/totp",
    status_code=201,
    **operation("Begin to set up an authenticator", tag="me", tenant="any", errors=(409, 429)),
)
async def begin_totp_route(
    request: Request[Any, Any, Any], caller: CallerDependency, data: JSONBody[NewTotp]
) -> TotpSeed:
    """The seed, shown once. Nothing changes until a code of it is confirmed; beginning again makes another seed.

    Needs the password, or a session younger than five minutes.
    """
    require_session(caller)
    state = request.app.state
    await require_recent(caller.database, caller.principal, state.passwords, data.password)
    async with caller.transaction() as session:
        return await factors.begin(session, caller.principal, state.data_keys)


@post(
    "/me/totp/confirm",
    status_code=200,
    **operation("Turn the second factor on", tag="me", tenant="any", errors=(409, 422, 429)),
)
async def confirm_totp_route(
    request: Request[Any, Any, Any], caller: CallerDependency, data: JSONBody[Code]
) -> RecoveryCodes:
    """From now on signing in needs a code. Ends every other session; recovery codes are shown once."""
    require_session(caller)
    return await factors.confirm(caller.database, caller.principal, request.app.state.data_keys, data.code)


@post(
    "/me/totp/recovery-codes",
    status_code=200,
    **operation("Make new recovery codes", tag="me", tenant="any", errors=(409, 422, 429)),
)
async def recovery_codes_route(
    request: Request[Any, Any, Any], caller: CallerDependency, data: JSONBody[Code]
) -> RecoveryCodes:
    """The old ones are worthless at once."""
    require_session(caller)
    return await factors.renew_codes(caller.database, caller.principal, request.app.state.data_keys, data.code)


@delete(
    "/me/totp",
    status_code=204,
    **operation("Turn the second factor off", tag="me", tenant="any", errors=(409, 422, 429)),
)
async def remove_totp_route(request: Request[Any, Any, Any], caller: CallerDependency, data: JSONBody[Code]) -> None:
    """Needs a code of the authenticator, or a recovery code. Ends every other session."""
    require_session(caller)
    await factors.remove(caller.database, caller.principal, request.app.state.data_keys, data.code)


factors_router = Router(
    path="/",
    route_handlers=[
        totp_route,
        begin_totp_route,
        confirm_totp_route,
        recovery_codes_route,
        remove_totp_route,
    ],
)
