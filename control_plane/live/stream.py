"""Server-sent events of one tenant, with what was missed told first."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID

from litestar.response import ServerSentEvent
from litestar.response.sse import ServerSentEventMessage
from sqlalchemy import text

from control_plane.database.connection import Binding
from control_plane.database.sessions import Database
from control_plane.live.hub import END, Change, Hub

_QUIET_S = 15.0
_REPLAY = text("select id, bot_id from bot_events where id > :after order by id limit 500")


def event_stream(hub: Hub, database: Database, binding: Binding, last_event_id: str | None) -> ServerSentEvent:
    """An answer that follows ``binding``'s tenant until the client or this process leaves; comments keep it open."""
    return ServerSentEvent(_messages(hub, database, binding, last_event_id))


async def _messages(
    hub: Hub, database: Database, binding: Binding, last_event_id: str | None
) -> AsyncIterator[ServerSentEventMessage]:
    if binding.tenant_id is None:
        return
    async with hub.follow(binding.tenant_id) as queue:
        yield ServerSentEventMessage(data=None, comment="following", retry=2000)
        for change, identity in await _missed(database, binding, last_event_id):
            yield _message(change, identity)
        while True:
            try:
                change = await asyncio.wait_for(queue.get(), _QUIET_S)
            except TimeoutError:
                yield ServerSentEventMessage(data=None, comment="still here")
                continue
            if change is END:
                return
            yield _message(change, await _newest_event(database, binding))


async def _missed(database: Database, binding: Binding, last_event_id: str | None) -> list[tuple[Change, UUID | None]]:
    if last_event_id is None:
        return []
    try:
        after = UUID(last_event_id)
    except ValueError:
        return [(Change("resync", None), None)]
    async with database.transaction(binding) as session:
        rows = (await session.execute(_REPLAY, {"after": after})).all()
    return [(Change("bot", row.bot_id), row.id) for row in rows]


async def _newest_event(database: Database, binding: Binding) -> UUID | None:
    async with database.transaction(binding) as session:
        identity: UUID | None = await session.scalar(text("select id from bot_events order by id desc limit 1"))
    return identity


def _message(change: Change, identity: UUID | None) -> ServerSentEventMessage:
    data = f'{{"kind":"{change.kind}","id":{_json_id(change.id)}}}'
    return ServerSentEventMessage(data=data, event=None, id=str(identity) if identity else None)


def _json_id(identity: UUID | None) -> str:
    return "null" if identity is None else f'"{identity}"'
