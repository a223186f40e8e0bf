"""Channels: whom alerts are told to. A mail goes to a member's verified address, a chat proves itself by a code."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from sqlalchemy import Row, text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.alerts.kinds import CODE, TEST
from control_plane.alerts.schemas import ChannelView, MessageView, NewChannel, PatchChannel
from control_plane.alerts.words import document
from control_plane.audit.notes import note
from control_plane.database.sessions import Database
from control_plane.errors import ConflictError, NotFoundError, unacceptable
from control_plane.identity.codes import hash_of, new_code
from control_plane.identity.principal import Principal
from control_plane.security import limits
from control_plane.security.limits import Rule
from control_plane.security.sealing import Place, PublicKey, seal
from control_plane.webhooks.schemas import TestView

MOST: Final = 50
_CODE_LIFETIME_S: Final = 1800.0
#: Codes go to chats that somebody names, and must not become a way to bother strangers.
_CODES: Final = Rule("alert_codes_of_tenant", each_s=300, burst=10)
_TESTS: Final = Rule("alert_tests_of_tenant", each_s=5, burst=30)
_TRIES: Final = Rule("alert_code_tries_of_tenant", each_s=60, burst=20)

_SELECT: Final = """
    select c.id, c.kind, c.name, c.user_id, c.hint, c.enabled, c.quiet, c.verified_at is not null as verified,
        c.failing_since, c.disabled_at, c.disabled_reason, c.created_at, c.updated_at, e.url, u.email,
        case when c.verified_at is null then (
            select m.error from alert_messages m
            where m.channel_id = c.id and m.type = 'channel.code' and m.state = 'failed' order by m.id desc limit 1
        ) end as code_error
    from alert_channels c
    left join webhook_endpoints e on e.tenant_id = c.tenant_id and e.id = c.id
    left join users u on u.id = c.user_id
"""
_ONE: Final = text(_SELECT + " where c.id = :id")
_MANY: Final = text(_SELECT + " where cast(:before as uuid) is null or c.id < :before order by c.id desc limit :limit")
_LOCK: Final = text("select id, kind, verified_at from alert_channels where id = :id for update of alert_channels")
_COUNT: Final = text("select count(*) from alert_channels")
_ADD: Final = text("""
    insert into alert_channels (id, kind, name, user_id, hint, quiet, verified_at, code_hash, code_expires_at)
    values (:id, :kind, :name, :user, :hint, :quiet, case when :verified then now() end, :hash,
        case when cast(:hash as bytea) is not null then now() + make_interval(secs => :lifetime) end)
""")
_SET: Final = text("""
    update alert_channels set name = coalesce(:name, name), enabled = coalesce(:enabled, enabled),
        quiet = coalesce(:quiet, quiet),
        failing_since = case when :enabled then null else failing_since end,
        disabled_at = case when :enabled then null else disabled_at end,
        disabled_reason = case when :enabled then null else disabled_reason end
    where id = :id
""")
_REMOVE: Final = text("delete from alert_channels where id = :id")
_SECRET: Final = text("""
    insert into channel_secrets (id, channel_id, kind, sealed, key_version, suite)
    values (:id, :channel, :kind, :value, :version, :suite)
""")
_MESSAGE: Final = text("""
    insert into alert_messages (id, channel_id, type, line, body) values (:id, :channel, :type, :id, :body)
""")
_NOW: Final = text("select now()")
_CONFIRM: Final = text("select alert_confirm_channel(:id, :hash)")
_MEMBER: Final = text("""
    select u.email, u.email_verified_at is not null as verified from memberships m join users u on u.id = m.user_id
    where m.tenant_id = :tenant and m.user_id = :user
""")
_MESSAGES: Final = text("""
    select id, incident_id, type, state, attempts, error, release_at, settled_at, created_at from alert_messages
    where channel_id = :id and (cast(:before as uuid) is null or id < :before) order by id desc limit :limit
""")


# Only the notifier knows whether it has a token: it says so in its beat, each five seconds.
_NO_TELEGRAM: Final = text("""
    select coalesce(bool_and(coalesce(detail ->> 'telegram', '') = 'false'), false) from agent_beats
    where kind = 'notifier' and beat_at > now() - interval '30 seconds'
""")


async def count_code(database: Database, principal: Principal) -> None:
    """Count one more code that is sent to a chat. Raises 429."""
    await limits.take(database, _CODES, str(principal.tenant_id))


async def count_test(database: Database, principal: Principal) -> None:
    """Count one more test. Raises 429."""
    await limits.take(database, _TESTS, str(principal.tenant_id))


async def count_try(database: Database, principal: Principal) -> None:
    """Count one more code that is tried. Raises 429."""
    await limits.take(database, _TRIES, str(principal.tenant_id))


async def create(session: AsyncSession, principal: Principal, key: PublicKey, data: NewChannel) -> ChannelView:
    """Make a channel for mails or a chat. Raises 409 for one too many, and for a chat where no bot could
    write to it, 422 naming the field."""
    principal.require("alerts:write")
    if data.kind == "webhook":
        raise unacceptable("kind", "webhooks are made by POST /webhooks, which answers with their signing secret")
    if data.kind == "email":
        return await _email(session, principal, data)
    if data.chat_id is None:
        raise unacceptable("chat_id", "is required for Telegram: the number of the chat, or @name of a channel")
    if data.user_id is not None:
        raise unacceptable("user_id", "is for e-mail; leave it out for Telegram")
    if await session.scalar(_NO_TELEGRAM):
        raise ConflictError(
            "this installation has no Telegram bot: ask its operator for one, or use e-mail or a webhook",
            code="telegram_not_set_up",
        )
    code = new_code()
    hint = data.chat_id if data.chat_id.startswith("@") else f"…{data.chat_id[-4:]}"
    channel_id = await add(
        session, principal, kind="telegram", name=data.name or f"Telegram {hint}", quiet=data.quiet, hint=hint,
        code_hash=hash_of(code),
    )  # fmt: skip
    await seal_secret(session, principal, key, channel_id, "chat", data.chat_id)
    await seal_secret(session, principal, key, channel_id, "code", code)
    await _post(session, channel_id, CODE)
    return await get(session, principal, channel_id)


async def _email(session: AsyncSession, principal: Principal, data: NewChannel) -> ChannelView:
    if data.chat_id is not None:
        raise unacceptable("chat_id", "is for Telegram; leave it out for e-mail")
    user_id = data.user_id or principal.user_id
    member = (await session.execute(_MEMBER, {"tenant": principal.tenant_id, "user": user_id})).one_or_none()
    if member is None:
        raise unacceptable("user_id", "is no member of this tenant: mails go to members alone", code="not_a_member")
    if member.email is None or not member.verified:
        raise unacceptable(
            "user_id",
            "has no verified e-mail address: verify it first, mails go nowhere else",
            code="email_not_verified",
        )
    channel_id = await add(
        session, principal, kind="email", name=data.name or member.email[:120], quiet=data.quiet, user_id=user_id,
        verified=True,
    )  # fmt: skip
    return await get(session, principal, channel_id)


async def add(
    session: AsyncSession,
    principal: Principal,
    *,
    kind: str,
    name: str,
    quiet: bool,
    user_id: UUID | None = None,
    hint: str | None = None,
    verified: bool = False,
    code_hash: bytes | None = None,
) -> UUID:
    """A channel's row. Raises 409 where the tenant has as many as it may."""
    principal.require("alerts:write")
    if (await session.scalar(_COUNT) or 0) >= MOST:
        raise ConflictError(f"there are {MOST} channels: remove one first", code="too_many_channels")
    channel_id = uuid7()
    values = {"id": channel_id, "kind": kind, "name": name.strip(), "user": user_id, "hint": hint, "quiet": quiet}
    values |= {"verified": verified, "hash": code_hash, "lifetime": _CODE_LIFETIME_S}
    await session.execute(_ADD, values)
    return channel_id


async def seal_secret(
    session: AsyncSession, principal: Principal, key: PublicKey, channel_id: UUID, kind: str, value: str
) -> None:
    """Keep a value of a channel, for agents alone to open."""
    row_id = uuid7()
    sealed = seal(value.encode(), key, Place(principal.tenant_id, "channel_secrets", "sealed", row_id))
    values: dict[str, Any] = {"id": row_id, "channel": channel_id, "kind": kind, "value": sealed.value}
    await session.execute(_SECRET, values | {"version": sealed.key_version, "suite": sealed.suite})


async def get(session: AsyncSession, principal: Principal, channel_id: UUID) -> ChannelView:
    """A channel of any kind. Raises 404."""
    principal.require("alerts:read")
    row = (await session.execute(_ONE, {"id": channel_id})).one_or_none()
    if row is None:
        raise NotFoundError("channel")
    return _view(row)


async def many(session: AsyncSession, principal: Principal, before: UUID | None, limit: int) -> list[ChannelView]:
    """The tenant's channels, webhooks included, newest first."""
    principal.require("alerts:read")
    rows = await session.execute(_MANY, {"before": before, "limit": limit})
    return [_view(row) for row in rows]


async def change(session: AsyncSession, principal: Principal, channel_id: UUID, data: PatchChannel) -> ChannelView:
    """Change what is named. Raises 404."""
    await _lock(session, principal, channel_id)
    await set_fields(session, channel_id, name=data.name, enabled=data.enabled, quiet=data.quiet)
    return await get(session, principal, channel_id)


async def set_fields(
    session: AsyncSession, channel_id: UUID, *, name: str | None, enabled: bool | None, quiet: bool | None
) -> None:
    """Set the fields that are given; enabling brings back a channel that was given up."""
    await session.execute(_SET, {"id": channel_id, "name": name, "enabled": enabled, "quiet": quiet})


async def delete(session: AsyncSession, principal: Principal, channel_id: UUID) -> None:
    """Remove a channel of any kind; what was on its way is not sent any more. Raises 404."""
    await _lock(session, principal, channel_id)
    await remove(session, channel_id)


async def remove(session: AsyncSession, channel_id: UUID) -> None:
    """Take the row away, and with it all that hangs on it."""
    await session.execute(_REMOVE, {"id": channel_id})


async def test(session: AsyncSession, principal: Principal, channel_id: UUID) -> TestView:
    """Put a test message in line. Raises 404, 409 for a chat that has not proved itself."""
    row = await _lock(session, principal, channel_id)
    if row.verified_at is None:
        raise ConflictError("this channel is not verified: enter the code that was sent there", code="not_verified")
    return await post_test(session, channel_id)


async def post_test(session: AsyncSession, channel_id: UUID) -> TestView:
    """A test message for a channel."""
    message_id = await _post(session, channel_id, TEST)
    await note(session, "alert_channel.tested", resource="alert_channel", resource_id=channel_id)
    return TestView(message_id, "pending")


async def confirm(session: AsyncSession, principal: Principal, channel_id: UUID, code: str) -> bool:
    """Whether ``code`` is the one that was sent to the chat, which is verified by it. Raises 404.

    Whoever asks raises `WrongCodeError` after the transaction, which has counted the try.
    """
    await _lock(session, principal, channel_id)
    return bool(await session.scalar(_CONFIRM, {"id": channel_id, "hash": hash_of(code)}))


async def messages(
    session: AsyncSession, principal: Principal, channel_id: UUID, before: UUID | None, limit: int
) -> list[MessageView]:
    """What was told by a channel in the last thirty days, newest first. Raises 404."""
    await get(session, principal, channel_id)
    rows = await session.execute(_MESSAGES, {"id": channel_id, "before": before, "limit": limit})
    return [MessageView(**row._mapping) for row in rows]  # noqa: SLF001 - a row's public name for its columns


async def _post(session: AsyncSession, channel_id: UUID, kind: str) -> UUID:
    message_id = uuid7()
    body = document(kind, await session.scalar(_NOW), {"channel_id": channel_id})
    await session.execute(_MESSAGE, {"id": message_id, "channel": channel_id, "type": kind, "body": body})
    return message_id


async def _lock(session: AsyncSession, principal: Principal, channel_id: UUID) -> Row[Any]:
    principal.require("alerts:write")
    row = (await session.execute(_LOCK, {"id": channel_id})).one_or_none()
    if row is None:
        raise NotFoundError("channel")
    return row


def _view(row: Row[Any]) -> ChannelView:
    target = {"webhook": row.url, "email": row.email}.get(row.kind, row.hint)
    return ChannelView(
        id=row.id,
        kind=row.kind,
        name=row.name,
        target=target,
        user_id=row.user_id,
        enabled=row.enabled,
        quiet=row.quiet,
        verified=row.verified,
        failing_since=row.failing_since,
        disabled_at=row.disabled_at,
        disabled_reason=row.disabled_reason,
        code_error=row.code_error,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
