"""Bodies of identity: what comes in is strict, what goes out has no defaults."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from control_plane.http.patterns import END, NAME
from control_plane.security.passwords import MAXIMUM_LENGTH, MINIMUM_LENGTH

Email = Annotated[
    str,
    msgspec.Meta(
        min_length=3, max_length=254, pattern=r"^[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]+\.[^@\s\x00-\x1f.]+" + END
    ),
]
Password = Annotated[str, msgspec.Meta(min_length=MINIMUM_LENGTH, max_length=MAXIMUM_LENGTH)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=NAME)]


class SignUp(msgspec.Struct, forbid_unknown_fields=True):
    """A new person."""

    email: Email
    password: Password
    full_name: Name | None = None


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    """An address and its password."""

    email: Annotated[str, msgspec.Meta(min_length=1, max_length=254)]
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=MAXIMUM_LENGTH)]


class Accepted(msgspec.Struct, frozen=True):
    """The same answer whether or not the address was known."""

    message: str


class UserView(msgspec.Struct, frozen=True):
    """A person."""

    id: UUID
    email: str | None
    full_name: str | None
    status: str
    last_sign_in_at: datetime | None
    created_at: datetime


class TenantView(msgspec.Struct, frozen=True):
    """A tenant and the caller's role in it."""

    id: UUID
    name: str
    plan: str
    role: str
    status: str


class MeView(msgspec.Struct, frozen=True):
    """The caller: the person, the tenant acted in (null for somebody in none), and what may be done there."""

    user: UserView
    tenant: TenantView | None
    tenants: list[TenantView]
    scopes: list[str]


class PatchMe(msgspec.Struct, forbid_unknown_fields=True):
    """What a person may change about themself."""

    full_name: Name | None


class NewKey(msgspec.Struct, forbid_unknown_fields=True):
    """An API key to be made. ``scopes`` must be ones that the caller holds."""

    name: Name
    scopes: Annotated[list[str], msgspec.Meta(min_length=1, max_length=50)]
    expires_at: datetime | None = None


class KeyView(msgspec.Struct, frozen=True):
    """An API key. ``key`` is there once, in the answer that makes it, and null ever after."""

    id: UUID
    name: str
    prefix: str
    scopes: list[str]
    created_at: datetime
    expires_at: datetime | None
    last_used_at: datetime | None
    revoked_at: datetime | None
    key: str | None
