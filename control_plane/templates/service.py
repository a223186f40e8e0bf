"""Changes of templates. A version is immutable; the marketplace is given a projection without the private part."""

from __future__ import annotations

import hashlib
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.bots import freqtrade_config
from control_plane.bots.layers import merged
from control_plane.bots.models import HOSTED_ENGINES
from control_plane.errors import ConflictError, NotFoundError, unacceptable
from control_plane.identity.principal import Principal
from control_plane.security.sealing import Place, PublicKey, seal
from control_plane.templates.schemas import CreateTemplate, CreateVersion, PatchTemplate

_DOCUMENT_LIMIT = 64 * 1024
_MONEY_LIMIT = Decimal("1e15")
_MONEY_STEP = Decimal("1e-8")

_INSERT = text("""
    insert into bot_templates (id, name, description, engine, strategy_type, risk_level, hosting, currency,
        minimum_allocation, created_by)
    values (:id, :name, :description, :engine, :strategy_type, :risk_level, :hosting, :currency,
        :minimum_allocation, :created_by)
""")
_INSERT_VERSION = text("""
    insert into template_versions (id, template_id, version, parameters, image, config_sealed, config_key_version,
        config_suite, config_fields, config_digest, account_field)
    values (:id, :template, :version, cast(:parameters as jsonb), :image, :sealed, :key_version, :suite, :fields,
        :digest, :account_field)
""")
_LIST = text("""
    insert into marketplace_listings (id, creator_name, template_version_id, version, name, description, engine,
        strategy_type, risk_level, hosting, currency, minimum_allocation, parameters, image, shared_bot_id)
    select t.id, n.name, v.id, v.version, t.name, t.description, t.engine, t.strategy_type, t.risk_level, t.hosting,
        t.currency, t.minimum_allocation, v.parameters, v.image, cast(:shared_bot as uuid)
    from bot_templates t
    join template_versions v on v.tenant_id = t.tenant_id and v.template_id = t.id and v.version = t.latest_version
    join tenants n on n.id = t.tenant_id
    where t.id = :id
    on conflict (id) do update set creator_name = excluded.creator_name,
        template_version_id = excluded.template_version_id, version = excluded.version, name = excluded.name,
        description = excluded.description, risk_level = excluded.risk_level,
        minimum_allocation = excluded.minimum_allocation, parameters = excluded.parameters, image = excluded.image,
        shared_bot_id = excluded.shared_bot_id
""")
_SHARED_BOT = text("""
    select b.id from bots b
    join template_versions v on v.tenant_id = b.template_tenant_id and v.id = b.template_version_id
    where v.template_id = :template and b.bot_type = 'shared' and b.deleted_at is null
    order by (b.desired = 'running') desc, b.id limit 1
""")


def checked_amount(field: str, amount: Decimal) -> Decimal:
    """A positive amount of money with at most eight decimals. Raises 422."""
    if not amount.is_finite() or amount <= 0 or amount > _MONEY_LIMIT:
        raise unacceptable(field, "must be more than zero and at most 10^15")
    if amount != amount.quantize(_MONEY_STEP):
        raise unacceptable(field, "must have at most eight decimals")
    return amount


async def create_template(session: AsyncSession, principal: Principal, key: PublicKey, data: CreateTemplate) -> UUID:
    """A draft with its first version. Raises 422 for an engine that we cannot run, or an amount out of range."""
    principal.require("templates:write")
    if data.engine not in HOSTED_ENGINES:
        raise unacceptable("engine", f"we run bots of {', '.join(HOSTED_ENGINES)}", code="engine_not_hosted")
    template_id = uuid7()
    await session.execute(
        _INSERT,
        {
            "id": template_id,
            "name": data.name.strip(),
            "description": data.description,
            "engine": data.engine,
            "strategy_type": data.strategy_type,
            "risk_level": data.risk_level,
            "hosting": data.hosting,
            "currency": data.currency,
            "minimum_allocation": checked_amount("minimum_allocation", data.minimum_allocation),
            "created_by": principal.user_id,
        },
    )
    version = CreateVersion(
        parameters=data.parameters, config=data.config, image=data.image, account_field=data.account_field
    )
    _check_engine(data.engine, data.currency, version)
    await _add_version(session, principal, key, template_id, 1, data.strategy_type, version)
    return template_id


async def add_version(
    session: AsyncSession, principal: Principal, key: PublicKey, template_id: UUID, data: CreateVersion
) -> None:
    """A new version; where the template is published, new subscribers get it from now on. Raises 404."""
    principal.require("templates:write")
    row = (
        await session.execute(
            text(
                "select latest_version, strategy_type, status, engine, currency from bot_templates"
                " where id = :id and deleted_at is null for update"
            ),
            {"id": template_id},
        )
    ).one_or_none()
    if row is None:
        raise NotFoundError("template")
    _check_engine(row.engine, row.currency, data)
    await _add_version(session, principal, key, template_id, row.latest_version + 1, row.strategy_type, data)
    if row.status == "published":
        await _list(session, template_id)


async def _add_version(
    session: AsyncSession,
    principal: Principal,
    key: PublicKey,
    template_id: UUID,
    number: int,
    strategy_type: str,
    data: CreateVersion,
) -> None:
    _check_strategy(strategy_type, data)
    config = msgspec.json.encode(data.config, order="sorted")
    parameters = msgspec.json.encode(data.parameters)
    for field, encoded in (("config", config), ("parameters", parameters)):
        if len(encoded) > _DOCUMENT_LIMIT:
            raise unacceptable(field, f"is larger than {_DOCUMENT_LIMIT // 1024} KiB", code="config_too_large")
    version_id = uuid7()
    sealed = seal(config, key, Place(principal.tenant_id, "template_versions", "config_sealed", version_id))
    await session.execute(
        _INSERT_VERSION,
        {
            "id": version_id,
            "template": template_id,
            "version": number,
            "parameters": parameters.decode(),
            "image": data.image,
            "sealed": sealed.value,
            "key_version": sealed.key_version,
            "suite": sealed.suite,
            "fields": sorted(data.config),
            "digest": _digest(sealed.value),
            "account_field": data.account_field,
        },
    )
    await session.execute(
        text("update bot_templates set latest_version = :version where id = :id"),
        {"version": number, "id": template_id},
    )


def _digest(sealed: bytes) -> str:
    # Of what is stored, not of what it means: else whoever guesses a configuration could see that the guess is right.
    return hashlib.sha256(sealed).hexdigest()[:32]


def _check_engine(engine: str, currency: str, data: CreateVersion) -> None:
    """What the bots of a version will be given must be a configuration for their engine. Raises 422."""
    if engine != "freqtrade":
        return
    layers = {"parameters": data.parameters, "config": data.config}
    for field, document in layers.items():
        freqtrade_config.check_part(document, field)
        if document.get("stake_currency", currency) != currency:
            raise unacceptable(f"{field}.stake_currency", f"must be {currency}, the currency of the template")
    whole = merged({"stake_currency": currency}, *layers.values())
    freqtrade_config.check_whole(whole, brings_strategies=data.image is not None)


def _check_strategy(strategy_type: str, data: CreateVersion) -> None:
    for field, document in (("parameters", data.parameters), ("config", data.config)):
        strategy = document.get("strategy")
        named = strategy.get("type") if isinstance(strategy, dict) else None
        if named is not None and named != strategy_type:
            raise unacceptable(f"{field}.strategy.type", f"must be {strategy_type}, as the template says")


async def change_template(session: AsyncSession, principal: Principal, template_id: UUID, data: PatchTemplate) -> None:
    """Change what needs no new version, in the listing too where there is one. Raises 404, 422."""
    principal.require("templates:write")
    row = (
        await session.execute(
            text(
                "select name, description, risk_level, minimum_allocation, status from bot_templates"
                " where id = :id and deleted_at is null for update"
            ),
            {"id": template_id},
        )
    ).one_or_none()
    if row is None:
        raise NotFoundError("template")
    values: dict[str, Any] = {
        field: row_value if (new := getattr(data, field)) is msgspec.UNSET else new
        for field, row_value in zip(("name", "description", "risk_level", "minimum_allocation"), row[:4], strict=True)
    }
    values["name"] = values["name"].strip()
    values["minimum_allocation"] = checked_amount("minimum_allocation", values["minimum_allocation"])
    await session.execute(
        text(
            "update bot_templates set name = :name, description = :description, risk_level = :risk_level,"
            " minimum_allocation = :minimum_allocation where id = :id"
        ),
        {**values, "id": template_id},
    )
    if row.status == "published":
        await _list(session, template_id)


async def publish(session: AsyncSession, principal: Principal, template_id: UUID) -> None:
    """Show the newest version in the marketplace. Raises 404, and 409 for a shared template without a bot to follow."""
    principal.require("templates:write")
    hosting = await session.scalar(
        text("select hosting from bot_templates where id = :id and deleted_at is null for update"), {"id": template_id}
    )
    if hosting is None:
        raise NotFoundError("template")
    if hosting == "shared" and await _shared_bot(session, template_id) is None:
        raise ConflictError(
            "a shared template needs the bot that its subscribers follow: make one with"
            f' POST /bots {{"bot_type": "shared", "template_id": "{template_id}"}} and start it',
            code="no_shared_bot",
        )
    await session.execute(text("update bot_templates set status = 'published' where id = :id"), {"id": template_id})
    await _list(session, template_id)


async def unpublish(session: AsyncSession, principal: Principal, template_id: UUID) -> None:
    """Take it out of the marketplace. Subscriptions that run go on. Raises 404."""
    principal.require("templates:write")
    found = await session.scalar(
        text("update bot_templates set status = 'draft' where id = :id and deleted_at is null returning id"),
        {"id": template_id},
    )
    if found is None:
        raise NotFoundError("template")
    await session.execute(text("delete from marketplace_listings where id = :id"), {"id": template_id})


async def delete_template(session: AsyncSession, principal: Principal, template_id: UUID) -> None:
    """Withdraw a template for good. Its versions stay for the subscriptions that run them. Raises 404."""
    await unpublish(session, principal, template_id)
    await session.execute(
        text("update bot_templates set deleted_at = now() where id = :id and deleted_at is null"), {"id": template_id}
    )


async def _list(session: AsyncSession, template_id: UUID) -> None:
    await session.execute(_LIST, {"id": template_id, "shared_bot": await _shared_bot(session, template_id)})


async def _shared_bot(session: AsyncSession, template_id: UUID) -> UUID | None:
    found: UUID | None = await session.scalar(_SHARED_BOT, {"template": template_id})
    return found


async def withdraw_all(session: AsyncSession, principal: Principal) -> None:
    """Withdraw every template of the caller's tenant for good: it ends."""
    await session.execute(
        text("delete from marketplace_listings where creator_tenant_id = :tenant"), {"tenant": principal.tenant_id}
    )
    await session.execute(
        text("update bot_templates set status = 'draft', deleted_at = now() where deleted_at is null")
    )


async def rename_creator(session: AsyncSession, principal: Principal, name: str) -> None:
    """What the marketplace says of who made a template."""
    await session.execute(
        text("update marketplace_listings set creator_name = :name where creator_tenant_id = :tenant"),
        {"name": name, "tenant": principal.tenant_id},
    )
