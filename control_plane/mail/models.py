"""The outbox. A mail may carry a code that opens an account, so its text is sealed for agents like any other secret."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Index, Integer, LargeBinary, SmallInteger, Text, text
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.database.base import Base, Timestamp


class Mail(Base):
    """One mail to be sent. No tenant owns it. ``sealed`` holds recipient, subject and text, and is gone once sent."""

    __tablename__ = "mails"
    __table_args__ = (
        Index("ix_mails_key_version", "key_version"),
        Index("ix_mails_due", "next_attempt_at", postgresql_where=text("sent_at is null and failed_at is null")),
    )

    kind: Mapped[str] = mapped_column(Text)
    sealed: Mapped[bytes | None] = mapped_column(LargeBinary)
    key_version: Mapped[int]
    suite: Mapped[int] = mapped_column(SmallInteger)
    attempts: Mapped[int] = mapped_column(Integer, server_default="0")
    next_attempt_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))
    sent_at: Mapped[datetime | None] = mapped_column(Timestamp)
    failed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    error: Mapped[str | None] = mapped_column(Text)
