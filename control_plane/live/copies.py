"""The copies of a bot that were launched, newest first, with what was kept of those that ended."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

_COPIES = text("""
    select id, state, generation, created_at, started_at, finished_at, exit_code, oom_killed, last_lines, resource_curve
    from bot_instances where bot_id = :bot order by id desc limit :limit
""").columns(last_lines=JSONB, resource_curve=JSONB)


class PastCopy(msgspec.Struct, frozen=True):
    """One copy, and how it ended where it has."""

    id: UUID
    state: str
    generation: int
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    exit_code: int | None
    oom_killed: bool | None
    last_lines: list[str] | None
    resource_curve: list[dict[str, Any]] | None


async def newest_copies(session: AsyncSession, bot_id: UUID, limit: int) -> list[PastCopy]:
    """The newest copies of a bot of the bound tenant."""
    rows = await session.execute(_COPIES, {"bot": bot_id, "limit": limit})
    return [PastCopy(*row) for row in rows]
