"""Changes of subscriptions. Each moves its money by ledger rows in the same transaction."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import msgspec
from sqlalchemy import Row, text
from sqlalchemy.exc import IntegrityError, ProgrammingError
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.bots import quota
from control_plane.bots import service as bots
from control_plane.bots.rows import note
from control_plane.errors import ConflictError, NotFoundError, unacceptable
from control_plane.identity.principal import Principal
from control_plane.security.sealing import PublicKey
from control_plane.settings import Settings
from control_plane.subscriptions.queries import movements_of, subscription_row, worth_of
from control_plane.subscriptions.schemas import CreateSubscription, PatchSubscription
from control_plane.subscriptions.valuation import units_for, worth_of_units
from control_plane.templates.service import checked_amount

_LISTING = text("""
    select l.id, l.creator_tenant_id, l.template_version_id, l.name, l.engine, l.hosting, l.currency,
        l.minimum_allocation, l.shared_bot_id, p.unit_value
    from marketplace_listings l left join lateral listing_performance(l.id) p on true
    where l.id = :id
""")
_INSERT = text("""
    insert into subscriptions (id, user_id, creator_tenant_id, template_id, template_version_id, hosting, bot_tenant_id,
        bot_id, currency, allocation_amount, units)
    values (:id, :user, :creator, :template, :version, :hosting, :bot_tenant, :bot, :currency, :amount, :units)
""")
_ENTRY = text("""
    insert into subscription_ledger (id, subscription_id, kind, amount, units, unit_value, actor)
    values (:id, :subscription, :kind, :amount, :units, :unit_value, :actor)
""")
_LOCK = text("select id from subscriptions where id = :id for update")
_NO_MONEY = Decimal(0)
_MOST_UNITS = Decimal("1e11")
_REFUSED_BY_POLICY = "42501"


async def subscribe(
    session: AsyncSession, principal: Principal, settings: Settings, key: PublicKey, data: CreateSubscription
) -> UUID:
    """Allocate capital to a published template. A dedicated one gets a bot of its own, started at once.

    Raises 404 for a template that is not published, 409 for a second subscription of the same person, 422 for an
    amount under the template's minimum.
    """
    principal.require("subscriptions:write")
    try:
        return await _subscribe(session, principal, settings, key, data)
    except ProgrammingError as error:
        # The policies look again: unpublished, or given another version or bot, since it was read.
        if getattr(error.orig, "sqlstate", None) == _REFUSED_BY_POLICY:
            raise NotFoundError("published template") from error
        raise


async def _subscribe(
    session: AsyncSession, principal: Principal, settings: Settings, key: PublicKey, data: CreateSubscription
) -> UUID:
    listing = (await session.execute(_LISTING, {"id": data.template_id})).one_or_none()
    if listing is None:
        raise NotFoundError("published template")
    amount = checked_amount("allocation_amount", data.allocation_amount)
    _check_minimum(amount, listing.minimum_allocation, listing.currency)
    subscription_id = uuid7()
    unit_value = units = None
    if listing.hosting == "dedicated":
        bot_tenant = principal.tenant_id
        await quota.require_room(session, settings.plans, await quota.take_turn(session, principal))
        bot_id = await bots.add_bot(
            session,
            principal,
            key,
            bot_type="platform",
            engine=listing.engine,
            name=listing.name,
            template=(listing.creator_tenant_id, listing.template_version_id),
            running=True,
        )
    else:
        bot_tenant, bot_id, unit_value = listing.creator_tenant_id, listing.shared_bot_id, listing.unit_value
        if bot_id is None:
            raise _no_figures()
        units = _units(amount, unit_value)
    try:
        await session.execute(
            _INSERT,
            {
                "id": subscription_id,
                "user": principal.user_id,
                "creator": listing.creator_tenant_id,
                "template": listing.id,
                "version": listing.template_version_id,
                "hosting": listing.hosting,
                "bot_tenant": bot_tenant,
                "bot": bot_id,
                "currency": listing.currency,
                "amount": amount,
                "units": units,
            },
        )
    except IntegrityError as error:
        if "uq_subscriptions_live" in str(error.orig):
            raise ConflictError(
                "you are subscribed to this template already: change that subscription's allocation instead",
                code="already_subscribed",
            ) from error
        raise
    await _enter(session, principal, subscription_id, "deposit", amount, units, unit_value)
    return subscription_id


def _no_figures() -> ConflictError:
    return ConflictError("the bot that this rests on has no figures yet: try later", code="no_figures_yet")


def _index(value: Decimal | None) -> Decimal:
    """The followed bot's index. Raises 409 where it is not known, or where nothing is left that could be traded."""
    if value is None:
        raise _no_figures()
    if value <= 0:
        raise ConflictError(
            "the followed bot has lost everything: nothing can be bought of it", code="bot_is_worthless"
        )
    return value


def _units(amount: Decimal, index: Decimal | None) -> Decimal:
    units = units_for(amount, _index(index))
    if not units or abs(units) > _MOST_UNITS:
        raise unacceptable("allocation_amount", "is too small or too large for the followed bot's index")
    return units


def _check_minimum(amount: Decimal, minimum: Decimal, currency: str) -> None:
    if amount < minimum:
        raise unacceptable(
            "allocation_amount",
            f"must be at least {minimum.normalize():f} {currency}, the template's minimum",
            code="below_minimum",
        )


async def change_subscription(
    session: AsyncSession, principal: Principal, settings: Settings, subscription_id: UUID, data: PatchSubscription
) -> None:
    """Deposit, withdraw, pause or resume. Raises 404, 409 for a cancelled one, 422 for an amount that does not fit."""
    principal.require("subscriptions:write")
    plan = await quota.take_turn(session, principal) if data.status == "active" else None
    row = await _locked(session, subscription_id)
    if plan is not None and row.hosting == "dedicated" and row.status == "paused":
        await quota.require_room(session, settings.plans, plan)
    if data.allocation_amount is not msgspec.UNSET:
        await _move(session, principal, row, checked_amount("allocation_amount", data.allocation_amount))
        row = await subscription_row(session, subscription_id)
    if data.status is not msgspec.UNSET and data.status != row.status:
        await (_pause if data.status == "paused" else _resume)(session, principal, row)


async def _locked(session: AsyncSession, subscription_id: UUID) -> Row[Any]:
    if await session.scalar(_LOCK, {"id": subscription_id}) is None:
        raise NotFoundError("subscription")
    row = await subscription_row(session, subscription_id)
    if row.status == "cancelled":
        raise ConflictError("this subscription was cancelled: subscribe again", code="subscription_cancelled")
    return row


async def _move(session: AsyncSession, principal: Principal, row: Row[Any], amount: Decimal) -> None:
    change = amount - row.allocation_amount
    if not change:
        return
    listing = (await session.execute(_LISTING, {"id": row.template_id})).one_or_none()
    if listing is not None and change < 0:
        _check_minimum(amount, listing.minimum_allocation, row.currency)
    if change < 0 and -change >= await _withdrawable(session, row):
        raise unacceptable(
            "allocation_amount", "would withdraw all that the subscription is worth, or more: cancel it instead"
        )
    if row.hosting == "dedicated":
        await _enter(session, principal, row.id, _kind(change), change, None, None)
        await session.execute(
            text("update subscriptions set allocation_amount = :amount where id = :id"),
            {"amount": amount, "id": row.id},
        )
        # The bot takes new deposits and withdrawals up when it is launched: a new generation launches it.
        await bots.steer(session, row.bot_id, running=row.status == "active")
        return
    if row.status == "paused":
        await _enter(session, principal, row.id, _kind(change), change, None, None)
        await _hold(session, row, amount, row.units or _NO_MONEY, row.cash + change)
        return
    units = _units(change, row.index_value)
    await _enter(session, principal, row.id, _kind(change), change, units, row.index_value)
    await _hold(session, row, amount, (row.units or _NO_MONEY) + units, row.cash)


async def _withdrawable(session: AsyncSession, row: Row[Any]) -> Decimal:
    """What could leave now: the worth, less what was withdrawn since a dedicated bot last told it. Raises 409."""
    worth = await worth_of(session, row)
    if worth.equity is None or worth.net_deposits is None:
        raise _no_figures()
    if row.hosting != "dedicated":
        return worth.equity
    moved = sum((item.amount for item in await movements_of(session, row.id)), _NO_MONEY)
    return worth.equity + moved - worth.net_deposits


def _kind(change: Decimal) -> str:
    return "deposit" if change > 0 else "withdrawal"


async def _pause(session: AsyncSession, principal: Principal, row: Row[Any]) -> None:
    if row.hosting == "dedicated":
        await _enter(session, principal, row.id, "pause", _NO_MONEY, None, None)
        await bots.steer(session, row.bot_id, running=False)
    else:
        if row.index_value is None:
            raise _no_figures()
        unit_value, units = row.index_value, row.units or _NO_MONEY
        await _enter(session, principal, row.id, "pause", _NO_MONEY, -units, unit_value)
        await _hold(session, row, row.allocation_amount, _NO_MONEY, row.cash + worth_of_units(units, unit_value))
    await session.execute(text("update subscriptions set status = 'paused' where id = :id"), {"id": row.id})


async def _resume(session: AsyncSession, principal: Principal, row: Row[Any]) -> None:
    if row.hosting == "dedicated":
        await _enter(session, principal, row.id, "resume", _NO_MONEY, None, None)
        await bots.steer(session, row.bot_id, running=True)
    else:
        unit_value = _index(row.index_value)
        units = _units(row.cash, unit_value) if row.cash else _NO_MONEY
        await _enter(session, principal, row.id, "resume", _NO_MONEY, units, unit_value)
        await _hold(session, row, row.allocation_amount, units, _NO_MONEY)
    await session.execute(text("update subscriptions set status = 'active' where id = :id"), {"id": row.id})


async def cancel(session: AsyncSession, principal: Principal, subscription_id: UUID) -> None:
    """End a subscription: its bot is stopped and taken away, its worth leaves by a redemption. Raises 404, 409.

    Where the worth is not known there is no redemption: what left is unknown, not nothing.
    """
    principal.require("subscriptions:write")
    row = await _locked(session, subscription_id)
    worth = await worth_of(session, row)
    if worth.equity is not None:
        units = -row.units if row.units is not None else None
        await _enter(session, principal, row.id, "redemption", -worth.equity, units, row.index_value)
    await session.execute(
        text("update subscriptions set status = 'cancelled', cancelled_at = :at where id = :id"),
        {"at": datetime.now(UTC), "id": row.id},
    )
    if row.hosting == "dedicated":
        await note(session, principal, row.bot_id, "subscription_cancelled")
        await bots.retire(session, row.bot_id)


async def _hold(session: AsyncSession, row: Row[Any], amount: Decimal, units: Decimal, cash: Decimal) -> None:
    await session.execute(
        text("update subscriptions set allocation_amount = :amount, units = :units, cash = :cash where id = :id"),
        {"amount": amount, "units": units, "cash": cash, "id": row.id},
    )


async def _enter(
    session: AsyncSession,
    principal: Principal,
    subscription_id: UUID,
    kind: str,
    amount: Decimal,
    units: Decimal | None,
    unit_value: Decimal | None,
) -> None:
    await session.execute(
        _ENTRY,
        {
            "id": uuid7(),
            "subscription": subscription_id,
            "kind": kind,
            "amount": amount,
            "units": units,
            "unit_value": unit_value,
            "actor": principal.actor,
        },
    )


async def cancel_all(session: AsyncSession) -> None:
    """End every subscription of the bound tenant, which ends itself: nobody is left whom a redemption would be for."""
    await session.execute(
        text("update subscriptions set status = 'cancelled', cancelled_at = now() where status <> 'cancelled'")
    )
