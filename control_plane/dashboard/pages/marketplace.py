"""Published templates, and subscribing to one."""

from __future__ import annotations

from typing import Annotated, Any, get_args
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.params import FromPath, QueryParameter

from control_plane.dashboard.forms import REFUSALS, FormDependency, FormState
from control_plane.dashboard.rendering import go, more_path, page
from control_plane.http.caller import Caller, CallerDependency
from control_plane.http.pagination import Cursor, decode_position, page_at
from control_plane.security.keyring import wait_for_public_key
from control_plane.subscriptions import queries as subscription_queries
from control_plane.subscriptions import service as subscriptions
from control_plane.subscriptions.schemas import CreateSubscription
from control_plane.templates import marketplace
from control_plane.templates.models import RISK_LEVELS, STRATEGY_TYPES

TemplateId = FromPath[UUID]
Filter = Annotated[str, QueryParameter(max_length=120)]

_PAGE = 24
_SORTS: tuple[marketplace.Sort, ...] = get_args(marketplace.Sort)


@get("/marketplace")
async def marketplace_page(
    request: Request[Any, Any, Any],
    caller: CallerDependency,
    q: Filter = "",
    risk_level: Filter = "",
    strategy_type: Filter = "",
    sort: Filter = "",
    cursor: Cursor = None,
) -> Response[str]:
    """What everybody offers."""
    caller.principal.require("templates:read")
    order = next((known for known in _SORTS if known == sort), _SORTS[0])
    filters = {
        "q": q,
        "risk_level": risk_level if risk_level in RISK_LEVELS else "",
        "strategy_type": strategy_type if strategy_type in STRATEGY_TYPES else "",
        "sort": order,
    }
    offset = decode_position(cursor)
    async with caller.transaction() as session:
        rows = await marketplace.browse(
            session,
            caller.principal.tenant_id,
            risk_level=filters["risk_level"] or None,
            strategy_type=filters["strategy_type"] or None,
            q=q or None,
            sort=order,
            limit=_PAGE + 1,
            offset=offset,
        )
    found = page_at(rows, _PAGE, offset)
    more = more_path(request, found.next_cursor)
    return page(request, "marketplace/list.html", offers=found.items, filters=filters, more=more)


@get("/marketplace/{template_id:uuid}")
async def offer_page(
    request: Request[Any, Any, Any], caller: CallerDependency, template_id: TemplateId
) -> Response[str]:
    """One template, with the form to subscribe."""
    return page(request, "marketplace/detail.html", **await _offer(caller, template_id), form=FormState())


async def _offer(caller: Caller, template_id: UUID) -> dict[str, Any]:
    caller.principal.require("templates:read")
    async with caller.transaction() as session:
        offer = await marketplace.get_listing(session, caller.principal.tenant_id, template_id)
        mine = await subscription_queries.live_subscription(session, caller.principal.user_id, template_id)
    return {"offer": offer, "subscription_id": mine}


@post("/marketplace/{template_id:uuid}/subscribe")
async def subscribe_action(
    request: Request[Any, Any, Any], caller: CallerDependency, template_id: TemplateId, form: FormDependency
) -> Response[Any]:
    """Allocate capital, then follow it on the subscription's own page."""
    try:
        data = form.read(CreateSubscription, template_id=str(template_id))
        key = await wait_for_public_key(caller.database, caller.principal.tenant_id)
        async with caller.transaction() as session:
            subscription_id = await subscriptions.subscribe(
                session, caller.principal, request.app.state.settings, key, data
            )
    except REFUSALS as error:
        state = form.refused(error, shown=("allocation_amount",))
        context = await _offer(caller, template_id)
        return page(request, "marketplace/detail.html", status_code=error.status, **context, form=state)
    return go(request, f"/subscriptions/{subscription_id}", say="subscribed")


HANDLERS = [marketplace_page, offer_page, subscribe_action]
