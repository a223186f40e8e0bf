"""The fleet, and one bot: what it shows, and what people change and wish of it. A new one is for registering.py."""

from __future__ import annotations

from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from litestar import Request, Response, get, post
from litestar.params import FromPath, QueryParameter

from control_plane.bots import queries, service
from control_plane.bots.kinds import BOT_TYPES, HOSTED_TYPES, STATE_OF
from control_plane.bots.models import STATUSES
from control_plane.bots.schemas import BotView, CrashPolicy, OnStop, PatchBot
from control_plane.bots.trading import wish_trading
from control_plane.dashboard import families
from control_plane.dashboard.curve import BotCurve, beginning, bot_curve, chosen_range, newest
from control_plane.dashboard.fleet import summarise
from control_plane.dashboard.forms import REFUSALS, FormDependency, FormState
from control_plane.dashboard.pages.live import live_parts
from control_plane.dashboard.rendering import go, go_back, more_path, page
from control_plane.dashboard.wording import is_hosted
from control_plane.errors import NotFoundError
from control_plane.http.caller import Caller, CallerDependency
from control_plane.http.pagination import Cursor, decode_cursor, page_of
from control_plane.performance.health import bot_timeline
from control_plane.performance.routes import said
from control_plane.performance.schemas import PerformanceView, TimelineView
from control_plane.performance.series import bot_performance
from control_plane.security.keyring import wait_for_public_key
from control_plane.settings import Settings

BotId = FromPath[UUID]
Filter = Annotated[str, QueryParameter(max_length=120)]
Range = Annotated[str | None, QueryParameter(name="range")]

_PAGE = 50
_EVENTS = 20
#: What is wished of a bot by the action's path, and whether without waiting for its orders.
_WISHES: Final = {
    "start": ("start", False),
    "stop": ("stop", False),
    "restart": ("restart", False),
    "stop-now": ("stop", True),
}
#: What happens to a bot that we run when it ends, or is stopped.
ENDINGS = ("crash_policy", "on_stop")


class _NewCredentials(msgspec.Struct, forbid_unknown_fields=True):
    """What that form holds; which fields are in it, the bot's engine says."""

    credentials: dict[str, Any]


class _Endings(msgspec.Struct, forbid_unknown_fields=True):
    """What that form holds: always both."""

    crash_policy: CrashPolicy
    on_stop: OnStop


def _settings(request: Request[Any, Any, Any]) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


@get("/")
async def fleet_page(
    request: Request[Any, Any, Any],
    caller: CallerDependency,
    q: Filter = "",
    status: Filter = "",
    bot_type: Filter = "",
    cursor: Cursor = None,
) -> Response[str]:
    """Every bot of the tenant. Sums are shown where they are of all bots, not of one page or a choice."""
    caller.principal.require("bots:read")
    filters = {
        "q": q,
        "status": status if status in STATUSES else "",
        "bot_type": bot_type if bot_type in BOT_TYPES else "",
    }
    async with caller.transaction() as session:
        rows = await queries.list_bots(
            session,
            _settings(request),
            before=decode_cursor(cursor),
            limit=_PAGE + 1,
            q=filters["q"] or None,
            status=filters["status"] or None,
            bot_type=filters["bot_type"] or None,
        )
    found = page_of(rows, _PAGE, lambda item: item.id)
    whole = cursor is None and found.next_cursor is None and not any(filters.values())
    return page(
        request,
        "bots/list.html",
        bots=found.items,
        summary=summarise(found.items) if whole else None,
        filters=filters,
        more=more_path(request, found.next_cursor),
    )


@get("/bots/{bot_id:uuid}")
async def bot_page(
    request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId, asked: Range = None
) -> Response[str]:
    """Everything about one bot."""
    return await _whole(request, caller, bot_id, chosen_range(asked))


async def _whole(
    request: Request[Any, Any, Any],
    caller: Caller,
    bot_id: UUID,
    chosen: str,
    form: FormState | None = None,
    status_code: int = 200,
) -> Response[str]:
    """The page. ``form`` is what was refused of a change."""
    shown = await _panel(request, caller, bot_id)
    bot = shown["bot"]
    series = await _series(request, caller, bot, chosen)
    parts = await live_parts(caller, bot)
    stored = FormState(values={name: getattr(bot, name) for name in ENDINGS})
    return page(
        request,
        "bots/detail.html",
        status_code=status_code,
        **shown,
        **parts,
        readings=newest(series.points),
        drawdown=series.drawdown,
        drawdown_since_start=series.drawdown_since_start,
        timeline=await _timeline(request, caller, bot, chosen),
        range=chosen,
        form=form or stored,
    )


@get("/bots/{bot_id:uuid}/panel")
async def panel_fragment(request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId) -> Response[str]:
    """The parts of that page that change by themselves."""
    return page(request, "bots/panel.html", fragment=True, **await _panel(request, caller, bot_id))


@get("/bots/{bot_id:uuid}/equity.json", opt={"page": False})
async def bot_equity(
    request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId, asked: Range = None
) -> BotCurve:
    """The curve, for the chart."""
    return bot_curve(await _series(request, caller, await shown_bot(request, caller, bot_id), chosen_range(asked)))


@get("/bots/{bot_id:uuid}/credentials")
async def credentials_page(request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId) -> Response[str]:
    """The form for credentials that take the place of the stored ones."""
    caller.principal.require("bots:write")
    bot = await shown_bot(request, caller, bot_id)
    fields = families.credential_fields(bot.engine)
    return page(request, "bots/credentials.html", bot=bot, fields=fields, form=FormState())


@post("/bots/{bot_id:uuid}/credentials")
async def credentials_action(
    request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId, form: FormDependency
) -> Response[Any]:
    """Seal them, and tell what the bot says to them as for a new registration."""
    bot = await shown_bot(request, caller, bot_id)
    try:
        data = PatchBot(credentials=form.read(_NewCredentials).credentials)
        key = await wait_for_public_key(caller.database, caller.principal.tenant_id)
        async with caller.transaction() as session:
            await service.change_bot(session, caller.principal, _settings(request), key, bot_id, data)
    except REFUSALS as error:
        fields = families.credential_fields(bot.engine)
        state = form.refused(error, shown=[field.name for field in fields])
        return page(request, "bots/credentials.html", status_code=error.status, bot=bot, fields=fields, form=state)
    return go(request, f"/bots/{bot_id}/registered")


@post("/bots/{bot_id:uuid}/endings")
async def endings_action(
    request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId, form: FormDependency
) -> Response[Any]:
    """Choose whether a bot that we run is started again, and what becomes of its positions."""
    bot = await shown_bot(request, caller, bot_id)
    if not is_hosted(bot):
        raise NotFoundError("page")
    try:
        data = form.read(_Endings)
        changed = {name: getattr(data, name) for name in ENDINGS if getattr(data, name) != getattr(bot, name)}
        key = await wait_for_public_key(caller.database, caller.principal.tenant_id)
        async with caller.transaction() as session:
            await service.change_bot(session, caller.principal, _settings(request), key, bot_id, PatchBot(**changed))
    except REFUSALS as error:
        state = form.refused(error, shown=ENDINGS)
        return await _whole(request, caller, bot_id, chosen_range(None), state, error.status)
    return go(request, f"/bots/{bot_id}", say="bot-changed")


async def shown_bot(request: Request[Any, Any, Any], caller: Caller, bot_id: UUID) -> BotView:
    """The bot, for whoever may see it. Raises 403, 404."""
    caller.principal.require("bots:read")
    async with caller.transaction() as session:
        return await queries.get_bot(session, _settings(request), bot_id)


async def _panel(request: Request[Any, Any, Any], caller: Caller, bot_id: UUID) -> dict[str, Any]:
    caller.principal.require("bots:read")
    async with caller.transaction() as session:
        bot = await queries.get_bot(session, _settings(request), bot_id)
        events = await queries.list_events(session, bot_id, before=None, limit=_EVENTS)
        failed = bot.bot_type in HOSTED_TYPES and bot.reason is not None
        last_lines = await queries.last_lines(session, bot_id) if failed else []
    return {"bot": bot, "events": events, "last_lines": last_lines}


async def _series(request: Request[Any, Any, Any], caller: Caller, bot: BotView, chosen: str) -> PerformanceView:
    async with caller.transaction() as session:
        silence = await queries.silence_of(session, _settings(request), bot.id)
        return await bot_performance(session, bot.id, beginning(chosen, bot.created_at), None, None, silence=silence)


async def _timeline(request: Request[Any, Any, Any], caller: Caller, bot: BotView, chosen: str) -> TimelineView:
    async with caller.transaction() as session:
        return await bot_timeline(
            session,
            bot.id,
            beginning(chosen, bot.created_at),
            None,
            seen_until=await queries.seen_until(session, _settings(request), bot),
            words=said,
        )


@post("/bots/{bot_id:uuid}/{verb:str}")
async def wish_action(
    request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId, verb: FromPath[str]
) -> Response[Any]:
    """Start, stop or restart: the page tells how it goes."""
    if verb not in _WISHES:
        raise NotFoundError("page")
    wished, force = _WISHES[verb]
    async with caller.transaction() as session:
        await service.wish(session, caller.principal, _settings(request), bot_id, wished, force=force)
    return go_back(request, f"/bots/{bot_id}")


@post("/bots/{bot_id:uuid}/trading/{verb:str}")
async def trading_action(
    request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId, verb: FromPath[str]
) -> Response[Any]:
    """Start, stop or pause the trading of a bot that runs on; the page tells when the bot's own state shows it."""
    action = next((known for known in STATE_OF if known == verb), None)
    if action is None:
        raise NotFoundError("page")
    async with caller.transaction() as session:
        await wish_trading(session, caller.principal, bot_id, action)
    return go_back(request, f"/bots/{bot_id}", say="bot-trading")


@post("/bots/{bot_id:uuid}/ping")
async def ping_action(request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId) -> Response[Any]:
    """Ask for a check now; its result comes to the page by itself."""
    async with caller.transaction() as session:
        await service.request_ping(session, caller.principal, bot_id)
    return go_back(request, f"/bots/{bot_id}", say="bot-checking")


@post("/bots/{bot_id:uuid}/delete")
async def delete_action(request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId) -> Response[Any]:
    """Take the bot away. Its page is gone afterwards."""
    async with caller.transaction() as session:
        await service.delete_bot(session, caller.principal, bot_id)
    return go(request, "/", say="bot-removed")


HANDLERS = [
    fleet_page, bot_page, panel_fragment, bot_equity, credentials_page,
    credentials_action, endings_action, wish_action, trading_action, ping_action, delete_action,
]  # fmt: skip
