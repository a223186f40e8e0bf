"""Routes of templates and of the marketplace."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, Router, delete, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter

from control_plane.http.caller import CallerDependency
from control_plane.http.idempotency import once
from control_plane.http.openapi import operation
from control_plane.http.pagination import (
    DEFAULT_LIMIT,
    Cursor,
    Limit,
    Page,
    decode_cursor,
    decode_position,
    page_at,
    page_of,
)
from control_plane.security.keyring import wait_for_public_key
from control_plane.templates import marketplace, queries, service
from control_plane.templates.schemas import (
    CreateTemplate,
    CreateVersion,
    ListingView,
    PatchTemplate,
    RiskLevel,
    StrategyType,
    TemplateView,
)
from control_plane.templates.search import Parameters, Words, wanted

TemplateId = FromPath[UUID]


@post(
    "/templates",
    status_code=201,
    **operation("Create a template", tag="templates", scope="templates:write", idempotent=True, errors=(422,)),
)
async def create_template_route(
    request: Request[Any, Any, Any], caller: CallerDependency, data: JSONBody[CreateTemplate]
) -> Response[TemplateView]:
    """A draft. `config` is sealed and never shown again; `parameters` are public once it is published."""
    key = await wait_for_public_key(caller.database, caller.principal.tenant_id)

    async def work(session: Any) -> TemplateView:
        template_id = await service.create_template(session, caller.principal, key, data)
        return await queries.get_template(session, template_id)

    return await once(request, caller, 201, work)


@get("/templates", **operation("List my templates", tag="templates", scope="templates:read"))
async def list_templates_route(
    caller: CallerDependency,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    q: Words = None,
    parameter: Parameters = None,
) -> Page[TemplateView]:
    """Newest first. Only public parameters are searched, never the private configuration."""
    before, parameters = decode_cursor(cursor), wanted(parameter)
    async with caller.transaction() as session:
        rows = await queries.list_templates(session, before=before, limit=limit + 1, q=q, parameters=parameters)
    return page_of(rows, limit, lambda item: item.id)


@get(
    "/templates/{template_id:uuid}",
    **operation("Read a template", tag="templates", scope="templates:read", errors=(404,)),
)
async def get_template_route(caller: CallerDependency, template_id: TemplateId) -> TemplateView:
    """As its creator sees it: still without the private configuration."""
    async with caller.transaction() as session:
        return await queries.get_template(session, template_id)


@patch(
    "/templates/{template_id:uuid}",
    **operation("Change a template", tag="templates", scope="templates:write", errors=(404, 422)),
)
async def patch_template_route(
    caller: CallerDependency, template_id: TemplateId, data: JSONBody[PatchTemplate]
) -> TemplateView:
    """What needs no new version. Parameters and configuration change by a new version."""
    async with caller.transaction() as session:
        await service.change_template(session, caller.principal, template_id, data)
        return await queries.get_template(session, template_id)


@delete(
    "/templates/{template_id:uuid}",
    status_code=204,
    **operation("Withdraw a template", tag="templates", scope="templates:write", errors=(404,)),
)
async def delete_template_route(caller: CallerDependency, template_id: TemplateId) -> None:
    """Subscriptions that run go on with the version they have."""
    async with caller.transaction() as session:
        await service.delete_template(session, caller.principal, template_id)


@post(
    "/templates/{template_id:uuid}/versions",
    status_code=201,
    **operation("Make a new version", tag="templates", scope="templates:write", idempotent=True, errors=(404, 422)),
)
async def create_version_route(
    request: Request[Any, Any, Any], caller: CallerDependency, template_id: TemplateId, data: JSONBody[CreateVersion]
) -> Response[TemplateView]:
    """New subscribers get it; running subscriptions keep theirs."""
    key = await wait_for_public_key(caller.database, caller.principal.tenant_id)

    async def work(session: Any) -> TemplateView:
        await service.add_version(session, caller.principal, key, template_id, data)
        return await queries.get_template(session, template_id)

    return await once(request, caller, 201, work)


@post(
    "/templates/{template_id:uuid}/publish",
    status_code=200,
    **operation("Publish a template", tag="templates", scope="templates:write", errors=(404, 409)),
)
async def publish_route(caller: CallerDependency, template_id: TemplateId) -> TemplateView:
    """Every tenant sees its public part from now on."""
    async with caller.transaction() as session:
        await service.publish(session, caller.principal, template_id)
        return await queries.get_template(session, template_id)


@post(
    "/templates/{template_id:uuid}/unpublish",
    status_code=200,
    **operation("Unpublish a template", tag="templates", scope="templates:write", errors=(404,)),
)
async def unpublish_route(caller: CallerDependency, template_id: TemplateId) -> TemplateView:
    """Nobody can subscribe any more; running subscriptions go on."""
    async with caller.transaction() as session:
        await service.unpublish(session, caller.principal, template_id)
        return await queries.get_template(session, template_id)


@get("/marketplace", **operation("Browse published templates", tag="marketplace", scope="templates:read"))
async def marketplace_route(
    caller: CallerDependency,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    risk_level: Annotated[RiskLevel | None, QueryParameter(name="risk_level")] = None,
    strategy_type: Annotated[StrategyType | None, QueryParameter(name="strategy_type")] = None,
    sort: Annotated[marketplace.Sort, QueryParameter(name="sort")] = "newest",
    q: Words = None,
    parameter: Parameters = None,
) -> Page[ListingView]:
    """Public fields and the creator's own result; the private configuration is neither shown nor searched."""
    offset, parameters = decode_position(cursor), wanted(parameter)
    async with caller.transaction() as session:
        rows = await marketplace.browse(
            session,
            caller.principal.tenant_id,
            risk_level=risk_level,
            strategy_type=strategy_type,
            q=q,
            sort=sort,
            limit=limit + 1,
            offset=offset,
            parameters=parameters,
        )
    return page_at(rows, limit, offset)


@get(
    "/marketplace/{template_id:uuid}",
    **operation("Read a published template", tag="marketplace", scope="templates:read", errors=(404,)),
)
async def listing_route(caller: CallerDependency, template_id: TemplateId) -> ListingView:
    """Public fields and the creator's own result."""
    async with caller.transaction() as session:
        return await marketplace.get_listing(session, caller.principal.tenant_id, template_id)


templates_router = Router(
    path="/",
    route_handlers=[
        create_template_route,
        list_templates_route,
        get_template_route,
        patch_template_route,
        delete_template_route,
        create_version_route,
        publish_route,
        unpublish_route,
        marketplace_route,
        listing_route,
    ],
)
