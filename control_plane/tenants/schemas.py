"""Bodies of tenants, members and invitations."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal
from uuid import UUID

import msgspec

from control_plane.http.patterns import NAME
from control_plane.identity.schemas import Email

TenantName = Annotated[str, msgspec.Meta(min_length=1, max_length=100, pattern=NAME)]
Role = Literal["owner", "admin", "trader", "viewer"]


class NewTenant(msgspec.Struct, forbid_unknown_fields=True):
    """A further tenant. Whoever makes it is its owner."""

    name: TenantName


class PatchTenant(msgspec.Struct, forbid_unknown_fields=True):
    """What may be changed of a tenant."""

    name: TenantName


class EndTenant(msgspec.Struct, forbid_unknown_fields=True):
    """That it is meant: ``confirm`` is the tenant's name. ``end_subscriptions`` ends what others subscribe to."""

    confirm: Annotated[str, msgspec.Meta(max_length=200)]
    end_subscriptions: bool = False


class EndMe(msgspec.Struct, forbid_unknown_fields=True):
    """That it is meant: ``confirm`` is the account's address, or its id where it has none."""

    confirm: Annotated[str, msgspec.Meta(max_length=300)]
    end_subscriptions: bool = False


class PatchMember(msgspec.Struct, forbid_unknown_fields=True):
    """Another role."""

    role: Role


class NewOwner(msgspec.Struct, forbid_unknown_fields=True):
    """The member who becomes the owner in the caller's place."""

    user_id: UUID


class NewInvitation(msgspec.Struct, forbid_unknown_fields=True):
    """A role, offered to whoever reads the mail of an address."""

    email: Email
    role: Role


class AcceptInvitation(msgspec.Struct, forbid_unknown_fields=True):
    """The token of the mail."""

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


class TenantDetail(msgspec.Struct, frozen=True):
    """A tenant as its members see it, and the caller's role in it."""

    id: UUID
    name: str
    plan: str
    role: str
    status: str
    suspended_at: datetime | None
    suspended_by: str | None
    suspended_reason: str | None
    created_at: datetime
    updated_at: datetime


class MemberView(msgspec.Struct, frozen=True):
    """A member."""

    user_id: UUID
    email: str | None
    full_name: str | None
    role: str
    joined_at: datetime


class InvitationView(msgspec.Struct, frozen=True):
    """An open invitation. Its token is in the mail alone."""

    id: UUID
    email: str
    role: str
    invited_by: UUID
    expires_at: datetime
    created_at: datetime
