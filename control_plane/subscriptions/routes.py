"""Routes of subscriptions."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, Router, delete, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter

from control_plane.http.caller import CallerDependency
from control_plane.http.idempotency import once
from control_plane.http.openapi import operation
from control_plane.http.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from control_plane.performance.schemas import Interval
from control_plane.security.keyring import wait_for_public_key
from control_plane.subscriptions import queries, service
from control_plane.subscriptions.schemas import (
    CreateSubscription,
    EntryView,
    PatchSubscription,
    SubscriptionView,
    WorthView,
)

SubscriptionId = FromPath[UUID]


@post(
    "/subscriptions",
    status_code=201,
    **operation(
        "Allocate capital to a template",
        tag="subscriptions",
        scope="subscriptions:write",
        idempotent=True,
        errors=(404, 409, 422),
    ),
)
async def subscribe_route(
    request: Request[Any, Any, Any], caller: CallerDependency, data: JSONBody[CreateSubscription]
) -> Response[SubscriptionView]:
    """A dedicated template gets a bot of its own, started at once; a shared one follows the creator's bot."""
    settings = request.app.state.settings
    key = await wait_for_public_key(caller.database, caller.principal.tenant_id)

    async def work(session: Any) -> SubscriptionView:
        subscription_id = await service.subscribe(session, caller.principal, settings, key, data)
        return await queries.get_subscription(session, settings, subscription_id)

    return await once(request, caller, 201, work)


@get("/subscriptions", **operation("List subscriptions", tag="subscriptions", scope="subscriptions:read"))
async def list_subscriptions_route(
    request: Request[Any, Any, Any], caller: CallerDependency, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[SubscriptionView]:
    """Newest first, cancelled ones included."""
    async with caller.transaction() as session:
        rows = await queries.list_subscriptions(
            session, request.app.state.settings, before=decode_cursor(cursor), limit=limit + 1
        )
    return page_of(rows, limit, lambda item: item.id)


@get(
    "/subscriptions/{subscription_id:uuid}",
    **operation("Read a subscription", tag="subscriptions", scope="subscriptions:read", errors=(404,)),
)
async def get_subscription_route(
    request: Request[Any, Any, Any], caller: CallerDependency, subscription_id: SubscriptionId
) -> SubscriptionView:
    """With its worth as last known."""
    async with caller.transaction() as session:
        return await queries.get_subscription(session, request.app.state.settings, subscription_id)


@patch(
    "/subscriptions/{subscription_id:uuid}",
    **operation(
        "Deposit, withdraw, pause or resume", tag="subscriptions", scope="subscriptions:write", errors=(404, 409, 422)
    ),
)
async def patch_subscription_route(
    request: Request[Any, Any, Any],
    caller: CallerDependency,
    subscription_id: SubscriptionId,
    data: JSONBody[PatchSubscription],
) -> SubscriptionView:
    """A changed `allocation_amount` is a deposit or a withdrawal, and never counts as profit."""
    async with caller.transaction() as session:
        await service.change_subscription(session, caller.principal, request.app.state.settings, subscription_id, data)
        return await queries.get_subscription(session, request.app.state.settings, subscription_id)


@delete(
    "/subscriptions/{subscription_id:uuid}",
    status_code=200,
    **operation("Cancel a subscription", tag="subscriptions", scope="subscriptions:write", errors=(404, 409)),
)
async def cancel_subscription_route(
    request: Request[Any, Any, Any], caller: CallerDependency, subscription_id: SubscriptionId
) -> SubscriptionView:
    """A dedicated bot is stopped and taken away; the ledger and the figures stay."""
    async with caller.transaction() as session:
        await service.cancel(session, caller.principal, subscription_id)
        return await queries.get_subscription(session, request.app.state.settings, subscription_id)


@get(
    "/subscriptions/{subscription_id:uuid}/performance",
    **operation("A subscription's worth over time", tag="subscriptions", scope="subscriptions:read", errors=(404, 422)),
)
async def subscription_performance_route(
    request: Request[Any, Any, Any],
    caller: CallerDependency,
    subscription_id: SubscriptionId,
    since: Annotated[datetime | None, QueryParameter(name="from")] = None,
    until: Annotated[datetime | None, QueryParameter(name="to")] = None,
    interval: Annotated[Interval | None, QueryParameter(name="interval")] = None,
) -> WorthView:
    """Oldest first; null where it is not known."""
    async with caller.transaction() as session:
        settings = request.app.state.settings
        return await queries.subscription_performance(session, settings, subscription_id, since, until, interval)


@get(
    "/subscriptions/{subscription_id:uuid}/ledger",
    **operation("Movements of a subscription", tag="subscriptions", scope="subscriptions:read", errors=(404,)),
)
async def ledger_route(
    caller: CallerDependency, subscription_id: SubscriptionId, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[EntryView]:
    """Every deposit, withdrawal, pause and redemption, newest first."""
    async with caller.transaction() as session:
        rows = await queries.list_ledger(session, subscription_id, before=decode_cursor(cursor), limit=limit + 1)
    return page_of(rows, limit, lambda item: item.id)


subscriptions_router = Router(
    path="/",
    route_handlers=[
        subscribe_route,
        list_subscriptions_route,
        get_subscription_route,
        patch_subscription_route,
        cancel_subscription_route,
        subscription_performance_route,
        ledger_route,
    ],
)
