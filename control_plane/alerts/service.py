"""Rules, quiet hours and incidents. What nobody has changed is as kinds.py says, and has no row."""

from __future__ import annotations

from datetime import UTC, datetime, time
from typing import Any, Final, Literal
from uuid import UUID
from zoneinfo import available_timezones

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.alerts.kinds import KINDS, Rule, default_rule, rules_in_force
from control_plane.alerts.quiet import Quiet, quiet_until
from control_plane.alerts.schemas import (
    IncidentView,
    NewRule,
    PatchRule,
    PatchSettings,
    QuietHours,
    RuleView,
    SettingsView,
    given,
)
from control_plane.alerts.words import back_title, over_text, text_of, title_of
from control_plane.errors import ConflictError, NotFoundError, unacceptable
from control_plane.identity.principal import Principal

MOST_RULES: Final = 500
#: Below one percent every breath of a market would be news.
_LEAST_LIMIT: Final = 1

_RULES: Final = text("""
    select id, kind, bot_id, enabled, delay_s, limit_percent, severity, channel_ids, tell_recovery from alert_rules
    order by id
""")
_PUT_RULE: Final = text("""
    insert into alert_rules (id, kind, bot_id, enabled, delay_s, limit_percent, severity, channel_ids, tell_recovery)
    values (:id, :kind, :bot_id, :enabled, :delay_s, :limit_percent, :severity, cast(:channel_ids as uuid[]),
        :tell_recovery)
    on conflict (id) do update set enabled = excluded.enabled, delay_s = excluded.delay_s,
        limit_percent = excluded.limit_percent, severity = excluded.severity, channel_ids = excluded.channel_ids,
        tell_recovery = excluded.tell_recovery
""")
_DELETE_RULE: Final = text("delete from alert_rules where id = :id returning id")
_BOT: Final = text("select id from bots where id = :id and deleted_at is null")
_CHANNELS: Final = text("select id from alert_channels where id = any(cast(:ids as uuid[]))")
_SETTINGS: Final = text("""
    select quiet_start, quiet_end, time_zone, critical_breaks_quiet, remind_after_s from alert_settings
""")
_PUT_SETTINGS: Final = text("""
    insert into alert_settings (id, quiet_start, quiet_end, time_zone, critical_breaks_quiet, remind_after_s)
    values (:id, :quiet_start, :quiet_end, :time_zone, :critical_breaks_quiet, :remind_after_s)
    on conflict (tenant_id) do update set quiet_start = excluded.quiet_start, quiet_end = excluded.quiet_end,
        time_zone = excluded.time_zone, critical_breaks_quiet = excluded.critical_breaks_quiet,
        remind_after_s = excluded.remind_after_s
""")
_INCIDENT: Final = """
    select id, kind, scope, cause, severity, reason, detail, bot_id, bot_ids, bot_names, bots_met, bots_over, since,
        opened_at, closed_at, resolution, flaps
    from alert_incidents
"""
_INCIDENTS: Final = text(
    _INCIDENT
    + " where (cast(:state as text) is null or (closed_at is null) = (:state = 'open'))"
    + " and (cast(:bot as uuid) is null or bot_id = :bot or :bot = any(bot_ids))"
    + " and (cast(:before as uuid) is null or id < :before) order by id desc limit :limit"
)
_ONE_INCIDENT: Final = text(_INCIDENT + " where id = :id")


async def list_rules(session: AsyncSession, principal: Principal) -> list[RuleView]:
    """What holds: for all bots first, in a fixed order, then those of single bots."""
    principal.require("alerts:read")
    stored = await _stored(session)
    known = {rule.id for rule in stored}
    nobody = UUID(int=0)
    rules = sorted(
        rules_in_force(principal.tenant_id, tuple(stored)),
        key=lambda rule: (rule.bot_id if rule.bot_id is not None else nobody, KINDS.index(rule.kind)),
    )
    return [_rule_view(rule, is_default=rule.id not in known) for rule in rules]


async def get_rule(session: AsyncSession, principal: Principal, rule_id: UUID) -> RuleView:
    """One rule that holds. Raises 404."""
    found = [rule for rule in await list_rules(session, principal) if rule.id == rule_id]
    if not found:
        raise NotFoundError("alert rule")
    return found[0]


async def create_rule(session: AsyncSession, principal: Principal, data: NewRule) -> RuleView:
    """Write a rule. Raises 409 where one is written for the same, 422 for what does not fit."""
    principal.require("alerts:write")
    stored = await _stored(session)
    if any(rule.kind == data.kind and rule.bot_id == data.bot_id for rule in stored):
        raise ConflictError("there is such a rule already: change it instead", code="rule_exists")
    if len(stored) >= MOST_RULES:
        raise ConflictError(f"there are {MOST_RULES} rules: delete one first", code="too_many_rules")
    if data.bot_id is not None and await session.scalar(_BOT, {"id": data.bot_id}) is None:
        raise unacceptable("bot_id", "there is no such bot", code="unknown_bot")
    rule = default_rule(principal.tenant_id, data.kind)
    if data.bot_id is not None:
        rule = msgspec.structs.replace(rule, id=uuid7(), bot_id=data.bot_id)
    fields = given(data)
    fields.pop("bot_id")
    fields.pop("kind")
    return await _write(session, rule, fields)


async def change_rule(session: AsyncSession, principal: Principal, rule_id: UUID, data: PatchRule) -> RuleView:
    """Change a rule, a default one too, which is written by that. Raises 404, 422."""
    principal.require("alerts:write")
    rules = rules_in_force(principal.tenant_id, tuple(await _stored(session)))
    rule = next((rule for rule in rules if rule.id == rule_id), None)
    if rule is None:
        raise NotFoundError("alert rule")
    return await _write(session, rule, given(data))


async def delete_rule(session: AsyncSession, principal: Principal, rule_id: UUID) -> None:
    """Delete what was written: from then on the rule for all bots holds, or the default. Raises 404, 409."""
    principal.require("alerts:write")
    if await session.scalar(_DELETE_RULE, {"id": rule_id}) is not None:
        return
    if any(default_rule(principal.tenant_id, kind).id == rule_id for kind in KINDS):
        raise ConflictError("this is the default: switch it off with `enabled: false`", code="rule_is_default")
    raise NotFoundError("alert rule")


async def _write(session: AsyncSession, rule: Rule, fields: dict[str, Any]) -> RuleView:
    if "delay_seconds" in fields:
        fields["delay_s"] = fields.pop("delay_seconds")
    if rule.kind != "drawdown" and "limit_percent" in fields:
        raise unacceptable("limit_percent", "is for the kind drawdown alone; leave it out")
    limit = fields.get("limit_percent")
    if limit is not None and not (limit.is_finite() and _LEAST_LIMIT <= limit <= 100):
        raise unacceptable("limit_percent", "must be from 1 to 100")
    if rule.kind == "drawdown" and fields.get("delay_s"):
        raise unacceptable("delay_seconds", "is not for drawdown, which is told at once; leave it out")
    channels = fields.get("channel_ids")
    if channels is not None:
        known = set((await session.execute(_CHANNELS, {"ids": channels})).scalars())
        if unknown := [channel for channel in channels if channel not in known]:
            raise unacceptable("channel_ids", f"there is no such channel: {unknown[0]}", code="unknown_channel")
        fields["channel_ids"] = tuple(dict.fromkeys(channels))
    rule = msgspec.structs.replace(rule, **fields)
    values = msgspec.structs.asdict(rule)
    values["channel_ids"] = list(rule.channel_ids) if rule.channel_ids is not None else None
    try:
        await session.execute(_PUT_RULE, values)
    except IntegrityError as error:
        raise ConflictError("there is such a rule already: change it instead", code="rule_exists") from error
    return _rule_view(rule, is_default=False)


async def _stored(session: AsyncSession) -> list[Rule]:
    rows = await session.execute(_RULES)
    return [
        Rule(**(dict(row._mapping) | {"channel_ids": tuple(row.channel_ids) if row.channel_ids is not None else None}))  # noqa: SLF001
        for row in rows
    ]


async def get_settings(session: AsyncSession, principal: Principal) -> SettingsView:
    """Quiet hours and reminders."""
    principal.require("alerts:read")
    row = (await session.execute(_SETTINGS)).one_or_none()
    if row is None:
        return SettingsView(None, None, critical_breaks_quiet=False, remind_after_seconds=None)
    hours = None
    until = None
    if row.quiet_start is not None:
        hours = QuietHours(f"{row.quiet_start:%H:%M}", f"{row.quiet_end:%H:%M}", row.time_zone)
        until = quiet_until(Quiet(row.quiet_start, row.quiet_end, row.time_zone), datetime.now(UTC))
    return SettingsView(hours, until, row.critical_breaks_quiet, row.remind_after_s)


async def change_settings(session: AsyncSession, principal: Principal, data: PatchSettings) -> SettingsView:
    """Change what is named. Raises 422 for hours that are none, or a zone that nobody knows."""
    principal.require("alerts:write")
    present = await get_settings(session, principal)
    wished = given(data)
    hours: QuietHours | None = wished.get("quiet_hours", present.quiet_hours)
    if hours is not None:
        if hours.start == hours.end:
            raise unacceptable("quiet_hours.end", "must differ from the start")
        if hours.time_zone not in available_timezones():
            raise unacceptable(
                "quiet_hours.time_zone", "is no time zone: give a name such as Europe/Berlin", code="unknown_time_zone"
            )
    values = {
        "id": uuid7(),
        "quiet_start": time.fromisoformat(hours.start) if hours is not None else None,
        "quiet_end": time.fromisoformat(hours.end) if hours is not None else None,
        "time_zone": hours.time_zone if hours is not None else "UTC",
        "critical_breaks_quiet": wished.get("critical_breaks_quiet", present.critical_breaks_quiet),
        "remind_after_s": wished.get("remind_after_seconds", present.remind_after_seconds),
    }
    await session.execute(_PUT_SETTINGS, values)
    return await get_settings(session, principal)


async def list_incidents(
    session: AsyncSession,
    principal: Principal,
    *,
    state: Literal["open", "closed"] | None,
    bot_id: UUID | None,
    before: UUID | None,
    limit: int,
) -> list[IncidentView]:
    """Incidents of the last half year, newest first."""
    principal.require("alerts:read")
    values = {"state": state, "bot": bot_id, "before": before, "limit": limit}
    return [_incident_view(row) for row in await session.execute(_INCIDENTS, values)]


async def get_incident(session: AsyncSession, principal: Principal, incident_id: UUID) -> IncidentView:
    """One incident. Raises 404."""
    principal.require("alerts:read")
    row = (await session.execute(_ONE_INCIDENT, {"id": incident_id})).one_or_none()
    if row is None:
        raise NotFoundError("incident")
    return _incident_view(row)


def _rule_view(rule: Rule, *, is_default: bool) -> RuleView:
    return RuleView(
        id=rule.id,
        kind=rule.kind,
        bot_id=rule.bot_id,
        enabled=rule.enabled,
        delay_seconds=rule.delay_s,
        limit_percent=rule.limit_percent,
        severity=rule.severity,
        channel_ids=list(rule.channel_ids) if rule.channel_ids is not None else None,
        tell_recovery=rule.tell_recovery,
        is_default=is_default,
    )


def _incident_view(row: Row[Any]) -> IncidentView:
    names, met = list(row.bot_names), row.bots_met
    over = row.closed_at is not None
    title = (
        back_title(row.kind, names, met, row.resolution, row.bots_over, row.reason)
        if over
        else title_of(row.kind, row.scope, row.cause, names, met, row.reason)
    )
    values = {name: value for name, value in row._mapping.items() if name not in {"cause", "detail"}}  # noqa: SLF001
    why = over_text(row.since, row.closed_at) if over else row.detail or text_of(row.reason)
    return IncidentView(**values, state="closed" if over else "open", title=title, text=why)
