"""Alerts: what is wrong now, who is told, of what, and when not. Each channel has a page of its own (channels.py)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Final, Literal
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.alerts import channels, service
from control_plane.alerts.schemas import (
    LONGEST_REMINDER_S,
    SHORTEST_REMINDER_S,
    NewRule,
    PatchRule,
    PatchSettings,
)
from control_plane.bots import queries as bots
from control_plane.dashboard.alerting import span_of, span_text
from control_plane.dashboard.forms import REFUSALS, Form, FormDependency, FormState, in_words
from control_plane.dashboard.rendering import go, page
from control_plane.errors import AppError, unacceptable
from control_plane.http.caller import Caller, CallerDependency
from control_plane.tenants.queries import list_members
from control_plane.webhooks.schemas import WebhookView

RuleId = FromPath[UUID]

_MOST: Final = 50
#: How many incidents are shown: of those that are over the newest, so that what is below them is found.
_SHOWN: Final[tuple[tuple[Literal["open", "closed"], int], ...]] = (("open", _MOST), ("closed", 20))
_MOST_BOTS: Final = 200
NOTHING: Final = FormState()
_FORMS: Final = ("page", "webhook", "email", "telegram", "rule", "quiet")
_HOURS: Final = ("quiet_hours.start", "quiet_hours.end", "quiet_hours.time_zone")


@get("/alerts")
async def alerts_page(request: Request[Any, Any, Any], caller: CallerDependency) -> Response[str]:
    """For every member to read."""
    return await alerts_whole(request, caller, {})


async def alerts_whole(
    request: Request[Any, Any, Any],
    caller: Caller,
    forms: Mapping[str, FormState],
    *,
    status_code: int = 200,
    created: WebhookView | None = None,
) -> Response[str]:
    """The page. ``forms`` are those to show again after a refusal; "page" holds what belongs to none."""
    person = caller.principal
    async with caller.transaction() as session:
        quiet = await service.get_settings(session, person)
        found: dict[str, Any] = {
            "channels": await channels.many(session, person, None, channels.MOST),
            "rules": await service.list_rules(session, person),
            # What goes on first, however much was over since: it is what somebody comes here for.
            "incidents": [
                one
                for state, most in _SHOWN
                for one in await service.list_incidents(
                    session, person, state=state, bot_id=None, before=None, limit=most
                )
            ],
            "bots": await bots.bot_names(session, _MOST_BOTS),
            "members": [
                (str(member.user_id), member.email)
                for member in await list_members(session, person, None, _MOST)
                if member.email is not None
            ],
        }
    hours = quiet.quiet_hours
    stored = FormState(
        values={
            "start": hours.start if hours else "",
            "end": hours.end if hours else "",
            "time_zone": hours.time_zone if hours else "UTC",
            "critical_breaks_quiet": quiet.critical_breaks_quiet,
            "remind_after_seconds": span_text(quiet.remind_after_seconds),
        }
    )
    return page(
        request,
        "alerts/alerts.html",
        status_code=status_code,
        **found,
        quiet=quiet,
        created=created,
        telegram_bot=request.app.state.settings.telegram_bot_name,
        may_write="alerts:write" in person.scopes and not suspended(caller),
        forms={**dict.fromkeys(_FORMS, NOTHING), "quiet": stored, **forms},
    )


def suspended(caller: Caller) -> bool:
    """Whether the tenant may change nothing now."""
    return caller.principal.tenant_status == "suspended"


@post("/alerts/rules/{rule_id:uuid}")
async def rule_action(
    request: Request[Any, Any, Any], caller: CallerDependency, rule_id: RuleId, form: FormDependency
) -> Response[Any]:
    """Change a rule: boxes that are not ticked are off."""
    given: dict[str, Any] = {
        "enabled": bool(form.get("enabled")),
        "tell_recovery": bool(form.get("tell_recovery")),
        "channel_ids": form.all("channel_ids") or None,
    }
    return await _saved(
        request,
        caller,
        "page",
        lambda session: service.change_rule(session, caller.principal, rule_id, form.read(PatchRule, **given)),
        "rule-changed",
    )


@post("/alerts/rules/{rule_id:uuid}/reset")
async def reset_rule_action(
    request: Request[Any, Any, Any], caller: CallerDependency, rule_id: RuleId
) -> Response[Any]:
    """Back to the default, or to the rule for all bots."""
    return await _saved(
        request,
        caller,
        "page",
        lambda session: service.delete_rule(session, caller.principal, rule_id),
        "rule-changed",
    )


@post("/alerts/rules")
async def create_rule_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[Any]:
    """A rule for one bot."""
    given: dict[str, Any] = {"enabled": form.get("enabled") != "false"}
    return await _saved(
        request,
        caller,
        "rule",
        lambda session: service.create_rule(session, caller.principal, form.read(NewRule, **given)),
        "rule-changed",
    )


@post("/alerts/quiet")
async def quiet_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[Any]:
    """Quiet hours, none where both ends are empty, and reminders."""
    start, end = form.get("start").strip(), form.get("end").strip()
    hours = {"start": start, "end": end, "time_zone": form.get("time_zone").strip() or "UTC"} if start or end else None
    given: dict[str, Any] = {
        "quiet_hours": hours,
        "critical_breaks_quiet": bool(form.get("critical_breaks_quiet")),
    }
    bare = form.without("start", "end", "time_zone", "remind_after_seconds", "critical_breaks_quiet")
    try:
        data = bare.read(PatchSettings, **given, remind_after_seconds=_reminder(form))
        async with caller.transaction() as session:
            await service.change_settings(session, caller.principal, data)
    except REFUSALS as error:
        refused = form.refused(error, shown=(*_HOURS, "remind_after_seconds"))
        # The page names the three by themselves, without what they are part of.
        errors = {name.removeprefix("quiet_hours."): text for name, text in refused.errors.items()}
        shown = replace(refused, errors=errors)
        return await again(request, caller, "quiet", shown, error)
    return go(request, "/alerts", say="quiet-changed")


def _reminder(form: Form) -> int | None:
    """After how many seconds to remind, None for never. Raises 422 for what is no such time."""
    text = form.get("remind_after_seconds").strip()
    if not text:
        return None
    seconds = span_of(text)
    if seconds is None or not SHORTEST_REMINDER_S <= seconds <= LONGEST_REMINDER_S:
        raise unacceptable("remind_after_seconds", "must be a time such as 4 h, 1.5 h or 90 min, from 15 min to 168 h")
    return seconds


async def _saved(
    request: Request[Any, Any, Any],
    caller: Caller,
    name: str,
    work: Callable[[AsyncSession], Awaitable[Any]],
    say: str,
) -> Response[Any]:
    try:
        async with caller.transaction() as session:
            await work(session)
    except REFUSALS as error:
        return await again(request, caller, name, FormState(error=in_words(error.detail)), error)
    return go(request, "/alerts", say=say)


async def again(
    request: Request[Any, Any, Any], caller: Caller, name: str, state: FormState, error: AppError
) -> Response[str]:
    """The page after a refusal: the form of that name as it was sent, with what is wrong."""
    return await alerts_whole(request, caller, {name: state}, status_code=error.status)


HANDLERS = [
    alerts_page,
    rule_action,
    reset_rule_action,
    create_rule_action,
    quiet_action,
]
