"""Bodies of templates and of the marketplace."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal
from uuid import UUID

import msgspec

from control_plane.amounts import Figures
from control_plane.http.patterns import END, NAME

Name = Annotated[str, msgspec.Meta(min_length=1, max_length=120, pattern=NAME)]
Description = Annotated[str, msgspec.Meta(max_length=4000, pattern=r"^[^\x00]*$")]
Currency = Annotated[str, msgspec.Meta(pattern=r"^[A-Z0-9]{2,12}" + END)]
Image = Annotated[str, msgspec.Meta(max_length=255, pattern=r"^[a-z0-9]+([._/:@-]+[A-Za-z0-9]+)*" + END)]
RiskLevel = Literal["low", "medium", "high"]
StrategyType = Literal["dca", "grid", "momentum", "arbitrage"]
Hosting = Literal["dedicated", "shared"]
#: A dotted path such as `exchange.key`, in the configuration that a bot gets.
AccountField = Annotated[str, msgspec.Meta(max_length=120, pattern=r"^[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*" + END)]


class CreateTemplate(msgspec.Struct, forbid_unknown_fields=True):
    """A strategy to offer. ``parameters`` are public; ``config`` is sealed and never shown again, to nobody."""

    name: Name
    engine: Annotated[str, msgspec.Meta(min_length=1, max_length=40)]
    strategy_type: StrategyType
    risk_level: RiskLevel
    hosting: Hosting
    currency: Currency
    minimum_allocation: Decimal
    parameters: dict[str, Any]
    config: dict[str, Any]
    description: Description | None = None
    image: Image | None = None
    account_field: AccountField | None = None


class PatchTemplate(msgspec.Struct, forbid_unknown_fields=True):
    """What may change without a new version."""

    name: Name | msgspec.UnsetType = msgspec.UNSET
    description: Description | msgspec.UnsetType | None = msgspec.UNSET
    risk_level: RiskLevel | msgspec.UnsetType = msgspec.UNSET
    minimum_allocation: Decimal | msgspec.UnsetType = msgspec.UNSET


class CreateVersion(msgspec.Struct, forbid_unknown_fields=True):
    """What new subscribers will run. Running subscriptions keep the version they began with.

    ``account_field`` is where a bot's configuration names its exchange account: no two bots that run may have the
    same there, whosever they are.
    """

    parameters: dict[str, Any]
    config: dict[str, Any]
    image: Image | None = None
    account_field: AccountField | None = None


class ConfigView(msgspec.Struct, frozen=True):
    """All that is ever shown of a private configuration: its fields' names, and a digest of what is stored."""

    set: bool
    fields: list[str]
    digest: str


class VersionView(msgspec.Struct, frozen=True):
    """One immutable version."""

    id: UUID
    version: int
    parameters: dict[str, Any]
    image: str | None
    account_field: str | None
    config: ConfigView
    created_at: datetime


class TemplateView(Figures, frozen=True):
    """A template as its creator sees it."""

    id: UUID
    name: str
    description: str | None
    engine: str
    strategy_type: str
    risk_level: str
    hosting: str
    currency: str
    minimum_allocation: Decimal
    status: str
    version: VersionView
    subscribers_count: int
    created_at: datetime
    updated_at: datetime


class ListingPerformance(Figures, frozen=True):
    """How the creator's own bot on this template has done. ``return`` is time-weighted since ``since``.

    What was simulated and what was not are never one: where ``simulated`` changed, all is of the time since.
    """

    since: datetime
    as_of: datetime
    simulated: bool | None
    max_drawdown: Decimal | None
    return_: Decimal = msgspec.field(name="return")


class ListingView(Figures, frozen=True):
    """A published template as every tenant sees it."""

    id: UUID
    template_id: UUID
    creator: str
    mine: bool
    name: str
    description: str | None
    engine: str
    strategy_type: str
    risk_level: str
    hosting: str
    currency: str
    minimum_allocation: Decimal
    parameters: dict[str, Any]
    version: int
    subscribers_count: int
    published_at: datetime
    performance: ListingPerformance | None
