"""Changes of bots that people ask for: desired state and sealed secrets, never observed state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.bots import quota
from control_plane.bots.engine_configs import changed_credential, changed_engine_config
from control_plane.bots.intake import (
    check_fits,
    check_shape,
    checked_config,
    checked_credentials,
    checked_engine_config,
    checked_url,
    origin_of,
)
from control_plane.bots.kinds import HOSTED_TYPES
from control_plane.bots.models import DEFAULT_CRASH_POLICY
from control_plane.bots.rows import locked, note, refuse_subscribed, store
from control_plane.bots.schemas import CreateBot, PatchBot
from control_plane.engines.configs import encode_config
from control_plane.engines.family import EngineConfig
from control_plane.errors import ConflictError, FieldError, ForbiddenError, unacceptable
from control_plane.identity.principal import Principal
from control_plane.security.credentials import Credential, encode_credentials, make_credentials
from control_plane.security.sealing import PublicKey
from control_plane.settings import Settings
from control_plane.templates.queries import latest_own_version

_URL_CONSTRAINT = "uq_bots_tenant_api_url"

_INSERT = text(
    "insert into bots (id, bot_type, engine, name, description, api_url, template_tenant_id, template_version_id,"
    " desired, generation, crash_policy, on_stop, engine_config, api_part)"
    " values (:id, :bot_type, :engine, :name, :description, :api_url, :template_tenant, :template_version,"
    " :desired, :generation, :crash_policy, :on_stop, cast(:engine_config as jsonb), :api_part)"
)
_STEER = text(
    "update bots set desired = :desired, generation = generation + 1,"
    " forced_generation = case when :force then generation + 1 end where id = :id and deleted_at is null"
)
# The credentials of a bot that trades stay until it has wound its trading down; its launcher then deletes them.
_UNSEAL_ALL = text("""
    delete from bot_secrets where bot_id = :id and (kind <> 'credentials' or not exists (
        select from bot_instances i where i.bot_id = :id and i.released_at is null and i.state = 'running'
    ))
""")


async def create_bot(
    session: AsyncSession, principal: Principal, settings: Settings, key: PublicKey, data: CreateBot
) -> UUID:
    """Register a bot. An external one is watched from now on; one that we run waits for its start.

    Raises 409 for an address that the tenant has registered already, 422 for fields that do not fit.
    """
    principal.require("bots:write")
    if principal.bots is not None:
        raise ForbiddenError(
            "this API key is restricted to some bots and cannot register further ones: use one without bot_ids",
            code="restricted_key",
        )
    check_shape(data)
    url = checked_url(settings, data.api_url) if data.api_url is not None else None
    credential = checked_credentials(data.engine, data.credentials, hosted=data.bot_type in HOSTED_TYPES)
    reading = checked_engine_config(data.engine, data.engine_config) if data.bot_type == "external" else None
    check_fits(reading, credential)
    version = await latest_own_version(session, data.template_id) if data.template_id is not None else None
    return await add_bot(
        session,
        principal,
        key,
        bot_type=data.bot_type,
        engine=data.engine,
        name=data.name.strip(),
        description=data.description,
        api_url=url,
        credential=credential,
        engine_config=reading,
        config=checked_config(data.engine, data.config, alone=data.template_id is None),
        template=(principal.tenant_id, version) if version is not None else None,
        on_stop=data.on_stop or "keep",
        running=data.bot_type == "external",
        crash_policy=data.crash_policy or DEFAULT_CRASH_POLICY,
    )


async def add_bot(
    session: AsyncSession,
    principal: Principal,
    key: PublicKey,
    *,
    bot_type: str,
    engine: str,
    name: str,
    description: str | None = None,
    api_url: str | None = None,
    credential: Credential | None = None,
    engine_config: EngineConfig | None = None,
    config: bytes | None = None,
    template: tuple[UUID, UUID] | None = None,
    on_stop: str = "keep",
    running: bool,
    crash_policy: str = DEFAULT_CRASH_POLICY,
) -> UUID:
    """Insert the rows of a bot whose fields were checked. A bot that we run gets credentials if it has none."""
    bot_id = uuid7()
    try:
        await session.execute(
            _INSERT,
            {
                "id": bot_id,
                "bot_type": bot_type,
                "engine": engine,
                "name": name,
                "description": description,
                "api_url": api_url,
                "template_tenant": template[0] if template else None,
                "template_version": template[1] if template else None,
                "desired": "running" if running else "stopped",
                "generation": 1 if running else 0,
                "on_stop": on_stop,
                "crash_policy": crash_policy,
                "engine_config": None if engine_config is None else encode_config(engine_config),
                "api_part": "" if engine_config is None else engine_config.part,
            },
        )
    except IntegrityError as error:
        raise _url_conflict(error) from error
    await session.execute(text("insert into bot_health (id) values (:id)"), {"id": bot_id})
    if credential is None and bot_type in HOSTED_TYPES:
        credential = make_credentials(engine)
    if credential is not None:
        await store(session, principal, key, bot_id, "credentials", encode_credentials(credential), credential.last4)
    if config is not None:
        await store(session, principal, key, bot_id, "config", config, None)
    await note(session, principal, bot_id, "registered")
    return bot_id


def _url_conflict(error: IntegrityError) -> Exception:
    if _URL_CONSTRAINT in str(error.orig):
        message = "you have registered this bot at this api_url already: change that one, or remove it first"
        return ConflictError(message, code="api_url_taken", errors=[FieldError("api_url", message)])
    return error


async def change_bot(
    session: AsyncSession, principal: Principal, settings: Settings, key: PublicKey, bot_id: UUID, data: PatchBot
) -> None:
    """Change a bot. A new address, credential or configuration is a new generation: agents take it up at once."""
    principal.require("bots:write")
    row = await locked(session, bot_id)
    names: dict[str, Any] = {}
    if data.name is not msgspec.UNSET:
        names["name"] = data.name.strip()
    if data.description is not msgspec.UNSET:
        names["description"] = data.description
    anew = False
    if data.api_url is not msgspec.UNSET:
        if row.bot_type != "external":
            raise unacceptable("api_url", "is for external bots; a bot that we run gets its address from us")
        names["api_url"] = checked_url(settings, data.api_url)
        anew = names["api_url"] != row.api_url
        if data.credentials is msgspec.UNSET:
            _refuse_redirect(principal, row.api_url, names["api_url"])
    credential = changed_credential(row, data)
    if credential is not None:
        await store(session, principal, key, bot_id, "credentials", encode_credentials(credential), credential.last4)
        anew = True
    changed = changed_engine_config(row, data, credential)
    names |= changed
    anew = anew or bool(changed)
    if data.config is not msgspec.UNSET:
        if row.bot_type == "external":
            raise unacceptable("config", "is for bots that we run; leave it out for an external one")
        await refuse_subscribed(session, bot_id)
        config = checked_config(row.engine, data.config, alone=row.template_version_id is None)
        if config is not None:
            await store(session, principal, key, bot_id, "config", config, None)
            anew = True
    names |= _choices(row, data)
    await _update(session, bot_id, names)
    if anew:
        await steer(session, bot_id, running=row.desired == "running")
    if given := _changed_fields(data):
        await note(session, principal, bot_id, "changed", reason=", ".join(given))


#: What people choose for bots that we run. No new generation: it says what happens at an end, and a bot that runs well
#: goes on.
_CHOICES = ("crash_policy", "on_stop")


def _choices(row: Row[Any], data: PatchBot) -> dict[str, Any]:
    """The given ones among `_CHOICES`. Raises 422 for an external bot."""
    given = {name: getattr(data, name) for name in _CHOICES if getattr(data, name) is not msgspec.UNSET}
    for name in given if row.bot_type not in HOSTED_TYPES else ():
        raise unacceptable(name, "is for bots that we run; leave it out for an external one")
    return given


def _refuse_redirect(principal: Principal, old: str, new: str) -> None:
    """Whoever may name where credentials are sent can read them there. Raises 422 for who may not have them."""
    if origin_of(old) != origin_of(new) and "bots:redirect" not in principal.scopes:
        raise unacceptable(
            "credentials",
            "are required for an api_url on another host, port or scheme: send the bot's credentials in the same"
            " request, or ask an owner or admin (scope bots:redirect), who may keep the stored ones",
            code="credentials_required",
        )


async def _update(session: AsyncSession, bot_id: UUID, columns: Mapping[str, Any]) -> None:
    for column, value in columns.items():
        try:
            await session.execute(_COLUMN_UPDATES[column], {"id": bot_id, "value": value})
        except IntegrityError as error:
            raise _url_conflict(error) from error


_COLUMN_UPDATES = {
    "name": text("update bots set name = :value where id = :id"),
    "description": text("update bots set description = :value where id = :id"),
    "crash_policy": text("update bots set crash_policy = :value where id = :id"),
    "api_url": text("update bots set api_url = :value where id = :id"),
    "on_stop": text("update bots set on_stop = :value where id = :id"),
    "engine_config": text("update bots set engine_config = cast(:value as jsonb) where id = :id"),
    "api_part": text("update bots set api_part = :value where id = :id"),
}


def _changed_fields(data: PatchBot) -> list[str]:
    return [field for field in data.__struct_fields__ if getattr(data, field) is not msgspec.UNSET]


async def steer(session: AsyncSession, bot_id: UUID, *, running: bool, force: bool = False) -> None:
    """A new generation of what is wished of a bot: agents take it up at once. A bot taken away stays away."""
    await session.execute(_STEER, {"id": bot_id, "desired": "running" if running else "stopped", "force": force})


async def wish(
    session: AsyncSession, principal: Principal, settings: Settings, bot_id: UUID, verb: str, *, force: bool = False
) -> None:
    """``start``, ``stop`` or ``restart``: what should be so from now on. Raises 404, 409.

    Asking again for what is wished already changes nothing, except that a start tries a bot in error once more.
    ``force``: the present copy ends at once, whatever it has open. It must be said: a client that only repeats a stop
    of which it got no answer must not turn it into an emergency.
    """
    principal.require("bots:write")
    plan = await quota.take_turn(session, principal) if verb == "start" else None
    row = await locked(session, bot_id)
    if verb != "restart":
        await refuse_subscribed(session, bot_id)
    if plan is not None and row.bot_type in HOSTED_TYPES and row.desired != "running":
        await quota.require_room(session, settings.plans, plan)
    desired = "stopped" if verb == "stop" else "running"
    if verb == "restart" and row.desired != "running":
        raise ConflictError("this bot is stopped: start it instead", code="not_running")
    hurried = force and row.bot_type in HOSTED_TYPES and row.status != "inactive"
    if verb != "restart" and row.desired == desired and row.status != "error" and not hurried:
        return
    await steer(session, bot_id, running=desired == "running", force=force)
    await note(session, principal, bot_id, verb, reason="force" if force else None)


async def request_ping(session: AsyncSession, principal: Principal, bot_id: UUID) -> None:
    """Ask the poller to look now. Raises 404, and 409 for a bot that nobody watches."""
    principal.require("bots:write")
    row = await locked(session, bot_id)
    if row.desired != "running":
        raise ConflictError("this bot is stopped, so nothing answers: start it first", code="not_running")
    await session.execute(text("update bots set ping_requested_at = clock_timestamp() where id = :id"), {"id": bot_id})


async def delete_bot(session: AsyncSession, principal: Principal, bot_id: UUID, *, force: bool = False) -> None:
    """Take a bot away: an external one is forgotten, one that we run is stopped and its container removed.

    ``force`` as for :func:`wish`.
    """
    principal.require("bots:write")
    await locked(session, bot_id)
    await refuse_subscribed(session, bot_id)
    await retire(session, bot_id, force=force)
    await note(session, principal, bot_id, "deleted", reason="force" if force else None)


async def retire(session: AsyncSession, bot_id: UUID, *, force: bool = False) -> None:
    """Mark a bot deleted and wished stopped; its secrets go, its history stays."""
    await session.execute(
        text(
            "update bots set desired = 'stopped', generation = generation + 1, deleted_at = now(),"
            " forced_generation = case when :force then generation + 1 end where id = :id and deleted_at is null"
        ),
        {"id": bot_id, "force": force},
    )
    await session.execute(_UNSEAL_ALL, {"id": bot_id})


async def retire_all(session: AsyncSession) -> None:
    """As :func:`retire`, for every bot of the bound tenant: it ends."""
    await session.execute(
        text(
            "update bots set desired = 'stopped', generation = generation + 1, deleted_at = now()"
            " where deleted_at is null"
        )
    )
    await session.execute(text("delete from bot_secrets"))
