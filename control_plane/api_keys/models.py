"""The table of API keys. A key is found before the tenant is known, by a function in policies/api_keys.sql."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, LargeBinary, Text
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.database.base import Base, TenantOwned, Timestamp, tenant_index


class ApiKey(Base, TenantOwned):
    """A key for programs. Shown once; ``prefix`` finds it, ``key_hash`` proves it."""

    __tablename__ = "api_keys"
    __table_args__ = (tenant_index("api_keys", "created_by"),)

    created_by: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    prefix: Mapped[str] = mapped_column(Text, unique=True)
    key_hash: Mapped[bytes] = mapped_column(LargeBinary)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    expires_at: Mapped[datetime | None] = mapped_column(Timestamp)
    last_used_at: Mapped[datetime | None] = mapped_column(Timestamp)
    revoked_at: Mapped[datetime | None] = mapped_column(Timestamp)
