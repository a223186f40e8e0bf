"""Routes of bots. Thin: who may, which transaction, which answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from litestar import Request, Response, Router, delete, get, patch, post
from litestar.params import JSONBody, QueryParameter

from control_plane.bots import queries, service
from control_plane.bots.instances import list_instances
from control_plane.bots.schemas import BotView, CreateBot, EventView, InstanceView, PatchBot
from control_plane.bots.wish_routes import WISHES, BotId, Force, settings_of, watched
from control_plane.http.caller import CallerDependency
from control_plane.http.idempotency import once
from control_plane.http.openapi import operation
from control_plane.http.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from control_plane.performance.schemas import CurveInterval, PerformanceView
from control_plane.performance.series import MOST_POINTS, bot_performance
from control_plane.security.keyring import wait_for_public_key

_MAXIMUM_WAIT_S = 30

Wait = Annotated[
    int,
    QueryParameter(
        name="wait", ge=0, le=_MAXIMUM_WAIT_S, description="Hold the answer until the status is an outcome, seconds."
    ),
]


@post(
    "/bots",
    status_code=201,
    **operation(
        "Register a bot, or one for us to run", tag="bots", scope="bots:write", idempotent=True, errors=(404, 409, 422)
    ),
)
async def create_bot_route(
    request: Request[Any, Any, Any], caller: CallerDependency, data: JSONBody[CreateBot]
) -> Response[BotView]:
    """An external bot is watched from now on; a bot that we run is started by `POST /bots/{id}/start`."""
    settings = settings_of(request)
    key = await wait_for_public_key(caller.database, caller.principal.tenant_id)

    async def work(session: Any) -> BotView:
        bot_id = await service.create_bot(session, caller.principal, settings, key, data)
        return await queries.get_bot(session, settings, bot_id)

    return await once(request, caller, 201, work)


@get("/bots", **operation("List bots", tag="bots", scope="bots:read"))
async def list_bots_route(
    request: Request[Any, Any, Any],
    caller: CallerDependency,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    bot_type: Annotated[Literal["external", "platform", "shared"] | None, QueryParameter(name="bot_type")] = None,
    status: Annotated[
        Literal["inactive", "starting", "running", "stopping", "error", "connected"] | None,
        QueryParameter(name="status"),
    ] = None,
    q: Annotated[str | None, QueryParameter(name="q", max_length=120, description="Part of a name.")] = None,
) -> Page[BotView]:
    """Newest first."""
    async with caller.transaction() as session:
        rows = await queries.list_bots(
            session,
            settings_of(request),
            before=decode_cursor(cursor),
            limit=limit + 1,
            bot_type=bot_type,
            status=status,
            q=q,
        )
    return page_of(rows, limit, lambda item: item.id)


@get("/bots/{bot_id:uuid}", **operation("Read a bot", tag="bots", scope="bots:read", errors=(404,)))
async def get_bot_route(
    request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId, wait: Wait = 0
) -> BotView:
    """With `wait`, the answer is held until the status has become an outcome or the time is over."""

    async def look() -> tuple[BotView, bool]:
        async with caller.transaction() as session:
            return await queries.get_bot_and_whether_settled(session, settings_of(request), bot_id)

    if wait == 0:
        return (await look())[0]
    return (await watched(request, caller, bot_id, look, wait))[0]


@patch("/bots/{bot_id:uuid}", **operation("Change a bot", tag="bots", scope="bots:write", errors=(404, 409, 422)))
async def patch_bot_route(
    request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId, data: JSONBody[PatchBot]
) -> BotView:
    """Fields left out are kept. A new credential, address or configuration is taken up at once."""
    key = await wait_for_public_key(caller.database, caller.principal.tenant_id)
    async with caller.transaction() as session:
        await service.change_bot(session, caller.principal, settings_of(request), key, bot_id, data)
        return await queries.get_bot(session, settings_of(request), bot_id)


@delete(
    "/bots/{bot_id:uuid}",
    status_code=204,
    **operation("Take a bot away", tag="bots", scope="bots:write", errors=(404, 409)),
)
async def delete_bot_route(caller: CallerDependency, bot_id: BotId, *, force: Force = False) -> None:
    """A bot that we run is stopped as by `POST /bots/{id}/stop`, its container removed; its history stays."""
    async with caller.transaction() as session:
        await service.delete_bot(session, caller.principal, bot_id, force=force)


@get("/bots/{bot_id:uuid}/events", **operation("A bot's history", tag="bots", scope="bots:read", errors=(404,)))
async def bot_events_route(
    request: Request[Any, Any, Any],
    caller: CallerDependency,
    bot_id: BotId,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[EventView]:
    """Every change of state with its cause, newest first."""
    async with caller.transaction() as session:
        await queries.get_bot(session, settings_of(request), bot_id)
        rows = await queries.list_events(session, bot_id, before=decode_cursor(cursor), limit=limit + 1)
    return page_of(rows, limit, lambda item: item.id)


@get(
    "/bots/{bot_id:uuid}/instances",
    **operation("A bot's copies and how they ended", tag="bots", scope="bots:read", errors=(404,)),
)
async def bot_instances_route(
    request: Request[Any, Any, Any],
    caller: CallerDependency,
    bot_id: BotId,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Page[InstanceView]:
    """Newest first. Of each end: exit code, signal, whether memory ran out, why, and the last lines without secrets."""
    async with caller.transaction() as session:
        await queries.get_bot(session, settings_of(request), bot_id)
        rows = await list_instances(session, bot_id, before=decode_cursor(cursor), limit=limit + 1)
    return page_of(rows, limit, lambda item: item.id)


@get(
    "/bots/{bot_id:uuid}/performance",
    **operation("A bot's figures over time", tag="bots", scope="bots:read", errors=(404, 422)),
)
async def bot_performance_route(
    request: Request[Any, Any, Any],
    caller: CallerDependency,
    bot_id: BotId,
    since: Annotated[datetime | None, QueryParameter(name="from")] = None,
    until: Annotated[datetime | None, QueryParameter(name="to")] = None,
    interval: Annotated[CurveInterval | None, QueryParameter(name="interval")] = None,
    points: Annotated[
        int | None,
        QueryParameter(
            name="points",
            ge=2,
            le=MOST_POINTS,
            description="At most so many: a coarser interval is taken where needed.",
        ),
    ] = None,
) -> PerformanceView:
    """The last figure of each interval, null where it is not known; a point of nulls, and `gaps`, tell of a stretch
    without readings. Without `interval`, one for 500 points; with one that makes more than 2,000, these are the newest
    and `complete` is false. Times are those of whole hours or days where `interval` is so long. Drawdowns are taken of
    our own readings of the bot's index."""
    async with caller.transaction() as session:
        await queries.get_bot(session, settings_of(request), bot_id)
        silence = await queries.silence_of(session, settings_of(request), bot_id)
        return await bot_performance(session, bot_id, since, until, interval, points, silence=silence)


bots_router = Router(
    path="/",
    route_handlers=[
        create_bot_route,
        list_bots_route,
        get_bot_route,
        patch_bot_route,
        delete_bot_route,
        *WISHES,
        bot_events_route,
        bot_performance_route,
        bot_instances_route,
    ],
)
