"""Tables of identity. What must be found before the tenant is known goes through functions in policies/identity.sql."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.dialects.postgresql import INET, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.database.base import Base, TenantOwned, Timestamp, Updated, one_of, tenant_index

USER_STATUSES: Final = ("active", "suspended", "deleted")
TENANT_STATUSES: Final = ("active", "suspended", "deleted")
SUSPENDERS: Final = ("owner", "operator")
ROLES: Final = ("owner", "admin", "trader", "viewer")


class User(Base, Updated):
    """A person. Belongs to no tenant; seen by oneself and by fellow members."""

    __tablename__ = "users"
    __table_args__ = (one_of("status", USER_STATUSES), Index("uq_users_email", text("lower(email)"), unique=True))

    #: None for somebody who signs in by another provider that tells no address.
    email: Mapped[str | None] = mapped_column(Text)
    email_verified_at: Mapped[datetime | None] = mapped_column(Timestamp)
    #: None for somebody who signs in by another provider alone.
    password_hash: Mapped[str | None] = mapped_column(Text)
    full_name: Mapped[str | None] = mapped_column(Text)
    status: Mapped[str] = mapped_column(Text, server_default="active")
    last_sign_in_at: Mapped[datetime | None] = mapped_column(Timestamp)
    deleted_at: Mapped[datetime | None] = mapped_column(Timestamp)


class Tenant(Base, Updated):
    """The organisation that owns bots, templates and subscriptions."""

    __tablename__ = "tenants"
    __table_args__ = (one_of("status", TENANT_STATUSES), one_of("suspended_by", SUSPENDERS))

    name: Mapped[str] = mapped_column(Text)
    plan: Mapped[str] = mapped_column(Text, server_default="free")
    status: Mapped[str] = mapped_column(Text, server_default="active")
    suspended_at: Mapped[datetime | None] = mapped_column(Timestamp)
    #: What an operator has suspended, an owner cannot resume.
    suspended_by: Mapped[str | None] = mapped_column(Text)
    suspended_reason: Mapped[str | None] = mapped_column(Text)
    deleted_at: Mapped[datetime | None] = mapped_column(Timestamp)


class Membership(Base, TenantOwned):
    """A person's role in a tenant."""

    __tablename__ = "memberships"
    __table_args__ = (
        one_of("role", ROLES),
        UniqueConstraint("tenant_id", "user_id", name="uq_memberships_tenant_user"),
        Index("ix_memberships_user", "user_id"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    role: Mapped[str] = mapped_column(Text)


class Invitation(Base, TenantOwned):
    """A role in a tenant, offered to an address. Only the SHA-256 of the token that was mailed there is kept.

    Open while it is neither accepted nor revoked; there is one open one an address. An expired one stays open until it
    is replaced, but is worth nothing.
    """

    __tablename__ = "invitations"
    __table_args__ = (
        one_of("role", ROLES),
        Index(
            "uq_invitations_open",
            "tenant_id",
            text("lower(email)"),
            unique=True,
            postgresql_where=text("accepted_at is null and revoked_at is null"),
        ),
        tenant_index("invitations", "id"),
        Index("ix_invitations_invited_by", "invited_by"),
    )

    email: Mapped[str] = mapped_column(Text)
    role: Mapped[str] = mapped_column(Text)
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    invited_by: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    accepted_at: Mapped[datetime | None] = mapped_column(Timestamp)
    revoked_at: Mapped[datetime | None] = mapped_column(Timestamp)


class SignInSession(Base):
    """A signed-in person. Only the SHA-256 of the opaque token is kept."""

    __tablename__ = "sessions"
    __table_args__ = (Index("ix_sessions_user", "user_id"), Index("ix_sessions_expires", "expires_at"))

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    token_hash: Mapped[bytes] = mapped_column(LargeBinary, unique=True)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    last_seen_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
    revoked_at: Mapped[datetime | None] = mapped_column(Timestamp)
    ip: Mapped[str | None] = mapped_column(INET)
    user_agent: Mapped[str | None] = mapped_column(Text)


class IdempotencyRecord(Base, TenantOwned):
    """The first answer to a request that carried an Idempotency-Key, kept for 24 hours."""

    __tablename__ = "idempotency_records"
    __table_args__ = (
        UniqueConstraint("tenant_id", "principal", "key", name="uq_idempotency_records_key"),
        Index("ix_idempotency_records_created", "created_at"),
    )

    principal: Mapped[str] = mapped_column(Text)
    key: Mapped[str] = mapped_column(Text)
    request_hash: Mapped[bytes] = mapped_column(LargeBinary)
    status_code: Mapped[int]
    answer: Mapped[dict[str, object]] = mapped_column(JSONB)
