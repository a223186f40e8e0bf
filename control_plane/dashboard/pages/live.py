"""What one hosted bot says and uses: parts of its page, and what they load."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from litestar import MediaType, Request, Response, get
from litestar.params import FromPath
from litestar.response import ServerSentEvent

from control_plane.bots import queries
from control_plane.bots.schemas import BotView
from control_plane.dashboard.rendering import page
from control_plane.dashboard.session import still_signed_in
from control_plane.dashboard.wording import is_hosted
from control_plane.errors import AppError, NotFoundError
from control_plane.http.caller import Caller, CallerDependency
from control_plane.live.copies import newest_copies
from control_plane.live.feeds import Feeds
from control_plane.live.figures import read_stats
from control_plane.live.logs import DEFAULT_TAIL, MOST_TAIL, log_messages, read_logs

BotId = FromPath[UUID]

_COPIES = 10
_SHOWN = timedelta(hours=1)


async def live_parts(caller: Caller, bot: BotView) -> dict[str, Any]:
    """What those parts show; nothing for a bot that runs elsewhere."""
    if not is_hosted(bot):
        return {"usage": None, "copies": []}
    async with caller.transaction() as session:
        now = datetime.now(UTC)
        usage = await read_stats(session, bot.id, now - _SHOWN, now, None)
        return {"usage": usage, "copies": await newest_copies(session, bot.id, _COPIES)}


async def _hosted(request: Request[Any, Any, Any], caller: Caller, bot_id: UUID) -> BotView:
    caller.principal.require("bots:read")
    async with caller.transaction() as session:
        bot = await queries.get_bot(session, request.app.state.settings, bot_id)
    if not is_hosted(bot):
        raise NotFoundError("page")
    return bot


@get("/bots/{bot_id:uuid}/usage")
async def usage_fragment(request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId) -> Response[str]:
    """What the bot uses and its copies, without a frame."""
    bot = await _hosted(request, caller, bot_id)
    return page(request, "bots/usage.html", fragment=True, bot=bot, **await live_parts(caller, bot))


@get("/bots/{bot_id:uuid}/logs/live", opt={"page": False})
async def logs_live(request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId) -> ServerSentEvent:
    """The same stream as the API's, for the person whose browser asks."""
    await _hosted(request, caller, bot_id)
    feeds: Feeds = request.app.state.feeds
    feeds.require_room(caller.principal.tenant_id)

    async def still_good() -> bool:
        try:
            await _hosted(request, caller, bot_id)
        except AppError:
            return False
        return await still_signed_in(request, caller)

    return ServerSentEvent(
        log_messages(
            feeds,
            caller.database,
            caller.principal.binding,
            bot_id,
            tail=DEFAULT_TAIL,
            last_event_id=request.headers.get("last-event-id"),
            still_good=still_good,
        )
    )


@get("/bots/{bot_id:uuid}/logs.txt", opt={"page": False})
async def logs_text(request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId) -> Response[str]:
    """The last thousand lines as a file."""
    bot = await _hosted(request, caller, bot_id)
    feeds: Feeds = request.app.state.feeds
    feeds.require_room(caller.principal.tenant_id)
    found = await read_logs(feeds, caller.database, caller.principal.binding, bot_id, MOST_TAIL, None)
    text = "".join(
        f"{line.at.isoformat() if line.at else '-'} {line.stream or '-'} {line.text}\n" for line in found.items
    )
    return Response(
        text or "Nothing has been written that could be shown.\n",
        media_type=MediaType.TEXT,
        headers={"Content-Disposition": f'attachment; filename="bot-{bot.id.hex[-8:]}.log"'},
    )


HANDLERS = [usage_fragment, logs_live, logs_text]
