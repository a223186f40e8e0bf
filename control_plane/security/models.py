"""Where sealed values and the keys to them live. See docs/security-model.md."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from sqlalchemy import CheckConstraint, Index, LargeBinary, SmallInteger, Text, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.database.base import Base, Table, TenantOwned, Timestamp

SUITE_X25519_SHA256_AES256GCM: Final = 1


class TenantKey(Base, TenantOwned):
    """One version of a tenant's key pair: the public half in clear, the private half wrapped for agents alone."""

    __tablename__ = "tenant_keys"
    __table_args__ = (
        UniqueConstraint("tenant_id", "version", name="uq_tenant_keys_version"),
        CheckConstraint("destroyed_at is null or wrapped_private_key is null", name="destroyed_is_gone"),
    )

    version: Mapped[int]
    suite: Mapped[int] = mapped_column(SmallInteger)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    wrapped_private_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    kek_id: Mapped[str] = mapped_column(Text)
    destroyed_at: Mapped[datetime | None] = mapped_column(Timestamp)


class PlatformKey(Base):
    """One version of the platform's own key pair, for what is sealed to agents and belongs to no tenant."""

    __tablename__ = "platform_keys"
    __table_args__ = (UniqueConstraint("version", name="uq_platform_keys_version"),)

    version: Mapped[int]
    suite: Mapped[int] = mapped_column(SmallInteger)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    wrapped_private_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    kek_id: Mapped[str] = mapped_column(Text)
    destroyed_at: Mapped[datetime | None] = mapped_column(Timestamp)


class AttemptLimit(Table):
    """How far a subject (an account, an address) has used up a rule's allowance; see control_plane/security/limits.py.

    ``subject`` is a digest, so that the table tells nobody's name. ``full_at`` is when the allowance is whole again.
    """

    __tablename__ = "attempt_limits"
    __table_args__ = (Index("ix_attempt_limits_full", "full_at"),)

    rule: Mapped[str] = mapped_column(Text, primary_key=True)
    subject: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    full_at: Mapped[datetime] = mapped_column(Timestamp)
