"""Routes of a person's own account: codes by mail, the password, sessions."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, delete, get, post
from litestar.handlers import BaseRouteHandler
from litestar.params import FromPath, JSONBody

from control_plane.http.address import client_address
from control_plane.http.caller import CallerDependency, require_session
from control_plane.http.openapi import operation
from control_plane.http.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from control_plane.identity import codes, password, sessions
from control_plane.identity.schemas import (
    Accepted,
    ChangePassword,
    EmailOnly,
    ResetPassword,
    SessionView,
    VerifyEmail,
)

_CODE_SENT = Accepted("if this address has an account here that needs it, a mail with a code is on its way")
_VERIFIED = Accepted("the address is confirmed: sign in")
_RESET = Accepted("the password is set and every session has ended: sign in")


@post(
    "/auth/verify-email",
    status_code=200,
    **operation("Confirm an e-mail address", auth=False, tag="auth", errors=(422, 429)),
)
async def verify_email_route(request: Request[Any, Any, Any], data: JSONBody[VerifyEmail]) -> Accepted:
    """By the code that was mailed to it. Dashes and case do not matter; a code is good once."""
    await codes.verify_email(
        request.app.state.database, email=data.email, code=data.code, address=client_address(request)
    )
    return _VERIFIED


@post(
    "/auth/verify-email/resend",
    status_code=202,
    **operation("Mail a fresh code to confirm an address", auth=False, tag="auth", errors=(429,)),
)
async def resend_route(request: Request[Any, Any, Any], data: JSONBody[EmailOnly]) -> Accepted:
    """The same answer for every address. An earlier code is good no longer."""
    await _send(request, "verify_email", data.email)
    return _CODE_SENT


@post(
    "/auth/password/forgot",
    status_code=202,
    **operation("Mail a code to set a new password", auth=False, tag="auth", errors=(429,)),
)
async def forgot_route(request: Request[Any, Any, Any], data: JSONBody[EmailOnly]) -> Accepted:
    """The same answer for every address. An earlier code is good no longer."""
    await _send(request, "reset_password", data.email)
    return _CODE_SENT


async def _send(request: Request[Any, Any, Any], purpose: codes.Purpose, email: str) -> None:
    state = request.app.state
    await codes.send_code(state.database, state.settings, purpose, email, client_address(request))


@post(
    "/auth/password/reset",
    status_code=200,
    **operation("Set a new password by a mailed code", auth=False, tag="auth", errors=(422, 429)),
)
async def reset_route(request: Request[Any, Any, Any], data: JSONBody[ResetPassword]) -> Accepted:
    """Every session of the person ends. A second factor stays as it is."""
    state = request.app.state
    await codes.reset_password(
        state.database,
        state.passwords,
        state.settings,
        email=data.email,
        code=data.code,
        new_password=data.new_password,
        address=client_address(request),
    )
    return _RESET


@post(
    "/me/password",
    status_code=204,
    **operation("Change my password", tag="me", tenant="any", errors=(409, 422, 429)),
)
async def change_password_route(
    request: Request[Any, Any, Any], caller: CallerDependency, data: JSONBody[ChangePassword]
) -> None:
    """Every other session ends, and a mail tells the owner of the account."""
    require_session(caller)
    state = request.app.state
    await password.change_password(
        state.database,
        state.passwords,
        state.settings,
        caller.principal,
        current_password=data.current_password,
        new_password=data.new_password,
    )


@get("/me/sessions", **operation("Where I am signed in", tag="me", tenant="any"))
async def list_sessions_route(
    request: Request[Any, Any, Any], caller: CallerDependency, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[SessionView]:
    """Live sessions, newest first."""
    require_session(caller)
    settings = request.app.state.settings
    async with caller.transaction() as session:
        rows = await sessions.list_sessions(session, settings, caller.principal, decode_cursor(cursor), limit + 1)
    return page_of(rows, limit, lambda item: item.id)


@delete("/me/sessions", status_code=204, **operation("Sign out everywhere else", tag="me", tenant="any"))
async def revoke_others_route(caller: CallerDependency) -> None:
    """Every session ends but the one that asks."""
    require_session(caller)
    async with caller.transaction() as session:
        await sessions.revoke_others(session, caller.principal)


@delete(
    "/me/sessions/{session_id:uuid}",
    status_code=204,
    **operation("End a session", tag="me", tenant="any", errors=(404,)),
)
async def revoke_session_route(
    request: Request[Any, Any, Any], caller: CallerDependency, session_id: FromPath[UUID]
) -> None:
    """Its token is worthless at once. One's own may be ended as well."""
    require_session(caller)
    async with caller.transaction() as session:
        await sessions.revoke_session(session, request.app.state.settings, caller.principal, session_id)


ACCOUNT_ROUTES: list[BaseRouteHandler] = [
    verify_email_route,
    resend_route,
    forgot_route,
    reset_route,
    change_password_route,
    list_sessions_route,
    revoke_others_route,
    revoke_session_route,
]
