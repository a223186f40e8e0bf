"""Tables of accounts that the web tier reaches by the functions of policies/accounts.sql alone."""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, Text, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.database.base import Base, Table, Timestamp, one_of

PURPOSES: Final = ("verify_email", "reset_password")


class VerificationCode(Base):
    """The one code that is good for a purpose at an address; a newer one takes its place.

    ``address`` is a digest. There are rows for addresses that nobody has here as well, with no ``user_id``: so asking
    for a code, and trying one, is the same work for every address.
    """

    __tablename__ = "verification_codes"
    __table_args__ = (
        one_of("purpose", PURPOSES),
        UniqueConstraint("purpose", "address", name="uq_verification_codes_address"),
        Index("ix_verification_codes_user", "user_id"),
        Index("ix_verification_codes_expires", "expires_at"),
    )

    purpose: Mapped[str] = mapped_column(Text)
    address: Mapped[bytes] = mapped_column(LargeBinary)
    user_id: Mapped[UUID | None] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    code_hash: Mapped[bytes] = mapped_column(LargeBinary)
    expires_at: Mapped[datetime] = mapped_column(Timestamp)
    used_at: Mapped[datetime | None] = mapped_column(Timestamp)
    #: How often it was tried.
    attempts: Mapped[int] = mapped_column(server_default="0")


class SignInFailure(Table):
    """Wrong passwords in a row for an account from a network, both kept as digests.

    ``pending`` attempts are let in and not yet judged: they count as failures until they turn out otherwise.
    """

    __tablename__ = "sign_in_failures"
    __table_args__ = (Index("ix_sign_in_failures_last", "last_at"),)

    account: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    network: Mapped[bytes] = mapped_column(LargeBinary, primary_key=True)
    failures: Mapped[int] = mapped_column(server_default="0")
    pending: Mapped[int] = mapped_column(server_default="0")
    pending_until: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
    locked_until: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
    last_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
