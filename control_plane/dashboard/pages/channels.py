"""Channels of alerts: making them, what was told by each, every try of a webhook, and what people wish of one."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from litestar import Request, Response, get, post
from litestar.params import FromPath

from control_plane.alerts import channels
from control_plane.alerts.schemas import Confirmation, NewChannel, PatchChannel
from control_plane.dashboard.forms import REFUSALS, FormDependency, FormState, in_words
from control_plane.dashboard.pages.alerts import NOTHING, again, alerts_whole, suspended
from control_plane.dashboard.rendering import go, page
from control_plane.http.caller import Caller, CallerDependency
from control_plane.identity.codes import WrongCodeError
from control_plane.security.keyring import wait_for_public_key
from control_plane.security.limits import TooManyAttemptsError
from control_plane.webhooks import service as webhooks
from control_plane.webhooks.schemas import NewWebhook, RotateSecret, WebhookView

ChannelId = FromPath[UUID]

_LOG: Final = 50
_REFUSED: Final = (*REFUSALS, TooManyAttemptsError)


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
    form: FormState = NOTHING,
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
        may_write="alerts:write" in person.scopes and not suspended(caller),
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
        return await again(request, caller, "webhook", form.refused(error, shown=("url", "name")), error)
    return await alerts_whole(request, caller, {}, status_code=201, created=made)


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
        return await again(request, caller, kind, form.refused(error, shown=shown), error)
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


HANDLERS = [
    channel_page,
    create_webhook_action,
    create_channel_action,
    verify_action,
    test_action,
    rotate_action,
    wish_action,
]
