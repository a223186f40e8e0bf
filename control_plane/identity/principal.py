"""Who is calling, for which tenant, and what they may do."""

from __future__ import annotations

from uuid import UUID

import msgspec

from control_plane.database.connection import Binding
from control_plane.errors import ForbiddenError


class Principal(msgspec.Struct, frozen=True):
    """A caller whose credential held."""

    user_id: UUID
    #: None for somebody who signs in by another provider that tells no address.
    email: str | None
    full_name: str | None
    tenant_id: UUID
    role: str
    scopes: frozenset[str]
    #: The name of that tenant, known for a session; nobody shows it to a key.
    tenant_name: str | None = None
    session_id: UUID | None = None
    key_id: UUID | None = None
    #: The only bots that a restricted API key reaches; None for all of the tenant.
    bots: frozenset[UUID] | None = None
    #: Where the request came from, and which one it was.
    address: str | None = None
    request_id: UUID | None = None

    @property
    def cause(self) -> str:
        """How a change made by this caller is told in histories: ``person`` or ``key``."""
        return "key" if self.key_id is not None else "person"

    @property
    def actor(self) -> str:
        """``key:<id>`` or ``user:<id>``."""
        return f"key:{self.key_id}" if self.key_id is not None else f"user:{self.user_id}"

    @property
    def binding(self) -> Binding:
        """Whose rows this caller's transactions may touch."""
        return Binding(
            tenant_id=self.tenant_id,
            user_id=self.user_id,
            actor=self.actor,
            address=self.address,
            request_id=self.request_id,
            bots=tuple(sorted(self.bots)) if self.bots is not None else None,
        )

    def reaches(self, bot_id: UUID) -> bool:
        """Whether this caller may know of a bot of the tenant."""
        return self.bots is None or bot_id in self.bots

    def require(self, scope: str) -> None:
        """Raise :class:`ForbiddenError` unless this caller holds ``scope``."""
        if scope not in self.scopes:
            who = "this API key" if self.key_id is not None else f"the role {self.role}"
            raise ForbiddenError(f"{who} does not hold the scope {scope}", code="missing_scope")
