"""Routes of the audit log."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from litestar import Router, get
from litestar.params import QueryParameter

from control_plane.audit import queries
from control_plane.audit.queries import Wanted
from control_plane.audit.schemas import EventView, VerifyView
from control_plane.http.caller import CallerDependency
from control_plane.http.openapi import operation
from control_plane.http.pagination import DEFAULT_LIMIT, Cursor, Limit, Page

Actor = Annotated[
    str | None, QueryParameter(name="actor", description="`user`, `key`, `agent` or `role`, alone or with `:<id>`.")
]
Action = Annotated[
    str | None, QueryParameter(name="action", description="As in `bot.created`; `bot.*` for all of a subject.")
]
Resource = Annotated[str | None, QueryParameter(name="resource", description="As in `bot`, alone or with `:<id>`.")]
From = Annotated[datetime | None, QueryParameter(name="from", description="Only events at this time or later.")]
To = Annotated[datetime | None, QueryParameter(name="to", description="Only events before this time.")]


@get("/audit", **operation("Read the audit log", tag="audit", scope="audit:read"))
async def list_events_route(
    caller: CallerDependency,
    actor: Actor = None,
    action: Action = None,
    resource: Resource = None,
    since: From = None,
    to: To = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[EventView]:
    """What was done in this tenant, by whom and from where, newest first. No secret is ever in it."""
    wanted = Wanted(actor=actor, action=action, resource=resource, since=since, until=to)
    async with caller.transaction() as session:
        return await queries.list_events(session, wanted, bots=caller.principal.bots, cursor=cursor, limit=limit)


@get("/audit/verify", **operation("Verify the audit log", tag="audit", scope="audit:read"))
async def verify_route(caller: CallerDependency) -> VerifyView:
    """Computes the tenant's chain of hashes anew and checks the signed heads; names the first event that is altered,
    missing or out of order."""
    async with caller.transaction() as session:
        return await queries.verify_chain(session)


audit_router = Router(path="/", route_handlers=[list_events_route, verify_route])
