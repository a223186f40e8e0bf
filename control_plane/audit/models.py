"""Tables of the audit log. Nothing here refers to a tenant's row: the log outlives the tenant that it tells of.

What belongs to no tenant is told in the platform's chain, where the installation's id stands in a tenant's place.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    Identity,
    LargeBinary,
    PrimaryKeyConstraint,
    SmallInteger,
    Text,
    UniqueConstraint,
    text,
)
from sqlalchemy.dialects.postgresql import INET, JSONB
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.database.base import Base, Table, Timestamp, one_of, tenant_index

ACTOR_KINDS: Final = ("user", "key", "agent", "role")
OUTCOMES: Final = ("success", "failure", "denied")

_EMPTY = text("'{}'::jsonb")


class AuditEvent(Table):
    """One event, linked to the one before it in its tenant's chain. Append-only; ``seq`` has no gaps.

    ``hash`` is SHA-256 over every other column, ``prev_hash`` included: see ``audit_encoded`` in policies/audit.sql.
    ``at`` never goes back along a chain, so that a month that is dropped is the beginning of what was kept.
    """

    __tablename__ = "audit_events"
    __table_args__ = (
        one_of("actor_kind", ACTOR_KINDS),
        one_of("outcome", OUTCOMES),
        PrimaryKeyConstraint("tenant_id", "seq", "at", name="pk_audit_events"),
        tenant_index("audit_events", "resource", "resource_id", "seq"),
        tenant_index("audit_events", "actor_kind", "actor_id", "seq"),
        tenant_index("audit_events", "action", "seq"),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    tenant_id: Mapped[UUID]
    seq: Mapped[int] = mapped_column(BigInteger)
    id: Mapped[UUID]
    at: Mapped[datetime] = mapped_column(Timestamp)
    actor_kind: Mapped[str] = mapped_column(Text)
    actor_id: Mapped[str] = mapped_column(Text)
    #: The person who acted, or whose key did.
    user_id: Mapped[UUID | None]
    address: Mapped[str | None] = mapped_column(INET)
    request_id: Mapped[UUID | None]
    action: Mapped[str] = mapped_column(Text)
    resource: Mapped[str | None] = mapped_column(Text)
    resource_id: Mapped[UUID | None]
    outcome: Mapped[str] = mapped_column(Text)
    changes: Mapped[dict[str, Any]] = mapped_column(JSONB)
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB)
    prev_hash: Mapped[bytes] = mapped_column(LargeBinary)
    hash: Mapped[bytes] = mapped_column(LargeBinary)


class AuditPending(Table):
    """What the present transaction has to tell, until its COMMIT links it into the chains. Nobody ever sees a row."""

    __tablename__ = "audit_pending"
    __table_args__ = (
        PrimaryKeyConstraint("xact", "n", name="pk_audit_pending"),
        {
            "prefixes": ["UNLOGGED"],
            "postgresql_with": {
                "autovacuum_vacuum_scale_factor": "0",
                "autovacuum_vacuum_threshold": "1000",
                "autovacuum_analyze_threshold": "2000000000",
            },
        },
    )

    xact: Mapped[int] = mapped_column(BigInteger)
    n: Mapped[int] = mapped_column(BigInteger, Identity(always=True))
    tenant_id: Mapped[UUID]
    actor_kind: Mapped[str] = mapped_column(Text)
    actor_id: Mapped[str] = mapped_column(Text)
    user_id: Mapped[UUID | None]
    address: Mapped[str | None] = mapped_column(INET)
    request_id: Mapped[UUID | None]
    action: Mapped[str] = mapped_column(Text)
    resource: Mapped[str | None] = mapped_column(Text)
    resource_id: Mapped[UUID | None]
    outcome: Mapped[str] = mapped_column(Text)
    changes: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=_EMPTY)
    detail: Mapped[dict[str, Any]] = mapped_column(JSONB, server_default=_EMPTY)


class AuditChain(Table):
    """The head of one tenant's chain: locked last, at COMMIT, and in the order of ids where there are several."""

    __tablename__ = "audit_chains"
    __table_args__ = ({"postgresql_with": {"fillfactor": "50"}},)

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    at: Mapped[datetime] = mapped_column(Timestamp)


class AuditKey(Base):
    """One version of the key pair that signs heads of chains: the private half wrapped for agents alone."""

    __tablename__ = "audit_keys"
    __table_args__ = (UniqueConstraint("version", name="uq_audit_keys_version"),)

    version: Mapped[int]
    suite: Mapped[int] = mapped_column(SmallInteger)
    public_key: Mapped[bytes] = mapped_column(LargeBinary)
    wrapped_private_key: Mapped[bytes | None] = mapped_column(LargeBinary)
    kek_id: Mapped[str] = mapped_column(Text)


class AuditCheckpoint(Table):
    """The head of a chain as an agent saw and signed it. Append-only, kept as long as the events of its month."""

    __tablename__ = "audit_checkpoints"
    __table_args__ = (
        PrimaryKeyConstraint("tenant_id", "seq", "at", name="pk_audit_checkpoints"),
        {"postgresql_partition_by": "RANGE (at)"},
    )

    tenant_id: Mapped[UUID]
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    at: Mapped[datetime] = mapped_column(Timestamp)
    key_version: Mapped[int]
    signature: Mapped[bytes] = mapped_column(LargeBinary)


class AuditAnchor(Table):
    """The last event of a chain before a month that was dropped, signed: what is left begins after it."""

    __tablename__ = "audit_anchors"
    __table_args__ = (PrimaryKeyConstraint("tenant_id", "seq", name="pk_audit_anchors"),)

    tenant_id: Mapped[UUID]
    seq: Mapped[int] = mapped_column(BigInteger)
    hash: Mapped[bytes] = mapped_column(LargeBinary)
    at: Mapped[datetime] = mapped_column(Timestamp)
    key_version: Mapped[int]
    signature: Mapped[bytes] = mapped_column(LargeBinary)
