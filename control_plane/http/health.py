"""Liveness, readiness, and what this process is."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Any

import msgspec
from litestar import Request, Response, get
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from control_plane.http.openapi import operation


class Health(msgspec.Struct, frozen=True):
    """How this process does."""

    status: str
    version: str


@get("/health/live", **operation("Is the event loop alive", auth=False, tag="platform"))
async def live_route() -> Health:
    """Never asks the database: a blip there must not restart every replica."""
    return Health("ok", version("tradewise"))


@get("/health/ready", **operation("Can requests be served", auth=False, tag="platform"))
async def ready_route(request: Request[Any, Any, Any]) -> Response[Health]:
    """503 while the database does not answer."""
    try:
        async with asyncio.timeout(3), request.app.state.database.anonymous() as session:
            await session.execute(text("select 1"))
    except (SQLAlchemyError, OSError, TimeoutError):
        return Response(Health("database_unavailable", version("tradewise")), status_code=503)
    return Response(Health("ok", version("tradewise")), status_code=200)
