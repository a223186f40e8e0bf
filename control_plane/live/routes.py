"""What is followed live: the caller's tenant, and one bot's output and use of resources."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, cast
from uuid import UUID

from litestar import Request, Response, Router, get
from litestar.params import FromPath, QueryParameter
from litestar.response import ServerSentEvent

from control_plane.bots import queries
from control_plane.bots.kinds import HOSTED_TYPES
from control_plane.errors import AppError, ConflictError, unacceptable
from control_plane.http.caller import Caller, CallerDependency, identify
from control_plane.http.openapi import operation
from control_plane.live.feeds import Feeds
from control_plane.live.figures import read_stats, stats_messages
from control_plane.live.logs import DEFAULT_TAIL, MOST_TAIL, StillGood, log_messages, read_logs
from control_plane.live.schemas import LogsView, StatsView
from control_plane.live.stream import event_stream
from control_plane.performance.schemas import Interval

BotId = FromPath[UUID]
Follow = Annotated[
    bool, QueryParameter(name="follow", description="Answer with server-sent events, until the client leaves.")
]
Tail = Annotated[int, QueryParameter(name="tail", ge=1, le=MOST_TAIL, description="How many of the last lines.")]


@get("/events", **operation("Follow changes of bots and subscriptions", tag="live", scope="bots:read"))
async def events_route(request: Request[Any, Any, Any], caller: CallerDependency) -> ServerSentEvent:
    """Server-sent events `{kind, id}`: read what changed to know how. `Last-Event-ID` tells what was missed first."""
    return event_stream(
        request.app.state.hub,
        caller.database,
        caller.principal.binding,
        request.headers.get("last-event-id"),
        still_good=_still_good(request, caller),
    )


@get(
    "/bots/{bot_id:uuid}/logs",
    **operation("A bot's output", tag="bots", scope="bots:read", errors=(404, 409, 422, 429)),
)
async def logs_route(
    request: Request[Any, Any, Any],
    caller: CallerDependency,
    bot_id: BotId,
    follow: Follow = False,  # noqa: FBT002 - a query parameter
    tail: Tail = DEFAULT_TAIL,
    since: Annotated[datetime | None, QueryParameter(name="since")] = None,
) -> Response[LogsView]:
    """The last lines of a bot that we run, without its secrets; of one that has ended, what was kept.

    With `follow`, server-sent events: `lines` (the id is their position: `Last-Event-ID` goes on after it), `dropped`
    with how many were left out, `copy` and `ended` around the lines of one copy, `waiting` with a reason, `reading`
    when that is over, `end`.
    """
    if since is not None and since.tzinfo is None:
        raise unacceptable("since", "must carry its zone, such as 2026-01-31T00:00:00Z")
    await require_hosted(request, caller, bot_id)
    feeds: Feeds = request.app.state.feeds
    feeds.require_room(caller.principal.tenant_id)
    binding = caller.principal.binding
    if not follow:
        return Response(await read_logs(feeds, caller.database, binding, bot_id, tail, since))
    messages = log_messages(
        feeds,
        caller.database,
        binding,
        bot_id,
        tail=tail,
        last_event_id=request.headers.get("last-event-id"),
        still_good=_still_good(request, caller, bot_id),
    )
    return cast("Response[LogsView]", ServerSentEvent(messages))


@get(
    "/bots/{bot_id:uuid}/stats",
    **operation("What a bot uses", tag="bots", scope="bots:read", errors=(404, 409, 422, 429)),
)
async def stats_route(
    request: Request[Any, Any, Any],
    caller: CallerDependency,
    bot_id: BotId,
    follow: Follow = False,  # noqa: FBT002 - a query parameter
    since: Annotated[datetime | None, QueryParameter(name="from")] = None,
    until: Annotated[datetime | None, QueryParameter(name="to")] = None,
    interval: Annotated[Interval | None, QueryParameter(name="interval")] = None,
) -> Response[StatsView]:
    """CPU, memory, network and processes of a bot that we run, over the last day where no time is named.

    With `follow`, server-sent events of the present figures: `stats` every two seconds, `waiting` with a reason, `end`.
    """
    await require_hosted(request, caller, bot_id)
    if not follow:
        async with caller.transaction() as session:
            return Response(await read_stats(session, bot_id, since, until, interval))
    feeds: Feeds = request.app.state.feeds
    feeds.require_room(caller.principal.tenant_id)
    messages = stats_messages(feeds, caller.principal.binding, bot_id, still_good=_still_good(request, caller, bot_id))
    return cast("Response[StatsView]", ServerSentEvent(messages))


async def require_hosted(request: Request[Any, Any, Any], caller: Caller, bot_id: UUID) -> None:
    """Raise 404 where there is no such bot, 409 where it runs elsewhere."""
    async with caller.transaction() as session:
        bot = await queries.get_bot(session, request.app.state.settings, bot_id)
    if bot.bot_type not in HOSTED_TYPES:
        raise ConflictError("this bot runs elsewhere: its output and its figures are there", code="not_hosted")


def _still_good(request: Request[Any, Any, Any], caller: Caller, bot_id: UUID | None = None) -> StillGood:
    """Whether what the stream was begun with still holds: credential, tenant, scope, and the bot itself."""

    async def still_good() -> bool:
        try:
            now = await identify(request)
            if bot_id is not None:
                await require_hosted(request, now, bot_id)
        except AppError:
            return False
        held = now.principal
        return (
            held.tenant == caller.principal.tenant and held.bots == caller.principal.bots and "bots:read" in held.scopes
        )

    return still_good


live_router = Router(path="/", route_handlers=[events_route, logs_route, stats_route])
