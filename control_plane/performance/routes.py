"""Routes of performance."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from litestar import Request, Router, get
from litestar.params import FromPath, QueryParameter

from control_plane.bots import queries
from control_plane.dashboard.reasons import readable, reason_words
from control_plane.http.caller import CallerDependency
from control_plane.http.openapi import operation
from control_plane.performance.health import MOST_SPANS, bot_timeline
from control_plane.performance.schemas import TimelineView
from control_plane.settings import Settings


def said(code: str) -> str:
    """A reason as people are told it."""
    words = reason_words(code)
    return readable(code) if words is None else words.label


@get(
    "/bots/{bot_id:uuid}/health",
    **operation("A bot's health over time", tag="bots", scope="bots:read", errors=(404, 422)),
)
async def bot_health_route(
    request: Request[Any, Any, Any],
    caller: CallerDependency,
    bot_id: FromPath[UUID],
    since: Annotated[datetime | None, QueryParameter(name="from")] = None,
    until: Annotated[datetime | None, QueryParameter(name="to")] = None,
    points: Annotated[
        int, QueryParameter(name="points", ge=2, le=MOST_SPANS, description="At most so many buckets.")
    ] = 100,
) -> TimelineView:
    """Spans of the same health, uptime with the time that it is a share of, and latency. `unknown` is time in which
    nobody looked: it is no downtime and no uptime. A day up to now where nothing else is asked for."""
    settings: Settings = request.app.state.settings
    async with caller.transaction() as session:
        bot = await queries.get_bot(session, settings, bot_id)
        good_until = await queries.seen_until(session, settings, bot)
        return await bot_timeline(session, bot_id, since, until, seen_until=good_until, words=said, points=points)


performance_router = Router(path="/", route_handlers=[bot_health_route])
