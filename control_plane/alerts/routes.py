"""Routes of alerts: channels, rules, quiet hours, incidents."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from litestar import Request, Response, Router, delete, get, patch, post
from litestar.params import FromPath, JSONBody, QueryParameter

from control_plane.alerts import channels, service
from control_plane.alerts.schemas import (
    ChannelView,
    Confirmation,
    IncidentView,
    MessageView,
    NewChannel,
    NewRule,
    PatchChannel,
    PatchRule,
    PatchSettings,
    RuleView,
    SettingsView,
)
from control_plane.http.caller import CallerDependency
from control_plane.http.idempotency import once
from control_plane.http.openapi import operation
from control_plane.http.pagination import DEFAULT_LIMIT, Cursor, Limit, Page, decode_cursor, page_of
from control_plane.identity.codes import WrongCodeError
from control_plane.security.keyring import wait_for_public_key
from control_plane.webhooks.schemas import TestView

_CHANNEL = "/alerts/channels/{channel_id:uuid}"
_RULE = "/alerts/rules/{rule_id:uuid}"
ChannelId = FromPath[UUID]
RuleId = FromPath[UUID]
IncidentId = FromPath[UUID]


@post(
    "/alerts/channels",
    status_code=201,
    **operation("Add somebody to tell", tag="alerts", scope="alerts:write", idempotent=True, errors=(409, 422, 429)),
)
async def create_channel_route(
    request: Request[Any, Any, Any], caller: CallerDependency, data: JSONBody[NewChannel]
) -> Response[ChannelView]:
    """A member's verified address is told from now on. A Telegram chat is sent a code first, and told once that was
    given to `POST /alerts/channels/{id}/verify`; the bot must have been added to the chat, or been written to.
    """
    if data.kind == "telegram":
        await channels.count_code(caller.database, caller.principal)
    key = await wait_for_public_key(caller.database, caller.principal.tenant_id)
    return await once(request, caller, 201, lambda session: channels.create(session, caller.principal, key, data))


@get("/alerts/channels", **operation("List who is told", tag="alerts", scope="alerts:read"))
async def list_channels_route(
    caller: CallerDependency, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[ChannelView]:
    """Channels of every kind, webhooks included, newest first."""
    async with caller.transaction() as session:
        rows = await channels.many(session, caller.principal, decode_cursor(cursor), limit + 1)
    return page_of(rows, limit, lambda item: item.id)


@get(_CHANNEL, **operation("Read a channel", tag="alerts", scope="alerts:read", errors=(404,)))
async def get_channel_route(caller: CallerDependency, channel_id: ChannelId) -> ChannelView:
    """Whether it is verified, and whether anything gets through."""
    async with caller.transaction() as session:
        return await channels.get(session, caller.principal, channel_id)


@patch(_CHANNEL, **operation("Change a channel", tag="alerts", scope="alerts:write", errors=(404, 422)))
async def patch_channel_route(
    caller: CallerDependency, channel_id: ChannelId, data: JSONBody[PatchChannel]
) -> ChannelView:
    """Fields left out are kept. `enabled: true` brings back one that was given up."""
    async with caller.transaction() as session:
        return await channels.change(session, caller.principal, channel_id, data)


@delete(_CHANNEL, status_code=204, **operation("Remove a channel", tag="alerts", scope="alerts:write", errors=(404,)))
async def delete_channel_route(caller: CallerDependency, channel_id: ChannelId) -> None:
    """What was on its way is not sent any more."""
    async with caller.transaction() as session:
        await channels.delete(session, caller.principal, channel_id)


@post(
    f"{_CHANNEL}/verify",
    status_code=200,
    **operation("Verify a chat by its code", tag="alerts", scope="alerts:write", errors=(404, 422, 429)),
)
async def verify_channel_route(
    caller: CallerDependency, channel_id: ChannelId, data: JSONBody[Confirmation]
) -> ChannelView:
    """The code is good for half an hour and five tries. After that, remove the channel and add it again."""
    await channels.count_try(caller.database, caller.principal)
    async with caller.transaction() as session:
        good = await channels.confirm(session, caller.principal, channel_id, data.code)
        view = await channels.get(session, caller.principal, channel_id)
    if not good:
        raise WrongCodeError  # after the transaction, which has counted the try
    return view


@post(
    f"{_CHANNEL}/test",
    status_code=202,
    **operation("Send a test message", tag="alerts", scope="alerts:write", idempotent=True, errors=(404, 409, 429)),
)
async def test_channel_route(
    request: Request[Any, Any, Any], caller: CallerDependency, channel_id: ChannelId
) -> Response[TestView]:
    """One message, whatever the hour. Its outcome is in the channel's messages within seconds."""
    await channels.count_test(caller.database, caller.principal)
    return await once(request, caller, 202, lambda session: channels.test(session, caller.principal, channel_id))


@get(f"{_CHANNEL}/messages", **operation("Read what was told", tag="alerts", scope="alerts:read", errors=(404,)))
async def list_messages_route(
    caller: CallerDependency, channel_id: ChannelId, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Page[MessageView]:
    """Messages of the last thirty days and what became of each, newest first."""
    async with caller.transaction() as session:
        rows = await channels.messages(session, caller.principal, channel_id, decode_cursor(cursor), limit + 1)
    return page_of(rows, limit, lambda item: item.id)


@get("/alerts/rules", **operation("List alert rules", tag="alerts", scope="alerts:read"))
async def list_rules_route(caller: CallerDependency) -> Page[RuleView]:
    """What holds: one rule of each kind for all bots, by default where nobody has changed it, then those of single
    bots. All in one page.
    """
    async with caller.transaction() as session:
        return Page(items=await service.list_rules(session, caller.principal), next_cursor=None)


@post(
    "/alerts/rules",
    status_code=201,
    **operation("Write an alert rule", tag="alerts", scope="alerts:write", idempotent=True, errors=(409, 422)),
)
async def create_rule_route(
    request: Request[Any, Any, Any], caller: CallerDependency, data: JSONBody[NewRule]
) -> Response[RuleView]:
    """For one bot, or for all that have none of their own."""
    return await once(request, caller, 201, lambda session: service.create_rule(session, caller.principal, data))


@get(_RULE, **operation("Read an alert rule", tag="alerts", scope="alerts:read", errors=(404,)))
async def get_rule_route(caller: CallerDependency, rule_id: RuleId) -> RuleView:
    """A default one as well."""
    async with caller.transaction() as session:
        return await service.get_rule(session, caller.principal, rule_id)


@patch(_RULE, **operation("Change an alert rule", tag="alerts", scope="alerts:write", errors=(404, 422)))
async def patch_rule_route(caller: CallerDependency, rule_id: RuleId, data: JSONBody[PatchRule]) -> RuleView:
    """Fields left out are kept."""
    async with caller.transaction() as session:
        return await service.change_rule(session, caller.principal, rule_id, data)


@delete(
    _RULE, status_code=204, **operation("Delete an alert rule", tag="alerts", scope="alerts:write", errors=(404, 409))
)
async def delete_rule_route(caller: CallerDependency, rule_id: RuleId) -> None:
    """The rule for all bots holds again, or the default."""
    async with caller.transaction() as session:
        await service.delete_rule(session, caller.principal, rule_id)


@get("/alerts/settings", **operation("Read quiet hours", tag="alerts", scope="alerts:read"))
async def get_settings_route(caller: CallerDependency) -> SettingsView:
    """Quiet hours, whether critical alerts break through, and reminders."""
    async with caller.transaction() as session:
        return await service.get_settings(session, caller.principal)


@patch("/alerts/settings", **operation("Set quiet hours", tag="alerts", scope="alerts:write", errors=(422,)))
async def patch_settings_route(caller: CallerDependency, data: JSONBody[PatchSettings]) -> SettingsView:
    """Fields left out are kept. What is held already is told when the hours end that it was held by."""
    async with caller.transaction() as session:
        return await service.change_settings(session, caller.principal, data)


@get("/alerts/incidents", **operation("List incidents", tag="alerts", scope="alerts:read"))
async def list_incidents_route(
    caller: CallerDependency,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
    which: Annotated[Literal["open", "closed"] | None, QueryParameter(name="state")] = None,
    bot_id: Annotated[UUID | None, QueryParameter(name="bot_id", description="Those that this bot is in.")] = None,
) -> Page[IncidentView]:
    """Incidents of the last half year, newest first, whether or not anybody was told of them."""
    async with caller.transaction() as session:
        rows = await service.list_incidents(
            session, caller.principal, state=which, bot_id=bot_id, before=decode_cursor(cursor), limit=limit + 1
        )
    return page_of(rows, limit, lambda item: item.id)


@get(
    "/alerts/incidents/{incident_id:uuid}",
    **operation("Read an incident", tag="alerts", scope="alerts:read", errors=(404,)),
)
async def get_incident_route(caller: CallerDependency, incident_id: IncidentId) -> IncidentView:
    """What happened, to which bots, from when until when."""
    async with caller.transaction() as session:
        return await service.get_incident(session, caller.principal, incident_id)


alerts_router = Router(
    path="/",
    route_handlers=[
        create_channel_route,
        list_channels_route,
        get_channel_route,
        patch_channel_route,
        delete_channel_route,
        verify_channel_route,
        test_channel_route,
        list_messages_route,
        list_rules_route,
        create_rule_route,
        get_rule_route,
        patch_rule_route,
        delete_rule_route,
        get_settings_route,
        patch_settings_route,
        list_incidents_route,
        get_incident_route,
    ],
)
