"""Who is calling, for which tenant, and what they may do."""

from __future__ import annotations

from uuid import UUID

import msgspec

from control_plane.database.connection import Binding
from control_plane.errors import ForbiddenError
from control_plane.identity.schemas import TenantView


class NotAMemberError(ForbiddenError):
    """The tenant that was asked for is none of the caller's, whether or not there is one of that id."""

    code = "not_a_member"


class Principal(msgspec.Struct, frozen=True):
    """A caller whose credential held."""

    user_id: UUID
    #: None for somebody who signs in by another provider that tells no address.
    email: str | None
    full_name: str | None
    #: The tenant acted in; None for a person who is in none, which only operations with ``tenant="any"`` let in.
    tenant: UUID | None
    role: str | None
    scopes: frozenset[str]
    #: The status of that tenant: in a suspended one, people read and change nothing.
    tenant_status: str = "active"
    #: The name of that tenant, known for a session; nobody shows it to a key.
    tenant_name: str | None = None
    #: All that a person may act in, the tenant above among them; a key says nothing of others.
    tenants: tuple[TenantView, ...] = ()
    session_id: UUID | None = None
    key_id: UUID | None = None
    #: The only bots that a restricted API key reaches; None for all of the tenant.
    bots: frozenset[UUID] | None = None
    #: Where the request came from, and which one it was.
    address: str | None = None
    request_id: UUID | None = None

    @property
    def tenant_id(self) -> UUID:
        """The tenant acted in. Raises :class:`ForbiddenError` for a person who is in none."""
        if self.tenant is None:
            raise ForbiddenError(
                "you are a member of no tenant: make one with POST /tenants, or accept an invitation",
                code="not_a_member",
            )
        return self.tenant

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
            tenant_id=self.tenant,
            user_id=self.user_id,
            actor=self.actor,
            address=self.address,
            request_id=self.request_id,
            bots=tuple(sorted(self.bots)) if self.bots is not None else None,
        )

    def reaches(self, bot_id: UUID) -> bool:
        """Whether this caller may know of a bot of the tenant."""
        return self.bots is None or bot_id in self.bots

    def require(self, scope: str, *, even_suspended: bool = False) -> None:
        """Raise :class:`ForbiddenError` unless this caller holds ``scope``, and may use it now.

        In a suspended tenant nothing but reading is left, and what ends the suspension (``even_suspended``).
        """
        if scope not in self.scopes:
            who = "this API key" if self.key_id is not None else f"the role {self.role}"
            raise ForbiddenError(f"{who} does not hold the scope {scope}", code="missing_scope")
        if self.tenant_status == "suspended" and not scope.endswith(":read") and not even_suspended:
            raise TenantSuspendedError

    def require_tenant(self) -> None:
        """Raise :class:`ForbiddenError` for a person who is in no tenant."""
        _ = self.tenant_id

    def require_person(self) -> None:
        """Raise :class:`ForbiddenError` where a person must act and an API key is calling."""
        if self.key_id is not None:
            raise ForbiddenError("this needs a signed-in person; an API key cannot do it", code="person_required")


class TenantSuspendedError(ForbiddenError):
    """The tenant is suspended: it can be read, and an owner can resume what an owner has suspended."""

    code, title = "tenant_suspended", "This tenant is suspended"

    def __init__(self) -> None:
        super().__init__("this tenant is suspended: until it is resumed, it can be read and not changed")
