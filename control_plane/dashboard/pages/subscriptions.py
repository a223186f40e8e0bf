"""What the tenant follows, and what became of its allocation."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.params import FromPath, QueryParameter
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.bots.queries import gap_after, get_bot
from control_plane.bots.schemas import BotView
from control_plane.dashboard.curve import Curve, beginning, chosen_range, newest, with_gaps
from control_plane.dashboard.rendering import go_back, more_path, page
from control_plane.errors import NotFoundError
from control_plane.http.caller import Caller, CallerDependency
from control_plane.http.pagination import Cursor, decode_cursor, page_of
from control_plane.settings import Settings
from control_plane.subscriptions import queries, service
from control_plane.subscriptions.schemas import PatchSubscription, SubscriptionView, WorthView
from control_plane.templates.marketplace import get_listing

SubscriptionId = FromPath[UUID]
Range = Annotated[str | None, QueryParameter(name="range")]

_PAGE = 50
_LEDGER = 20


@get("/subscriptions")
async def subscriptions_page(
    request: Request[Any, Any, Any], caller: CallerDependency, cursor: Cursor = None
) -> Response[str]:
    """Newest first, cancelled ones included."""
    caller.principal.require("subscriptions:read")
    async with caller.transaction() as session:
        rows = await queries.list_subscriptions(
            session, request.app.state.settings, before=decode_cursor(cursor), limit=_PAGE + 1
        )
    found = page_of(rows, _PAGE, lambda item: item.id)
    more = more_path(request, found.next_cursor)
    return page(request, "subscriptions/list.html", subscriptions=found.items, more=more)


@get("/subscriptions/{subscription_id:uuid}")
async def subscription_page(
    request: Request[Any, Any, Any], caller: CallerDependency, subscription_id: SubscriptionId, asked: Range = None
) -> Response[str]:
    """One subscription: its worth, its curve, its money in and out, and the bot behind it."""
    caller.principal.require("subscriptions:read")
    settings = request.app.state.settings
    chosen = chosen_range(asked)
    async with caller.transaction() as session:
        subscription = await queries.get_subscription(session, settings, subscription_id)
        ledger = await queries.list_ledger(session, subscription_id, before=None, limit=_LEDGER)
        creator = await _creator(session, caller, subscription)
        bot = await _own_bot(request, session, subscription)
        series = await _worth(session, settings, subscription_id, subscription.created_at, chosen)
    return page(
        request,
        "subscriptions/detail.html",
        subscription=subscription,
        creator=creator,
        bot=bot,
        ledger=ledger,
        readings=newest(series.points),
        range=chosen,
    )


@get("/subscriptions/{subscription_id:uuid}/equity.json", opt={"page": False})
async def subscription_equity(
    request: Request[Any, Any, Any], caller: CallerDependency, subscription_id: SubscriptionId, asked: Range = None
) -> Curve:
    """The curve, for the chart."""
    caller.principal.require("subscriptions:read")
    settings = request.app.state.settings
    async with caller.transaction() as session:
        subscription = await queries.get_subscription(session, settings, subscription_id)
        series = await _worth(session, settings, subscription_id, subscription.created_at, chosen_range(asked))
    return Curve(series.currency, with_gaps(series.points, series.interval_s, gap_after(settings)))


async def _worth(
    session: AsyncSession, settings: Settings, subscription_id: UUID, created_at: datetime, chosen: str
) -> WorthView:
    begin = beginning(chosen, created_at)
    return await queries.subscription_performance(session, settings, subscription_id, begin, None, None)


async def _creator(session: AsyncSession, caller: Caller, subscription: SubscriptionView) -> str | None:
    """Who offers it, as long as it is offered."""
    try:
        return (await get_listing(session, caller.principal.tenant_id, subscription.template_id)).creator
    except NotFoundError:
        return None


async def _own_bot(
    request: Request[Any, Any, Any], session: AsyncSession, subscription: SubscriptionView
) -> BotView | None:
    """The bot behind it where the tenant may see it: a bot of its own that is still there."""
    try:
        return await get_bot(session, request.app.state.settings, subscription.bot_id)
    except NotFoundError:
        return None


@post("/subscriptions/{subscription_id:uuid}/pause")
async def pause_action(
    request: Request[Any, Any, Any], caller: CallerDependency, subscription_id: SubscriptionId
) -> Response[Any]:
    """Stop following for a while."""
    return await _change(request, caller, subscription_id, PatchSubscription(status="paused"))


@post("/subscriptions/{subscription_id:uuid}/resume")
async def resume_action(
    request: Request[Any, Any, Any], caller: CallerDependency, subscription_id: SubscriptionId
) -> Response[Any]:
    """Follow again."""
    return await _change(request, caller, subscription_id, PatchSubscription(status="active"))


async def _change(
    request: Request[Any, Any, Any], caller: Caller, subscription_id: UUID, change: PatchSubscription
) -> Response[Any]:
    async with caller.transaction() as session:
        await service.change_subscription(
            session, caller.principal, request.app.state.settings, subscription_id, change
        )
    return go_back(request, f"/subscriptions/{subscription_id}")


@post("/subscriptions/{subscription_id:uuid}/cancel")
async def cancel_action(
    request: Request[Any, Any, Any], caller: CallerDependency, subscription_id: SubscriptionId
) -> Response[Any]:
    """End it for good."""
    async with caller.transaction() as session:
        await service.cancel(session, caller.principal, subscription_id)
    return go_back(request, f"/subscriptions/{subscription_id}", say="subscription-cancelled")


HANDLERS = [
    subscriptions_page, subscription_page, subscription_equity, pause_action, resume_action, cancel_action,
]  # fmt: skip
