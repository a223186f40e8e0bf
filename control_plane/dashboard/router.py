"""The dashboard as one router. Nothing in it is reached without passing ``session.receive``."""

from __future__ import annotations

from typing import Any

from litestar import Request, Router
from litestar.di import Provide

from control_plane.dashboard.forms import provide_form
from control_plane.dashboard.pages import (
    account,
    alerts,
    audit,
    bots,
    channels,
    hosting,
    keys,
    live,
    marketplace,
    registering,
    subscriptions,
    support,
    team,
    templates,
    tenants,
)
from control_plane.dashboard.pages.own import HANDLERS as OWN_HANDLERS
from control_plane.dashboard.session import SignInNeededError, Visitor, receive
from control_plane.http.caller import Caller


async def provide_signed_in(request: Request[Any, Any, Any]) -> Caller:
    """The signed-in person, as the services know callers. Raises :class:`SignInNeededError` for a guest."""
    visitor: Visitor = request.state.visitor
    if visitor.caller is None:
        raise SignInNeededError
    return visitor.caller


dashboard_router = Router(
    path="/",
    route_handlers=[
        *account.HANDLERS,
        *bots.HANDLERS,
        *registering.HANDLERS,
        *live.HANDLERS,
        *marketplace.HANDLERS,
        *subscriptions.HANDLERS,
        *templates.HANDLERS,
        *keys.HANDLERS,
        *support.HANDLERS,
        *OWN_HANDLERS,
        *tenants.HANDLERS,
        *team.HANDLERS,
        *hosting.HANDLERS,
        *audit.HANDLERS,
        *alerts.HANDLERS,
        *channels.HANDLERS,
    ],
    before_request=receive,
    dependencies={"caller": Provide(provide_signed_in), "form": Provide(provide_form)},
    opt={"page": True},
    include_in_schema=False,
)
