"""Routes of webhooks."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, Response, Router, delete, get, patch, post
from litestar.params import FromPath, JSONBody

from control_plane.alerts import channels
from control_plane.http.caller import CallerDependency
from control_plane.http.idempotency import once
from control_plane.http.openapi import operation
from control_plane.http.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from control_plane.security.keyring import wait_for_public_key
from control_plane.webhooks import service
from control_plane.webhooks.schemas import (
    DeliveryView,
    NewWebhook,
    PatchWebhook,
    RotateSecret,
    TestView,
    WebhookView,
)

_ONE = "/webhooks/{webhook_id:uuid}"
WebhookId = FromPath[UUID]


@post(
    "/webhooks",
    status_code=201,
    **operation(
        "Make a webhook; its secret is shown once",
        tag="webhooks",
        scope="alerts:write",
        idempotent=True,
        errors=(409, 422),
    ),
)
async def create_webhook_route(
    request: Request[Any, Any, Any], caller: CallerDependency, data: JSONBody[NewWebhook]
) -> Response[WebhookView]:
    """Alerts are posted there from now on, signed by the Standard Webhooks scheme with `signing_secret`. A replayed
    answer does not carry the secret.
    """
    settings = request.app.state.settings
    key = await wait_for_public_key(caller.database, caller.principal.tenant_id)
    return await once(
        request,
        caller,
        201,
        lambda session: service.create(session, caller.principal, settings, key, data),
        stored=service.without_secret,
    )


@get("/webhooks", **operation("List webhooks", tag="webhooks", scope="alerts:read"))
async def list_webhooks_route(
    caller: CallerDependency, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[WebhookView]:
    """Newest first."""
    async with caller.transaction() as session:
        rows = await service.many(session, caller.principal, decode_cursor(cursor), limit + 1)
    return page_of(rows, limit, lambda item: item.id)


@get(_ONE, **operation("Read a webhook", tag="webhooks", scope="alerts:read", errors=(404,)))
async def get_webhook_route(caller: CallerDependency, webhook_id: WebhookId) -> WebhookView:
    """Without its secret, which is never shown again: rotate it where it is lost."""
    async with caller.transaction() as session:
        return await service.get(session, caller.principal, webhook_id)


@patch(_ONE, **operation("Change a webhook", tag="webhooks", scope="alerts:write", errors=(404, 422)))
async def patch_webhook_route(
    request: Request[Any, Any, Any], caller: CallerDependency, webhook_id: WebhookId, data: JSONBody[PatchWebhook]
) -> WebhookView:
    """Fields left out are kept. `enabled: true` brings back one that was given up."""
    async with caller.transaction() as session:
        return await service.change(session, caller.principal, request.app.state.settings, webhook_id, data)


@delete(_ONE, status_code=204, **operation("Remove a webhook", tag="webhooks", scope="alerts:write", errors=(404,)))
async def delete_webhook_route(caller: CallerDependency, webhook_id: WebhookId) -> None:
    """With its log. What was on its way is not sent any more."""
    async with caller.transaction() as session:
        await service.remove(session, caller.principal, webhook_id)


@post(
    f"{_ONE}/rotate",
    status_code=201,
    **operation(
        "Replace the signing secret, shown once",
        tag="webhooks",
        scope="alerts:write",
        idempotent=True,
        errors=(404,),
    ),
)
async def rotate_webhook_route(
    request: Request[Any, Any, Any],
    caller: CallerDependency,
    webhook_id: WebhookId,
    data: JSONBody[RotateSecret | None] = None,
) -> Response[WebhookView]:
    """During the overlap each message carries a signature by both. A replayed answer does not carry the secret."""
    key = await wait_for_public_key(caller.database, caller.principal.tenant_id)
    return await once(
        request,
        caller,
        201,
        lambda session: service.rotate(session, caller.principal, key, webhook_id, data or RotateSecret()),
        stored=service.without_secret,
    )


@post(
    f"{_ONE}/test",
    status_code=202,
    **operation("Send a test message", tag="webhooks", scope="alerts:write", idempotent=True, errors=(404, 429)),
)
async def test_webhook_route(
    request: Request[Any, Any, Any], caller: CallerDependency, webhook_id: WebhookId
) -> Response[TestView]:
    """One message of type `channel.test`, tried once. Its outcome is in the webhook's deliveries within seconds."""
    await channels.count_test(caller.database, caller.principal)
    return await once(request, caller, 202, lambda session: service.test(session, caller.principal, webhook_id))


@get(f"{_ONE}/deliveries", **operation("Read the delivery log", tag="webhooks", scope="alerts:read", errors=(404,)))
async def list_deliveries_route(
    caller: CallerDependency, webhook_id: WebhookId, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[DeliveryView]:
    """Every try of the last thirty days, newest first."""
    async with caller.transaction() as session:
        rows = await service.deliveries(session, caller.principal, webhook_id, decode_cursor(cursor), limit + 1)
    return page_of(rows, limit, lambda item: item.id)


webhooks_router = Router(
    path="/",
    route_handlers=[
        create_webhook_route,
        list_webhooks_route,
        get_webhook_route,
        patch_webhook_route,
        delete_webhook_route,
        rotate_webhook_route,
        test_webhook_route,
        list_deliveries_route,
    ],
)
