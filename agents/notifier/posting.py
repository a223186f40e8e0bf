"""Messages for channels: who gets one, when, and in which order. Written in the transaction of what they tell of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from control_plane.alerts.kinds import DISABLED, RESOLVED, SUMMARY
from control_plane.alerts.quiet import Quiet, quiet_until
from control_plane.alerts.words import document

_CHANNELS: Final = """
    select id, kind, name, quiet from alert_channels
    where tenant_id = $1 and enabled and disabled_at is null and verified_at is not null
        and ($2::uuid[] is null or id = any($2))
        and ($3::uuid is null or exists (
            select from alert_messages m
            where m.tenant_id = $1 and m.channel_id = alert_channels.id and m.incident_id = $3
        ))
    order by id
"""
_SETTINGS: Final = """
    select quiet_start, quiet_end, time_zone, critical_breaks_quiet from alert_settings where tenant_id = $1
"""
_ADD: Final = """
    insert into alert_messages (id, tenant_id, channel_id, incident_id, type, line, body, state, release_at)
    values ($1, $2, $3, $4, $5, $6, $7, case when $8::timestamptz is null then 'pending' else 'held' end, $8)
"""
# Held ones whose quiet hours are over: all of a channel at once, so that they become one message.
_RELEASED: Final = """
    select m.tenant_id, m.channel_id, array_agg(m.id order by m.seq) as ids, array_agg(m.body order by m.seq) as bodies,
        coalesce(array_agg(m.id) filter (where m.type = $2), '{}') as apart
    from alert_messages m
    where m.state = 'held' and (m.tenant_id, m.channel_id) in (
        select h.tenant_id, h.channel_id from alert_messages h where h.state = 'held' and h.release_at <= $1
    )
    group by m.tenant_id, m.channel_id
"""
_SUMMARISED: Final = """
    update alert_messages set state = 'summarised', settled_at = now() where id = any($1::uuid[]) and state = 'held'
"""
# A summary tells of incidents alone: what is about none goes out as it was written.
_APART: Final = """
    update alert_messages set state = 'pending', release_at = null, next_attempt_at = now()
    where id = any($1::uuid[]) and state = 'held'
"""
#: A summary tells of so many incidents, the newest ones.
_MOST_SUMMED: Final = 100


async def post(
    connection: asyncpg.Connection,
    tenant_id: UUID,
    type_: str,
    data: dict[str, Any],
    now: datetime,
    *,
    incident_id: UUID | None,
    critical: bool,
    only: Sequence[UUID] | None,
) -> int:
    """One message for each channel of the tenant, of ``only`` those where given. How many there are.

    An end is told to those alone that were told of its incident before.
    In quiet hours it is held, unless it is critical and the tenant lets that break through.
    """
    begun = incident_id if type_ == RESOLVED else None
    channels = await connection.fetch(_CHANNELS, tenant_id, list(only) if only is not None else None, begun)
    if not channels:
        return 0
    settings = await connection.fetchrow(_SETTINGS, tenant_id)
    until = None
    if settings is not None and not (critical and settings["critical_breaks_quiet"]):
        until = quiet_until(quiet_of(settings), now)
    body = document(type_, now, data)
    for channel in channels:
        # People read one after another, a webhook's incidents do not wait for each other.
        line = incident_id if channel["kind"] == "webhook" and incident_id is not None else channel["id"]
        release = until if channel["quiet"] else None
        await connection.execute(_ADD, uuid7(), tenant_id, channel["id"], incident_id, type_, line, body, release)
    return len(channels)


def quiet_of(settings: asyncpg.Record) -> Quiet | None:
    """A tenant's quiet hours, None where it has none."""
    if settings["quiet_start"] is None:
        return None
    return Quiet(settings["quiet_start"], settings["quiet_end"], settings["time_zone"])


async def release(connection: asyncpg.Connection, now: datetime) -> int:
    """Tell what was held, one summary a channel, each incident once and as it stands by now. How many channels."""
    rows = await connection.fetch(_RELEASED, now, DISABLED)
    for row in rows:
        newest: dict[str, Any] = {}
        for body in row["bodies"]:
            incident = msgspec.json.decode(body)["data"].get("incident")
            if incident is not None:
                newest.pop(incident["id"], None)
                newest[incident["id"]] = incident
        data = {"incidents": list(newest.values())[-_MOST_SUMMED:], "incidents_met": len(newest)}
        if newest:
            body = document(SUMMARY, now, data)
            await connection.execute(
                _ADD, uuid7(), row["tenant_id"], row["channel_id"], None, SUMMARY, row["channel_id"], body, None
            )
        await connection.execute(_APART, row["apart"])
        await connection.execute(_SUMMARISED, row["ids"])
    return len(rows)


async def tell_disabled(
    connection: asyncpg.Connection, tenant_id: UUID, channel_id: UUID, name: str, text: str, now: datetime
) -> None:
    """Tell the tenant's other channels that one was given up."""
    data = {"channel": name, "channel_id": str(channel_id), "text": text}
    await post(connection, tenant_id, DISABLED, data, now, incident_id=None, critical=False, only=None)
