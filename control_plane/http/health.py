"""Liveness, readiness, and what this process is."""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import Any

import msgspec
from asyncpg import PostgresError
from litestar import Request, get
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from control_plane.errors import UnavailableError
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
async def ready_route(request: Request[Any, Any, Any]) -> Health:
    """503 while the database does not answer."""
    try:
        async with asyncio.timeout(3), request.app.state.database.anonymous() as session:
            await session.execute(text("select 1"))
    except (SQLAlchemyError, PostgresError, OSError) as error:
        raise UnavailableError("the database does not answer", code="database_unavailable") from error
    return Health("ok", version("tradewise"))
