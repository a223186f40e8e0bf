"""Tables of subscriptions. Money moves only by ledger rows; a subscription row holds their running totals."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Final
from uuid import UUID

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.database.base import (
    Base,
    Money,
    TenantOwned,
    Timestamp,
    UnitValue,
    Updated,
    Worth,
    one_of,
    tenant_index,
    tenant_key,
    tenant_reference,
)

SUBSCRIPTION_STATUSES: Final = ("active", "paused", "cancelled")
LEDGER_KINDS: Final = ("deposit", "withdrawal", "pause", "resume", "redemption")


class Subscription(Base, Updated, TenantOwned):
    """A person's capital in a template.

    A *dedicated* subscription has a bot of its own tenant. A *shared* one follows the creator's bot: it holds ``units``
    of that bot's time-weighted index, and while paused ``cash`` instead.
    """

    __tablename__ = "subscriptions"
    __table_args__ = (
        one_of("status", SUBSCRIPTION_STATUSES),
        tenant_key("subscriptions"),
        ForeignKeyConstraint(
            ["creator_tenant_id", "template_version_id"],
            ["template_versions.tenant_id", "template_versions.id"],
            name="fk_subscriptions_template_version_id",
        ),
        tenant_reference("subscriptions", "bot_id", "bots", tenant_column="bot_tenant_id", ondelete="RESTRICT"),
        Index(
            "uq_subscriptions_live",
            "tenant_id",
            "user_id",
            "template_id",
            unique=True,
            postgresql_where=text("status <> 'cancelled'"),
        ),
        tenant_index("subscriptions", "bot_id"),
        Index("ix_subscriptions_creator", "creator_tenant_id", "template_id"),
        Index("ix_subscriptions_version", "creator_tenant_id", "template_version_id"),
        Index("ix_subscriptions_bot", "bot_tenant_id", "bot_id"),
        Index("ix_subscriptions_user", "user_id"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    creator_tenant_id: Mapped[UUID]
    template_id: Mapped[UUID]
    template_version_id: Mapped[UUID]
    hosting: Mapped[str] = mapped_column(Text)
    bot_tenant_id: Mapped[UUID]
    bot_id: Mapped[UUID]
    status: Mapped[str] = mapped_column(Text, server_default="active")
    currency: Mapped[str] = mapped_column(Text)
    allocation_amount: Mapped[Decimal] = mapped_column(Money)
    units: Mapped[Decimal | None] = mapped_column(UnitValue)
    cash: Mapped[Decimal] = mapped_column(Worth, server_default="0")
    cancelled_at: Mapped[datetime | None] = mapped_column(Timestamp)


class LedgerEntry(Base, TenantOwned):
    """One movement of a subscription's money. Append-only."""

    __tablename__ = "subscription_ledger"
    __table_args__ = (
        one_of("kind", LEDGER_KINDS),
        tenant_reference("subscription_ledger", "subscription_id", "subscriptions"),
        tenant_index("subscription_ledger", "subscription_id", "id"),
    )

    subscription_id: Mapped[UUID]
    kind: Mapped[str] = mapped_column(Text)
    #: Money into the subscription is positive, out of it negative; a pause or resume moves none.
    amount: Mapped[Decimal] = mapped_column(Worth)
    units: Mapped[Decimal | None] = mapped_column(UnitValue)
    unit_value: Mapped[Decimal | None] = mapped_column(UnitValue)
    actor: Mapped[str | None] = mapped_column(Text)
