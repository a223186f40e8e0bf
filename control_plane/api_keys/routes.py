"""Routes of API keys."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, Response, Router, delete, get, post
from litestar.params import FromPath, JSONBody

from control_plane.api_keys import service
from control_plane.api_keys.schemas import KeyView, NewKey, RotateKey
from control_plane.http.caller import CallerDependency
from control_plane.http.idempotency import once
from control_plane.http.openapi import operation
from control_plane.http.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of


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
        lambda session: service.create_key(session, caller.principal, data),
        stored=service.without_key,
    )


@get("/api-keys", **operation("List API keys", tag="keys", scope="keys:read"))
async def list_keys_route(
    caller: CallerDependency, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[KeyView]:
    """Newest first, revoked ones included."""
    async with caller.transaction() as session:
        rows = await service.list_keys(session, caller.principal, decode_cursor(cursor), limit + 1)
    return page_of(rows, limit, lambda item: item.id)


@delete(
    "/api-keys/{key_id:uuid}",
    status_code=204,
    **operation("Revoke an API key", tag="keys", scope="keys:write", errors=(404,)),
)
async def revoke_key_route(caller: CallerDependency, key_id: FromPath[UUID]) -> None:
    """It stops working at once, and so does what it made."""
    async with caller.transaction() as session:
        await service.revoke_key(session, caller.principal, key_id)


@post(
    "/api-keys/{key_id:uuid}/rotate",
    status_code=201,
    **operation(
        "Replace an API key by a new one, shown once",
        tag="keys",
        scope="keys:write",
        idempotent=True,
        errors=(404, 409),
    ),
)
async def rotate_key_route(
    request: Request[Any, Any, Any],
    caller: CallerDependency,
    key_id: FromPath[UUID],
    data: JSONBody[RotateKey | None] = None,
) -> Response[KeyView]:
    """The new one carries the old one's name, scopes, restrictions and end; both work during the overlap.

    Only for who could make such a key, and acts as them. A replayed answer does not carry the key.
    """
    return await once(
        request,
        caller,
        201,
        lambda session: service.rotate_key(session, caller.principal, key_id, (data or RotateKey()).overlap_seconds),
        stored=service.without_key,
    )


api_keys_router = Router(
    path="/", route_handlers=[create_key_route, list_keys_route, revoke_key_route, rotate_key_route]
)
