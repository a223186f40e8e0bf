"""Tables of what a launched copy holds besides its bot's one place: a port of the host, an account of an exchange.

No tenant owns them and none reads them: what is leased is scarce for the whole installation. Triggers in
policies/ports.sql give a lease back with the copy's place, so that no way of losing a copy can lose a port.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Index,
    Integer,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.database.base import Base, Table, Timestamp, one_of

PROTOCOLS: Final = ("tcp",)
PORT_STATES: Final = ("free", "leased", "foreign")


class PortLease(Table):
    """One port of one host: a row for each of the range, so that a claim is one statement on one row.

    A free port remembers who had it last: that bot may have it again at once, another one after a while.
    """

    __tablename__ = "port_leases"
    __table_args__ = (
        PrimaryKeyConstraint("host", "proto", "port", name="pk_port_leases"),
        one_of("proto", PROTOCOLS),
        one_of("state", PORT_STATES),
        Index("ix_port_leases_free", "host", "proto", "port", postgresql_where=text("state <> 'leased'")),
        Index("ix_port_leases_bot", "bot_id"),
        Index("ix_port_leases_instance", "instance_id"),
    )

    host: Mapped[str] = mapped_column(Text)
    proto: Mapped[str] = mapped_column(Text, server_default="tcp")
    port: Mapped[int]
    state: Mapped[str] = mapped_column(Text, server_default="free")
    bot_id: Mapped[UUID | None]
    instance_id: Mapped[UUID | None]
    generation: Mapped[int] = mapped_column(Integer, server_default="0")
    """Counts claims of this port: a lease of an earlier one can never be mistaken for this one's."""
    claimed_at: Mapped[datetime | None] = mapped_column(Timestamp)
    released_at: Mapped[datetime | None] = mapped_column(Timestamp)
    foreign_until: Mapped[datetime | None] = mapped_column(Timestamp)


class AccountLease(Table):
    """An exchange account that a live copy trades, by a keyed fingerprint: its row is the fence against another."""

    __tablename__ = "account_leases"
    __table_args__ = (
        PrimaryKeyConstraint("fingerprint", name="pk_account_leases"),
        UniqueConstraint("instance_id", name="uq_account_leases_instance"),
    )

    fingerprint: Mapped[bytes] = mapped_column(LargeBinary)
    bot_id: Mapped[UUID]
    instance_id: Mapped[UUID]
    claimed_at: Mapped[datetime] = mapped_column(Timestamp, server_default=text("now()"))


class AccountKey(Base):
    """The one key that fingerprints are made with, wrapped like tenants' keys: a dump of the database cannot use it."""

    __tablename__ = "account_keys"
    __table_args__ = (Index("uq_account_keys_only", text("(true)"), unique=True),)

    wrapped_private_key: Mapped[bytes] = mapped_column(LargeBinary)
    kek_id: Mapped[str] = mapped_column(Text)


class PollShard(Table):
    """One of 256 shards of bots: a poller holds it for a short while at a time, and looks after all its bots.

    A bot's shard is the last byte of its id.
    """

    __tablename__ = "poll_shards"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)

    shard: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    holder: Mapped[UUID | None]
    """The poller's process."""
    epoch: Mapped[int] = mapped_column(BigInteger, server_default="0")
    """Counts changes of hands: what was seen under an earlier one may not be recorded any more."""
    lease_until: Mapped[datetime | None] = mapped_column(Timestamp)
