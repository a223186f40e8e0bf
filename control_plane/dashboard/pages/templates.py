"""What the tenant offers to others."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.params import FromPath

from control_plane.dashboard.forms import REFUSALS, FormDependency, FormState
from control_plane.dashboard.rendering import go, go_back, more_path, page
from control_plane.http.caller import CallerDependency
from control_plane.http.pagination import Cursor, decode_cursor, page_of
from control_plane.security.keyring import wait_for_public_key
from control_plane.templates import queries, service
from control_plane.templates.schemas import CreateTemplate

TemplateId = FromPath[UUID]

_PAGE = 50
_FIELDS = (
    "name", "description", "strategy_type", "risk_level", "hosting", "currency", "minimum_allocation", "parameters",
    "config",
)  # fmt: skip


@get("/templates")
async def templates_page(
    request: Request[Any, Any, Any], caller: CallerDependency, cursor: Cursor = None
) -> Response[str]:
    """The tenant's own, newest first."""
    caller.principal.require("templates:read")
    async with caller.transaction() as session:
        rows = await queries.list_templates(session, before=decode_cursor(cursor), limit=_PAGE + 1)
    found = page_of(rows, _PAGE, lambda item: item.id)
    more = more_path(request, found.next_cursor)
    return page(request, "templates/list.html", templates=found.items, more=more)


@get("/templates/new")
async def new_template_page(request: Request[Any, Any, Any], caller: CallerDependency) -> Response[str]:
    """The form."""
    caller.principal.require("templates:write")
    return page(request, "templates/new.html", form=FormState())


@post("/templates")
async def create_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[Any]:
    """Save a draft. Public parameters may be left empty; there are none then."""
    caller.principal.require("templates:write")
    none_given: dict[str, Any] = {} if form.get("parameters").strip() else {"parameters": {}}
    try:
        data = form.read(CreateTemplate, documents=("parameters", "config"), **none_given)
        key = await wait_for_public_key(caller.database, caller.principal.tenant_id)
        async with caller.transaction() as session:
            await service.create_template(session, caller.principal, key, data)
    except REFUSALS as error:
        return page(request, "templates/new.html", status_code=error.status, form=form.refused(error, shown=_FIELDS))
    return go(request, "/templates", say="template-saved")


@post("/templates/{template_id:uuid}/publish")
async def publish_action(
    request: Request[Any, Any, Any], caller: CallerDependency, template_id: TemplateId
) -> Response[Any]:
    """Show it to everybody."""
    async with caller.transaction() as session:
        await service.publish(session, caller.principal, template_id)
    return go_back(request, "/templates", say="template-published")


@post("/templates/{template_id:uuid}/unpublish")
async def unpublish_action(
    request: Request[Any, Any, Any], caller: CallerDependency, template_id: TemplateId
) -> Response[Any]:
    """Show it to nobody else any more."""
    async with caller.transaction() as session:
        await service.unpublish(session, caller.principal, template_id)
    return go_back(request, "/templates", say="template-unpublished")


HANDLERS = [templates_page, new_template_page, create_action, publish_action, unpublish_action]
