"""Where sealed values and the keys to them live. See docs/security-model.md."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import LargeBinary, SmallInteger, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.database.base import Base, TenantOwned, Timestamp

SUITE_X25519_SHA256_AES256GCM: Final = 1


class TenantKey(Base, TenantOwned):
    """One version of a tenant's key pair: the public half in clear, the private half wrapped for agents alone."""

    __tablename__ = "tenant_keys"
    __table_args__ = (UniqueConstraint("tenant_id", "version", name="uq_tenant_keys_version"),)

    version: Mapped[int]
    suite: Mapped[int] = mapped_column(SmallInteger)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    wrapped_private_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    kek_id: Mapped[str] = mapped_column(Text)
    destroyed_at: Mapped[datetime | None] = mapped_column(Timestamp)
