"""Server-sent events of one tenant, with what was missed told first."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from uuid import UUID

from litestar.response import ServerSentEvent
from litestar.response.sse import ServerSentEventMessage
from sqlalchemy import text

from control_plane.database.connection import Binding
from control_plane.database.sessions import Database
from control_plane.live.hub import END, RESYNC, Change, Hub, next_change

_QUIET_S = 15.0
_REPLAYED = 500
# Ids are made before their rows are committed, by several processes: one that was made earlier may be seen later.
_OVERLAP = timedelta(seconds=10)
# Not every change of a bot is an event of its history: a new name, or what a check found.
_MISSED = text("""
    select 'bot' as kind, id, max(seen::text)::uuid as seen from (
        select bot_id as id, id as seen from bot_events where id > :after
        union all
        select id, null from bots where updated_at > :since
        union all
        select id, null from bot_health where observed_at > :since or engine_lost_at > :since
    ) b group by id
    union all
    select 'subscription', id, null from subscriptions where updated_at > :since and :whole
    order by seen nulls last limit :limit
""")

StillGood = Callable[[], Awaitable[bool]]


def event_stream(
    hub: Hub, database: Database, binding: Binding, last_event_id: str | None, *, still_good: StillGood | None = None
) -> ServerSentEvent:
    """An answer that follows ``binding``'s tenant until the client leaves. Comments keep idle connections open.

    With ``still_good`` the credential is looked at again every quarter of a minute, and the stream ends when it is not.
    """
    return ServerSentEvent(_messages(hub, database, binding, last_event_id, still_good))


async def _messages(
    hub: Hub, database: Database, binding: Binding, last_event_id: str | None, still_good: StillGood | None
) -> AsyncIterator[ServerSentEventMessage]:
    if binding.tenant_id is None:
        return
    async with hub.follow(binding.tenant_id, binding.bots) as queue:
        yield ServerSentEventMessage(data=None, comment="following", retry=2000)
        for missed, identity in await _missed(database, binding, last_event_id):
            yield _message(missed, identity)
        checked = time.monotonic()
        while True:
            change = await next_change(queue, _QUIET_S)
            if change is END:
                return
            if still_good is not None and time.monotonic() - checked >= _QUIET_S:
                if not await still_good():
                    return
                checked = time.monotonic()
            if change is None:
                # A comment alone: with empty data beside it, browsers would take it for an event.
                yield ServerSentEventMessage(data=None, comment="still here")
            else:
                yield _message(change, change.position)


async def _missed(database: Database, binding: Binding, last_event_id: str | None) -> list[tuple[Change, UUID | None]]:
    """What changed since an event, each thing once; a resync where that is not known or too much."""
    if last_event_id is None:
        return []
    try:
        since = _made_at(UUID(last_event_id)) - _OVERLAP
    except (ValueError, OverflowError):
        return [(RESYNC, None)]
    async with database.transaction(binding) as session:
        values = {"after": _first_id_at(since), "since": since, "limit": _REPLAYED + 1, "whole": binding.bots is None}
        rows = (await session.execute(_MISSED, values)).all()
    if len(rows) > _REPLAYED:
        return [(RESYNC, None)]
    return [(Change(row.kind, row.id), row.seen) for row in rows]


def _made_at(identity: UUID) -> datetime:
    """When a UUIDv7 was made: its first 48 bits are milliseconds since 1970."""
    return datetime.fromtimestamp((identity.int >> 80) / 1000, UTC)


def _first_id_at(moment: datetime) -> UUID:
    """An id below every UUIDv7 that was made since ``moment``."""
    return UUID(int=max(int(moment.timestamp() * 1000), 0) << 80)


def _message(change: Change, identity: UUID | None) -> ServerSentEventMessage:
    data = f'{{"kind":"{change.kind}","id":{_json_id(change.id)}}}'
    return ServerSentEventMessage(data=data, event=None, id=str(identity) if identity else None)


def _json_id(identity: UUID | None) -> str:
    return "null" if identity is None else f'"{identity}"'
