"""Routes of what people wish of a bot: that it starts, stops, trades or not, and is looked at now."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Response, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import FromPath, JSONBody, QueryParameter

from control_plane.bots import queries, service
from control_plane.bots.schemas import BotView, SteerTrading
from control_plane.bots.trading import wish_trading
from control_plane.http.caller import Caller, CallerDependency
from control_plane.http.idempotency import once
from control_plane.http.openapi import operation
from control_plane.live.hub import END, Hub, next_change
from control_plane.settings import Settings

BotId = FromPath[UUID]
_LOOK_EVERY_S = 1.0
_PING_WAIT_S = 10.0

Force = Annotated[
    bool,
    QueryParameter(
        name="force",
        description="End a bot that we run at once, without waiting until its orders are cancelled: for emergencies.",
    ),
]


def settings_of(request: Request[Any, Any, Any]) -> Settings:
    """What this process was started with."""
    settings: Settings = request.app.state.settings
    return settings


async def watched(
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


async def _wish(
    request: Request[Any, Any, Any], caller: Caller, bot_id: UUID, verb: str, *, force: bool = False
) -> Response[BotView]:
    async def work(session: Any) -> BotView:
        await service.wish(session, caller.principal, settings_of(request), bot_id, verb, force=force)
        return await queries.get_bot(session, settings_of(request), bot_id)

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
        return await queries.get_bot(session, settings_of(request), bot_id)

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
        before = (await queries.get_bot(session, settings_of(request), bot_id)).health.observed_at
    async with caller.transaction() as session:
        await service.request_ping(session, caller.principal, bot_id)

    async def look() -> tuple[BotView, bool]:
        async with caller.transaction() as session:
            view = await queries.get_bot(session, settings_of(request), bot_id)
        return view, view.health.observed_at is not None and view.health.observed_at != before

    view, looked = await watched(request, caller, bot_id, look, _PING_WAIT_S)
    return Response(view, status_code=200 if looked else 202)


WISHES = (start_bot_route, stop_bot_route, restart_bot_route, ping_bot_route, steer_trading_route)
