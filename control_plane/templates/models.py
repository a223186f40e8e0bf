"""Tables of templates. The private configuration is sealed; the marketplace reads a projection that never had it."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Boolean, Index, Integer, LargeBinary, SmallInteger, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.database.base import (
    Base,
    Money,
    TenantOwned,
    Timestamp,
    UnitValue,
    Updated,
    one_of,
    tenant_index,
    tenant_key,
    tenant_reference,
)

RISK_LEVELS: Final = ("low", "medium", "high")
STRATEGY_TYPES: Final = ("dca", "grid", "momentum", "arbitrage")
HOSTINGS: Final = ("dedicated", "shared")
TEMPLATE_STATUSES: Final = ("draft", "published")


class BotTemplate(Base, Updated, TenantOwned):
    """A strategy that a creator offers. What may change lives here, what a subscriber runs lives in a version."""

    __tablename__ = "bot_templates"
    __table_args__ = (
        one_of("risk_level", RISK_LEVELS),
        one_of("strategy_type", STRATEGY_TYPES),
        one_of("hosting", HOSTINGS),
        one_of("status", TEMPLATE_STATUSES),
        tenant_key("bot_templates"),
        tenant_index("bot_templates", "status"),
    )

    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    engine: Mapped[str] = mapped_column(Text)
    strategy_type: Mapped[str] = mapped_column(Text)
    risk_level: Mapped[str] = mapped_column(Text)
    hosting: Mapped[str] = mapped_column(Text)
    currency: Mapped[str] = mapped_column(Text)
    minimum_allocation: Mapped[Decimal] = mapped_column(Money)
    status: Mapped[str] = mapped_column(Text, server_default="draft")
    latest_version: Mapped[int] = mapped_column(Integer, server_default="0")
    created_by: Mapped[UUID]
    deleted_at: Mapped[datetime | None] = mapped_column(Timestamp)


class TemplateVersion(Base, TenantOwned):
    """What a subscriber's bot runs. Immutable: a change is a new version."""

    __tablename__ = "template_versions"
    __table_args__ = (
        tenant_key("template_versions"),
        tenant_reference("template_versions", "template_id", "bot_templates"),
        UniqueConstraint("tenant_id", "template_id", "version", name="uq_template_versions_version"),
        tenant_index("template_versions", "config_key_version"),
    )

    template_id: Mapped[UUID]
    version: Mapped[int]
    parameters: Mapped[dict[str, Any]] = mapped_column(JSONB)
    image: Mapped[str | None] = mapped_column(Text)
    config_sealed: Mapped[bytes] = mapped_column(LargeBinary)
    config_key_version: Mapped[int]
    config_suite: Mapped[int] = mapped_column(SmallInteger)
    config_fields: Mapped[list[str]] = mapped_column(ARRAY(Text))
    config_digest: Mapped[str] = mapped_column(Text)
    #: Where in the bot's configuration the exchange account is named that no two live bots may trade, dotted.
    account_field: Mapped[str | None] = mapped_column(Text)


class MarketplaceListing(Base, Updated):
    """The public projection of a published template: no secret and no internal column ever enters it.

    ``id`` is the template's id. Any signed-in tenant may read it; only the creator's may write it.
    """

    __tablename__ = "marketplace_listings"
    __table_args__ = (
        tenant_reference("marketplace_listings", "id", "bot_templates", tenant_column="creator_tenant_id"),
        Index("ix_marketplace_listings_creator", "creator_tenant_id", "id"),
        Index("ix_marketplace_listings_browse", "strategy_type", "risk_level"),
        Index("ix_marketplace_listings_score", text("score DESC NULLS LAST"), text("id DESC")),
        Index(
            "ix_marketplace_listings_parameters",
            "parameters",
            postgresql_using="gin",
            postgresql_ops={"parameters": "jsonb_path_ops"},
        ),
    )

    creator_tenant_id: Mapped[UUID] = mapped_column(
        server_default=text("nullif(current_setting('app.tenant_id', true), '')::uuid")
    )
    creator_name: Mapped[str] = mapped_column(Text)
    template_version_id: Mapped[UUID]
    version: Mapped[int]
    name: Mapped[str] = mapped_column(Text)
    description: Mapped[str | None] = mapped_column(Text)
    engine: Mapped[str] = mapped_column(Text)
    strategy_type: Mapped[str] = mapped_column(Text)
    risk_level: Mapped[str] = mapped_column(Text)
    hosting: Mapped[str] = mapped_column(Text)
    currency: Mapped[str] = mapped_column(Text)
    minimum_allocation: Mapped[Decimal] = mapped_column(Money)
    parameters: Mapped[dict[str, Any]] = mapped_column(JSONB)
    image: Mapped[str | None] = mapped_column(Text)
    shared_bot_id: Mapped[UUID | None]
    subscribers_count: Mapped[int] = mapped_column(Integer, server_default="0")
    #: Shown to nobody but its creator while the creator's tenant is suspended.
    suspended: Mapped[bool] = mapped_column(Boolean, server_default=text("false"))
    published_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
    #: The index of its bot as the scheduler last saw it: what listings are sorted by, and nothing that is shown.
    score: Mapped[Decimal | None] = mapped_column(UnitValue)
