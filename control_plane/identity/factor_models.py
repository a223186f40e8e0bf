"""Tables of second factors and of sign-in by others. All but what a person may see goes by policies/factors.sql."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import BigInteger, ForeignKey, Index, LargeBinary, SmallInteger, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.database.base import Base, Table, Timestamp, Updated, one_of

PROVIDERS: Final = ("telegram", "oidc")
EXCHANGE_STATES: Final = ("begun", "asked", "working", "done", "failed")


class TotpFactor(Base, Updated):
    """A person's TOTP seed, encrypted with the data key. In force from ``confirmed_at`` on."""

    __tablename__ = "totp_factors"
    __table_args__ = (
        UniqueConstraint("user_id", name="uq_totp_factors_user"),
        Index("ix_totp_factors_key", "secret_key_id", "id"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    secret: Mapped[bytes] = mapped_column(LargeBinary)
    secret_format: Mapped[int] = mapped_column(SmallInteger)
    secret_key_id: Mapped[str] = mapped_column(Text)
    confirmed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    #: The newest time step whose code was accepted; no code of it or before is accepted again.
    last_step: Mapped[int | None] = mapped_column(BigInteger)


class RecoveryCode(Base):
    """A code that stands in for a lost second factor, once. Only its digest is kept."""

    __tablename__ = "recovery_codes"
    __table_args__ = (UniqueConstraint("user_id", "code_hash", name="uq_recovery_codes_user_code"),)

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    code_hash: Mapped[bytes] = mapped_column(LargeBinary)
    used_at: Mapped[datetime | None] = mapped_column(Timestamp)


class AuthIdentity(Base):
    """Who a person is at another provider: ``issuer`` and ``subject`` tell it, never an address alone."""

    __tablename__ = "auth_identities"
    __table_args__ = (
        one_of("provider", PROVIDERS),
        UniqueConstraint("provider", "issuer", "subject", name="uq_auth_identities_subject"),
        Index("ix_auth_identities_user", "user_id"),
    )

    user_id: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    provider: Mapped[str] = mapped_column(Text)
    issuer: Mapped[str] = mapped_column(Text)
    subject: Mapped[str] = mapped_column(Text)
    #: What its owner knows it by: an address or a name, as the provider told it.
    label: Mapped[str | None] = mapped_column(Text)
    last_used_at: Mapped[datetime | None] = mapped_column(Timestamp)


class SpentProof(Table):
    """A proof of another provider that was used, as a digest, until it would be too old anyway."""

    __tablename__ = "spent_proofs"
    __table_args__ = (Index("ix_spent_proofs_expires", "expires_at"),)

    digest: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)


class IdentityProvider(Base, Updated):
    """What the notifier found out about an OpenID provider, for the web tier, which asks nobody outside."""

    __tablename__ = "identity_providers"

    issuer: Mapped[str] = mapped_column(Text, unique=True)
    authorization_endpoint: Mapped[str] = mapped_column(Text)
    refreshed_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))


class SignInExchange(Base):
    """One sign-in by an OpenID provider: begun by the web tier, carried out by the notifier, used once.

    What is sealed opens for agents alone. The outcome is in columns that the notifier alone may write.
    """

    __tablename__ = "sign_in_exchanges"
    __table_args__ = (
        one_of("status", EXCHANGE_STATES),
        Index("ix_sign_in_exchanges_user", "user_id"),
        Index("ix_sign_in_exchanges_expires", "expires_at"),
        Index("ix_sign_in_exchanges_asked", "created_at", postgresql_where=text("status = 'asked'")),
    )

    #: Who began it to link an identity; None for signing in.
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    status: Mapped[str] = mapped_column(Text, server_default="begun")
    state_hash: Mapped[bytes] = mapped_column(LargeBinary)
    code_hash: Mapped[bytes | None] = mapped_column(LargeBinary)
    sealed_proof: Mapped[bytes | None] = mapped_column(LargeBinary)
    sealed_code: Mapped[bytes | None] = mapped_column(LargeBinary)
    proof_key_version: Mapped[int]
    proof_suite: Mapped[int] = mapped_column(SmallInteger)
    code_key_version: Mapped[int | None]
    code_suite: Mapped[int | None] = mapped_column(SmallInteger)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    issuer: Mapped[str | None] = mapped_column(Text)
    subject: Mapped[str | None] = mapped_column(Text)
    email: Mapped[str | None] = mapped_column(Text)
    email_verified: Mapped[bool | None]
    name: Mapped[str | None] = mapped_column(Text)
    error: Mapped[str | None] = mapped_column(Text)
