"""What every table shares: UUIDv7 keys, aware UTC times, enumerations as text with a CHECK, keys led by the tenant."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final
from uuid import UUID

from advanced_alchemy.base import CommonTableAttributes, create_registry
from sqlalchemy import CheckConstraint, ForeignKey, ForeignKeyConstraint, Index, Numeric, UniqueConstraint, Uuid, text
from sqlalchemy.dialects.postgresql import TIMESTAMP
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from uuid_utils.compat import uuid7

Timestamp: Final = TIMESTAMP(timezone=True)
Money: Final = Numeric(24, 8)
UnitValue: Final = Numeric(24, 12)
#: The most units at the highest index: what leaves must be written down, however much it has become.
Worth: Final = Numeric(38, 8)

UtcTime = Annotated[datetime, mapped_column(Timestamp)]
Amount = Annotated[Decimal, mapped_column(Money)]


class Table(CommonTableAttributes, DeclarativeBase):
    """The root of every model: Advanced Alchemy's naming rules and conversions, PostgreSQL's own uuid type."""

    __abstract__ = True
    registry = create_registry({UUID: Uuid})


class Base(Table):
    """A row with a UUIDv7 ``id``, made by the application, and ``created_at``."""

    __abstract__ = True

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7, sort_order=-100)
    created_at: Mapped[UtcTime] = mapped_column(Timestamp, server_default=text("now()"), sort_order=900)


class Updated:
    """``updated_at``, kept by a trigger so that no writer can forget it."""

    updated_at: Mapped[UtcTime] = mapped_column(Timestamp, server_default=text("now()"), sort_order=901)


class TenantOwned:
    """A row that belongs to one tenant. The database fills ``tenant_id`` from the transaction's binding."""

    tenant_id: Mapped[UUID] = mapped_column(
        ForeignKey("tenants.id", ondelete="CASCADE"),
        server_default=text("nullif(current_setting('app.tenant_id', true), '')::uuid"),
        sort_order=-90,
    )


def one_of(column: str, choices: Sequence[str]) -> CheckConstraint:
    """A CHECK that ``column`` holds one of ``choices``."""
    listed = ", ".join(f"'{choice}'" for choice in choices)
    return CheckConstraint(f"{column} in ({listed})", name=f"{column}_known")


def tenant_key(table: str) -> UniqueConstraint:
    """``unique (tenant_id, id)``: what foreign keys of other tenant-owned tables point at."""
    return UniqueConstraint("tenant_id", "id", name=f"uq_{table}_tenant")


def tenant_reference(
    table: str, column: str, target: str, *, tenant_column: str = "tenant_id", ondelete: str = "CASCADE"
) -> ForeignKeyConstraint:
    """A foreign key that carries the tenant, because PostgreSQL checks foreign keys without row-level security."""
    return ForeignKeyConstraint(
        [tenant_column, column],
        [f"{target}.tenant_id", f"{target}.id"],
        ondelete=ondelete,
        name=f"fk_{table}_{column}",
    )


def tenant_index(table: str, *columns: Any, **options: Any) -> Index:
    """An index that begins with the tenant, as every index on a tenant-owned table must."""
    names = "_".join(str(column).split(" ", 1)[0].split(".")[-1] for column in columns) or "only"
    return Index(f"ix_{table}_tenant_{names}", "tenant_id", *columns, **options)
