"""What a tenant has said of itself as a whole, beside its row in `tenants` (identity/models.py)."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Integer, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.database.base import Base, TenantOwned, Timestamp, Updated, one_of
from control_plane.security.egress import MODES


class TenantEgress(Base, Updated, TenantOwned):
    """Where a tenant lets its hosted bots connect to. No row: wherever the operator does."""

    __tablename__ = "tenant_egress"
    __table_args__ = (one_of("mode", MODES), UniqueConstraint("tenant_id", name="uq_tenant_egress_tenant"))

    mode: Mapped[str] = mapped_column(Text)
    #: `network` or `network:port` in the form of `Destination`, for the mode `listed`.
    destinations: Mapped[list[str]] = mapped_column(ARRAY(Text), server_default=text("'{}'::text[]"))
    revision: Mapped[int] = mapped_column(Integer, server_default="1")
    #: Which revision the firewall has, and since when: written by the launcher.
    applied_revision: Mapped[int | None] = mapped_column(Integer)
    applied_at: Mapped[datetime | None] = mapped_column(Timestamp)
