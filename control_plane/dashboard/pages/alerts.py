"""Alerts: what is wrong now, who is told, of what, when not, and what became of each message."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Literal
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.params import FromPath
from sqlalchemy.ext.asyncio import AsyncSession

from control_plane.alerts import channels, service
from control_plane.alerts.schemas import (
    LONGEST_REMINDER_S,
    SHORTEST_REMINDER_S,
    Confirmation,
    NewChannel,
    NewRule,
    PatchChannel,
    PatchRule,
    PatchSettings,
)
from control_plane.bots import queries as bots
from control_plane.dashboard.alerting import span_of, span_text
from control_plane.dashboard.forms import REFUSALS, Form, FormDependency, FormState, in_words
from control_plane.dashboard.rendering import go, page
from control_plane.errors import AppError, unacceptable
from control_plane.http.caller import Caller, CallerDependency
from control_plane.identity.codes import WrongCodeError
from control_plane.security.keyring import wait_for_public_key
from control_plane.security.limits import TooManyAttemptsError
from control_plane.tenants.queries import list_members
from control_plane.webhooks import service as webhooks
from control_plane.webhooks.schemas import NewWebhook, RotateSecret, WebhookView

ChannelId = FromPath[UUID]
RuleId = FromPath[UUID]

_MOST: Final = 50
#: How many incidents are shown: of those that are over the newest, so that what is below them is found.
_SHOWN: Final[tuple[tuple[Literal["open", "closed"], int], ...]] = (("open", _MOST), ("closed", 20))
_LOG: Final = 50
_MOST_BOTS: Final = 200
_REFUSED: Final = (*REFUSALS, TooManyAttemptsError)
_NOTHING: Final = FormState()
_FORMS: Final = ("page", "webhook", "email", "telegram", "rule", "quiet")


@get("/alerts")
async def alerts_page(request: Request[Any, Any, Any], caller: CallerDependency) -> Response[str]:
    """For every member to read."""
    return await _alerts(request, caller, {})


async def _alerts(
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
        may_write="alerts:write" in person.scopes and not _suspended(caller),
        forms={**dict.fromkeys(_FORMS, _NOTHING), "quiet": stored, **forms},
    )


def _suspended(caller: Caller) -> bool:
    return caller.principal.tenant_status == "suspended"


@get("/alerts/channels/{channel_id:uuid}")
async def channel_page(
    request: Request[Any, Any, Any], caller: CallerDependency, channel_id: ChannelId
) -> Response[str]:
    """One channel: what was told by it, and each try of a webhook."""
    return await _channel(request, caller, channel_id)


async def _channel(
    request: Request[Any, Any, Any],
    caller: Caller,
    channel_id: UUID,
    *,
    form: FormState = _NOTHING,
    status_code: int = 200,
    created: WebhookView | None = None,
) -> Response[str]:
    person = caller.principal
    async with caller.transaction() as session:
        channel = await channels.get(session, person, channel_id)
        messages = await channels.messages(session, person, channel_id, None, _LOG)
        is_hook = channel.kind == "webhook"
        deliveries = await webhooks.deliveries(session, person, channel_id, None, _LOG) if is_hook else []
        hook = await webhooks.get(session, person, channel_id) if is_hook else None
    return page(
        request,
        "alerts/channel.html",
        status_code=status_code,
        channel=channel,
        hook=hook,
        messages=messages,
        deliveries=deliveries,
        created=created,
        form=form,
        may_write="alerts:write" in person.scopes and not _suspended(caller),
    )


@post("/alerts/webhooks")
async def create_webhook_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[Any]:
    """Make a webhook and show its secret in this one answer."""
    try:
        data = form.read(NewWebhook)
        key = await wait_for_public_key(caller.database, caller.principal.tenant_id)
        async with caller.transaction() as session:
            made = await webhooks.create(session, caller.principal, request.app.state.settings, key, data)
    except REFUSALS as error:
        return await _again(request, caller, "webhook", form.refused(error, shown=("url", "name")), error)
    return await _alerts(request, caller, {}, status_code=201, created=made)


@post("/alerts/channels")
async def create_channel_action(
    request: Request[Any, Any, Any], caller: CallerDependency, form: FormDependency
) -> Response[Any]:
    """Tell a member by mail, or a chat once it has proved itself."""
    kind = "telegram" if form.get("kind") == "telegram" else "email"
    caller.principal.require("alerts:write")
    try:
        data = form.read(NewChannel)
        if data.kind == "telegram":
            await channels.count_code(caller.database, caller.principal)
        key = await wait_for_public_key(caller.database, caller.principal.tenant_id)
        async with caller.transaction() as session:
            made = await channels.create(session, caller.principal, key, data)
    except _REFUSED as error:
        shown = ("chat_id",) if kind == "telegram" else ("user_id",)
        return await _again(request, caller, kind, form.refused(error, shown=shown), error)
    if made.verified:
        return go(request, "/alerts", say="channel-added")
    return go(request, f"/alerts/channels/{made.id}", say="chat-code-sent")


@post("/alerts/channels/{channel_id:uuid}/verify")
async def verify_action(
    request: Request[Any, Any, Any], caller: CallerDependency, channel_id: ChannelId, form: FormDependency
) -> Response[Any]:
    """Enter the code that was sent to a chat."""
    caller.principal.require("alerts:write")
    try:
        data = form.read(Confirmation)
        await channels.count_try(caller.database, caller.principal)
        async with caller.transaction() as session:
            good = await channels.confirm(session, caller.principal, channel_id, data.code)
        if not good:
            raise WrongCodeError
    except _REFUSED as error:
        state = form.refused(error, shown=("code",))
        return await _channel(request, caller, channel_id, form=state, status_code=error.status)
    return go(request, f"/alerts/channels/{channel_id}", say="chat-verified")


@post("/alerts/channels/{channel_id:uuid}/test")
async def test_action(
    request: Request[Any, Any, Any], caller: CallerDependency, channel_id: ChannelId
) -> Response[Any]:
    """Send a test; its outcome is on the channel's page."""
    caller.principal.require("alerts:write")
    try:
        await channels.count_test(caller.database, caller.principal)
        async with caller.transaction() as session:
            await channels.test(session, caller.principal, channel_id)
    except _REFUSED as error:
        state = FormState(error=in_words(error.detail))
        return await _channel(request, caller, channel_id, form=state, status_code=error.status)
    return go(request, f"/alerts/channels/{channel_id}", say="test-sent")


@post("/alerts/channels/{channel_id:uuid}/rotate")
async def rotate_action(
    request: Request[Any, Any, Any], caller: CallerDependency, channel_id: ChannelId, form: FormDependency
) -> Response[Any]:
    """A new signing secret, shown in this one answer."""
    data = form.read(RotateSecret)
    key = await wait_for_public_key(caller.database, caller.principal.tenant_id)
    async with caller.transaction() as session:
        made = await webhooks.rotate(session, caller.principal, key, channel_id, data)
    return await _channel(request, caller, channel_id, status_code=201, created=made)


@post("/alerts/channels/{channel_id:uuid}/{wish:str}")
async def wish_action(
    request: Request[Any, Any, Any], caller: CallerDependency, channel_id: ChannelId, wish: FromPath[str]
) -> Response[Any]:
    """Switch a channel on or off, or let it keep quiet hours or not."""
    patch = {
        "on": PatchChannel(enabled=True),
        "off": PatchChannel(enabled=False),
        "quiet": PatchChannel(quiet=True),
        "loud": PatchChannel(quiet=False),
    }.get(wish)
    async with caller.transaction() as session:
        if wish == "remove":
            await channels.delete(session, caller.principal, channel_id)
        else:
            await channels.change(session, caller.principal, channel_id, patch or PatchChannel())
    return go(request, "/alerts", say="channel-removed" if wish == "remove" else "channel-changed")


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
        shown = form.refused(error, shown=("remind_after_seconds",))
        return await _again(request, caller, "quiet", shown, error)
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
        return await _again(request, caller, name, FormState(error=in_words(error.detail)), error)
    return go(request, "/alerts", say=say)


async def _again(
    request: Request[Any, Any, Any], caller: Caller, name: str, state: FormState, error: AppError
) -> Response[str]:
    return await _alerts(request, caller, {name: state}, status_code=error.status)


HANDLERS = [
    alerts_page,
    channel_page,
    create_webhook_action,
    create_channel_action,
    verify_action,
    test_action,
    rotate_action,
    wish_action,
    rule_action,
    reset_rule_action,
    create_rule_action,
    quiet_action,
]
