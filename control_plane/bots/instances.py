"""The copies of a bot that we ran, each with what is kept of its end."""

from __future__ import annotations

import signal
from typing import Any
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.bots.schemas import InstanceView

_BY_SIGNAL = 128
_INSTANCES = text(
    "select id, generation, attempt, state, image, image_id, exit_code, oom_killed, end_reason, end_detail, last_lines,"
    " created_at, started_at, finished_at from bot_instances"
    " where bot_id = :bot and (cast(:before as uuid) is null or id < :before) order by id desc limit :limit"
).columns(last_lines=JSONB)


async def list_instances(session: AsyncSession, bot_id: UUID, *, before: UUID | None, limit: int) -> list[InstanceView]:
    """A bot's copies, newest first. Their last lines were freed of secrets before they were stored."""
    rows = await session.execute(_INSTANCES, {"bot": bot_id, "before": before, "limit": limit})
    return [_view(row) for row in rows]


def _view(row: Row[Any]) -> InstanceView:
    return InstanceView(
        id=row.id,
        generation=row.generation,
        attempt=row.attempt,
        state=row.state,
        image=row.image,
        image_id=row.image_id,
        exit_code=row.exit_code,
        signal=signal_name(row.exit_code),
        oom_killed=row.oom_killed,
        reason=row.end_reason,
        detail=row.end_detail,
        last_lines=row.last_lines or [],
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )


def signal_name(exit_code: int | None) -> str | None:
    """The signal that an exit code tells of, None where it tells of none."""
    if exit_code is None or exit_code <= _BY_SIGNAL:
        return None
    try:
        return signal.Signals(exit_code - _BY_SIGNAL).name
    except ValueError:
        return str(exit_code - _BY_SIGNAL)
