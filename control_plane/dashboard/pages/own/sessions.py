"""Where a person is signed in, and the end of each."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.params import FromPath

from control_plane.dashboard.devices import device_words
from control_plane.dashboard.pages.own.profile import ANY_TENANT
from control_plane.dashboard.rendering import go, page
from control_plane.http.caller import CallerDependency
from control_plane.identity import sessions

_MOST = 100


@get("/account/sessions", opt=ANY_TENANT)
async def sessions_page(request: Request[Any, Any, Any], caller: CallerDependency) -> Response[str]:
    """The live ones, newest first."""
    settings = request.app.state.settings
    async with caller.transaction() as session:
        found = await sessions.list_sessions(session, settings, caller.principal, None, _MOST)
    shown = [(item, device_words(item.user_agent)) for item in found]
    return page(request, "account/sessions.html", sessions=shown)


@post("/account/sessions/{session_id:uuid}/revoke", opt=ANY_TENANT)
async def revoke_action(
    request: Request[Any, Any, Any], caller: CallerDependency, session_id: FromPath[UUID]
) -> Response[Any]:
    """One of them ends at once."""
    async with caller.transaction() as session:
        await sessions.revoke_session(session, request.app.state.settings, caller.principal, session_id)
    return go(request, "/account/sessions", say="session-ended")


@post("/account/sessions/revoke-others", opt=ANY_TENANT)
async def revoke_others_action(request: Request[Any, Any, Any], caller: CallerDependency) -> Response[Any]:
    """All but the one that asks."""
    async with caller.transaction() as session:
        await sessions.revoke_others(session, caller.principal)
    return go(request, "/account/sessions", say="sessions-ended")


HANDLERS = [sessions_page, revoke_action, revoke_others_action]
