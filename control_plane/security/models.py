"""Where sealed values and the keys to them live. See docs/security-model.md."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    ForeignKey,
    Index,
    LargeBinary,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.database.base import Base, Table, TenantOwned, Timestamp, one_of

ROTATION_KINDS = ("wraps", "pairs")
ROTATION_STATES = ("running", "stopped", "done")


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


class KeyRotation(Base):
    """A rotation and how far it has come. The platform's, not a tenant's; what is left to do is seen in the rows.

    ``wraps`` puts private halves under another key-encryption key; ``pairs`` makes new key pairs and re-seals values.
    ``total`` is null until it has been counted. ``only_tenant`` outlives the tenant that it names.
    """

    __tablename__ = "key_rotations"
    __table_args__ = (
        one_of("kind", ROTATION_KINDS),
        one_of("state", ROTATION_STATES),
        Index("uq_key_rotations_running", "kind", unique=True, postgresql_where=text("state = 'running'")),
    )

    kind: Mapped[str] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text, server_default="running")
    with_tenants: Mapped[bool] = mapped_column(Boolean, server_default="true")
    with_platform: Mapped[bool] = mapped_column(Boolean, server_default="false")
    only_tenant: Mapped[UUID | None]
    total: Mapped[int | None]
    done: Mapped[int] = mapped_column(server_default="0")
    failed: Mapped[int] = mapped_column(server_default="0")
    requested_by: Mapped[str] = mapped_column(Text)
    started_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
    beat_at: Mapped[datetime | None] = mapped_column(Timestamp)
    finished_at: Mapped[datetime | None] = mapped_column(Timestamp)


class KeyRotationFailure(Table):
    """A row that a rotation could not move, so that it is counted and told once and not tried again.

    ``lost`` means that the value does not open with its own key and never will: it does not keep that key alive.
    """

    __tablename__ = "key_rotation_failures"

    rotation_id: Mapped[UUID] = mapped_column(ForeignKey("key_rotations.id", ondelete="CASCADE"), primary_key=True)
    relation: Mapped[str] = mapped_column(Text, primary_key=True)
    row_id: Mapped[UUID] = mapped_column(primary_key=True)
    of_tenant: Mapped[UUID | None]
    key_version: Mapped[int]
    lost: Mapped[bool]
    reason: Mapped[str] = mapped_column(Text)
