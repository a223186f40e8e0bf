"""``GET /events``: the caller's tenant, live."""

from __future__ import annotations

from typing import Any

from litestar import Request, Router, get
from litestar.response import ServerSentEvent

from control_plane.errors import AppError
from control_plane.http.caller import CallerDependency, identify
from control_plane.http.openapi import operation
from control_plane.live.stream import event_stream


@get("/events", **operation("Follow changes of bots and subscriptions", tag="live", scope="bots:read"))
async def events_route(request: Request[Any, Any, Any], caller: CallerDependency) -> ServerSentEvent:
    """Server-sent events `{kind, id}`: read what changed to know how. `Last-Event-ID` tells what was missed first."""

    async def still_good() -> bool:
        try:
            now = (await identify(request)).principal
        except AppError:
            return False
        return now.tenant == caller.principal.tenant and "bots:read" in now.scopes

    return event_stream(
        request.app.state.hub,
        caller.database,
        caller.principal.binding,
        request.headers.get("last-event-id"),
        still_good=still_good,
    )


live_router = Router(path="/", route_handlers=[events_route])
