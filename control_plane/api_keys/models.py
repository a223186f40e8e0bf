"""The table of API keys. A key is found before the tenant is known, by a function in policies/api_keys.sql."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, Index, LargeBinary, Text, Uuid
from sqlalchemy.dialects.postgresql import ARRAY, CIDR, INET
from sqlalchemy.orm import Mapped, mapped_column

from control_plane.database.base import Base, TenantOwned, Timestamp, tenant_index, tenant_key, tenant_reference


class ApiKey(Base, TenantOwned):
    """A key for programs. Shown once; ``prefix`` finds it, ``key_hash`` proves it."""

    __tablename__ = "api_keys"
    __table_args__ = (
        tenant_key("api_keys"),
        tenant_reference("api_keys", "replaced_by", "api_keys", ondelete="SET NULL (replaced_by)"),
        tenant_reference("api_keys", "made_with", "api_keys"),
        tenant_index("api_keys", "created_by"),
        Index("ix_api_keys_created_by", "created_by"),
        tenant_index("api_keys", "replaced_by"),
        tenant_index("api_keys", "made_with"),
    )

    #: The person whom the key acts as.
    created_by: Mapped[UUID] = mapped_column(ForeignKey("users.id", ondelete="CASCADE"))
    name: Mapped[str] = mapped_column(Text)
    prefix: Mapped[str] = mapped_column(Text, unique=True)
    key_hash: Mapped[bytes] = mapped_column(LargeBinary)
    scopes: Mapped[list[str]] = mapped_column(ARRAY(Text))
    #: The only bots that it reaches; None for all of the tenant.
    bot_ids: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid))
    #: The only networks that it may be used from; None for everywhere.
    allowed_addresses: Mapped[list[str] | None] = mapped_column(ARRAY(CIDR))
    #: For a key that was replaced: the end of its overlap.
    expires_at: Mapped[datetime | None] = mapped_column(Timestamp)
    last_used_at: Mapped[datetime | None] = mapped_column(Timestamp)
    last_used_from: Mapped[str | None] = mapped_column(INET)
    revoked_at: Mapped[datetime | None] = mapped_column(Timestamp)
    replaced_by: Mapped[UUID | None]
    #: The key that made this one, and that takes it along when it is revoked; None where a person made it.
    made_with: Mapped[UUID | None]
