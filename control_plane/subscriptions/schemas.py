"""Bodies of subscriptions."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal
from uuid import UUID

import msgspec

from control_plane.amounts import Figures


class CreateSubscription(msgspec.Struct, forbid_unknown_fields=True):
    """Capital for a published template, in the template's currency."""

    template_id: UUID
    allocation_amount: Decimal


class PatchSubscription(msgspec.Struct, forbid_unknown_fields=True):
    """What may change. A larger allocation is a deposit, a smaller one a withdrawal."""

    status: Literal["active", "paused"] | msgspec.UnsetType = msgspec.UNSET
    allocation_amount: Decimal | msgspec.UnsetType = msgspec.UNSET


class SubscriptionView(Figures, frozen=True):
    """A subscription. ``profit`` is money over what was put in, ``return`` is time-weighted; null is unknown."""

    id: UUID
    template_id: UUID
    template_name: str | None
    strategy_type: str | None
    version: int | None
    bot_id: UUID
    hosting: str
    status: str
    bot_status: str | None
    allocation_amount: Decimal
    currency: str
    simulated: bool | None
    equity: Decimal | None
    net_deposits: Decimal | None
    profit: Decimal | None
    return_: Decimal | None = msgspec.field(name="return")
    as_of: datetime | None
    created_at: datetime
    updated_at: datetime
    cancelled_at: datetime | None


class EntryView(Figures, frozen=True):
    """One movement. Money in is positive, money out negative."""

    id: UUID
    at: datetime
    kind: str
    amount: Decimal
    units: Decimal | None
    unit_value: Decimal | None
    actor: str | None


class WorthPoint(Figures, frozen=True):
    """The worth of a subscription at a time."""

    at: datetime
    equity: Decimal | None


class WorthView(msgspec.Struct, frozen=True):
    """A subscription's worth over time. Points lie ``interval_s`` seconds apart; 0 where each is a reading."""

    currency: str
    simulated: bool | None
    interval: str
    interval_s: float
    points: list[WorthPoint]
