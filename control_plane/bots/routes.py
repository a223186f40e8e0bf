"""Routes of bots. Thin: who may, which transaction, which answer."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from litestar import Request, Response, Router, delete, get, patch, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter

from control_plane.bots import queries, service
from control_plane.bots.instances import list_instances
from control_plane.bots.schemas import BotView, CreateBot, EventView, InstanceView, PatchBot, SteerTrading
from control_plane.bots.trading import wish_trading
from control_plane.http.caller import Caller, CallerDependency
from control_plane.http.idempotency import once
from control_plane.http.openapi import operation
from control_plane.http.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from control_plane.live.hub import END, Hub, next_change
from control_plane.performance.schemas import CurveInterval, PerformanceView
from control_plane.performance.series import MOST_POINTS, bot_performance
from control_plane.security.keyring import wait_for_public_key
from control_plane.settings import Settings

BotId = FromPath[UUID]
_MAXIMUM_WAIT_S = 30
_LOOK_EVERY_S = 1.0
_PING_WAIT_S = 10.0

Wait = Annotated[
    int,
    QueryParameter(
        name="wait", ge=0, le=_MAXIMUM_WAIT_S, description="Hold the answer until the status is an outcome, seconds."
    ),
]

Force = Annotated[
    bool,
    QueryParameter(
        name="force",
        description="End a bot that we run at once, without waiting until its orders are cancelled: for emergencies.",
    ),
]


def _settings(request: Request[Any, Any, Any]) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


async def _watched(
    request: Request[Any, Any, Any],
    caller: Caller,
    bot_id: UUID,
    look: Callable[[], Awaitable[tuple[BotView, bool]]],
    seconds: float,
) -> tuple[BotView, bool]:
    """What ``look`` shows once it says that this is it, or when the time is over; looks at each change of the bot."""
    deadline = time.monotonic() + seconds
    hub: Hub = request.app.state.hub
    async with hub.follow(caller.principal.tenant_id, [bot_id]) as changes:
        while True:
            view, done = await look()
            left = deadline - time.monotonic()
            if done or left <= 0:
                return view, done
            # Health may grow old, and a listener may be away: neither tells, so look now and then as well.
            if await next_change(changes, min(left, _LOOK_EVERY_S)) is END:
                return view, done
            while not changes.empty() and changes.get_nowait() is not END:
                pass


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
    settings = _settings(request)
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
            _settings(request),
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
            return await queries.get_bot_and_whether_settled(session, _settings(request), bot_id)

    if wait == 0:
        return (await look())[0]
    return (await _watched(request, caller, bot_id, look, wait))[0]


@patch("/bots/{bot_id:uuid}", **operation("Change a bot", tag="bots", scope="bots:write", errors=(404, 409, 422)))
async def patch_bot_route(
    request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId, data: JSONBody[PatchBot]
) -> BotView:
    """Fields left out are kept. A new credential, address or configuration is taken up at once."""
    key = await wait_for_public_key(caller.database, caller.principal.tenant_id)
    async with caller.transaction() as session:
        await service.change_bot(session, caller.principal, _settings(request), key, bot_id, data)
        return await queries.get_bot(session, _settings(request), bot_id)


@delete(
    "/bots/{bot_id:uuid}",
    status_code=204,
    **operation("Take a bot away", tag="bots", scope="bots:write", errors=(404, 409)),
)
async def delete_bot_route(caller: CallerDependency, bot_id: BotId, *, force: Force = False) -> None:
    """A bot that we run is stopped as by `POST /bots/{id}/stop`, its container removed; its history stays."""
    async with caller.transaction() as session:
        await service.delete_bot(session, caller.principal, bot_id, force=force)


async def _wish(
    request: Request[Any, Any, Any], caller: Caller, bot_id: UUID, verb: str, *, force: bool = False
) -> Response[BotView]:
    async def work(session: Any) -> BotView:
        await service.wish(session, caller.principal, _settings(request), bot_id, verb, force=force)
        return await queries.get_bot(session, _settings(request), bot_id)

    return await once(request, caller, 202, work)


_WISH_ERRORS = (404, 409)


@post(
    "/bots/{bot_id:uuid}/start",
    status_code=202,
    **operation("Start a bot", tag="bots", scope="bots:write", idempotent=True, errors=_WISH_ERRORS),
)
async def start_bot_route(
    request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId
) -> Response[BotView]:
    """For an external bot: watch it. Follow with `GET /bots/{id}?wait=30`."""
    return await _wish(request, caller, bot_id, "start")


@post(
    "/bots/{bot_id:uuid}/stop",
    status_code=202,
    **operation("Stop a bot", tag="bots", scope="bots:write", idempotent=True, errors=_WISH_ERRORS),
)
async def stop_bot_route(
    request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId, *, force: Force = False
) -> Response[BotView]:
    """A bot that we run first cancels its orders, and closes its positions where `on_stop` says so; what it has not
    confirmed by its deadline is told by `orders_unconfirmed`. For an external bot: watch it no more; it runs on."""
    return await _wish(request, caller, bot_id, "stop", force=force)


@post(
    "/bots/{bot_id:uuid}/restart",
    status_code=202,
    **operation("Restart a bot", tag="bots", scope="bots:write", idempotent=True, errors=_WISH_ERRORS),
)
async def restart_bot_route(
    request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId, *, force: Force = False
) -> Response[BotView]:
    """A bot that we run cancels its orders before, and keeps its positions. For an external bot: forget what was seen
    and look afresh."""
    return await _wish(request, caller, bot_id, "restart", force=force)


@post(
    "/bots/{bot_id:uuid}/trading",
    status_code=202,
    **operation(
        "Start, stop or pause a bot's trading", tag="bots", scope="bots:write", idempotent=True, errors=_WISH_ERRORS
    ),
)
async def steer_trading_route(
    request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId, data: JSONBody[SteerTrading]
) -> Response[BotView]:
    """The bot's process runs on. Follow `trading` with `GET /bots/{id}?wait=30`: it is confirmed when the bot's own
    state shows it, and given up with a `problem` after a minute. 409 where its family, or its status, allows no such
    thing."""

    async def work(session: Any) -> BotView:
        await wish_trading(session, caller.principal, bot_id, data.action)
        return await queries.get_bot(session, _settings(request), bot_id)

    return await once(request, caller, 202, work)


@post(
    "/bots/{bot_id:uuid}/ping",
    status_code=200,
    **operation(
        "Look at a bot now",
        tag="bots",
        scope="bots:write",
        errors=_WISH_ERRORS,
        also={202: ResponseSpec(BotView, description="Asked for, but not looked at yet.", generate_examples=False)},
    ),
)
async def ping_bot_route(request: Request[Any, Any, Any], caller: CallerDependency, bot_id: BotId) -> Response[BotView]:
    """Answers when the poller has looked; 202 where it has not within ten seconds."""
    async with caller.transaction() as session:
        before = (await queries.get_bot(session, _settings(request), bot_id)).health.observed_at
    async with caller.transaction() as session:
        await service.request_ping(session, caller.principal, bot_id)

    async def look() -> tuple[BotView, bool]:
        async with caller.transaction() as session:
            view = await queries.get_bot(session, _settings(request), bot_id)
        return view, view.health.observed_at is not None and view.health.observed_at != before

    view, looked = await _watched(request, caller, bot_id, look, _PING_WAIT_S)
    return Response(view, status_code=200 if looked else 202)


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
        await queries.get_bot(session, _settings(request), bot_id)
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
        await queries.get_bot(session, _settings(request), bot_id)
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
        await queries.get_bot(session, _settings(request), bot_id)
        silence = await queries.silence_of(session, _settings(request), bot_id)
        return await bot_performance(session, bot_id, since, until, interval, points, silence=silence)


bots_router = Router(
    path="/",
    route_handlers=[
        create_bot_route,
        list_bots_route,
        get_bot_route,
        patch_bot_route,
        delete_bot_route,
        start_bot_route,
        stop_bot_route,
        restart_bot_route,
        ping_bot_route,
        steer_trading_route,
        bot_events_route,
        bot_performance_route,
        bot_instances_route,
    ],
)
