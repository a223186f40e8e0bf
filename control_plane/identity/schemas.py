"""Bodies of identity: what comes in is strict, what goes out has no defaults."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec

from control_plane.http.patterns import END, NAME
from control_plane.identity.factor_schemas import FactorCode
from control_plane.security.passwords import MAXIMUM_LENGTH, MINIMUM_LENGTH

Email = Annotated[
    str,
    msgspec.Meta(
        min_length=3, max_length=254, pattern=r"^[^@\s\x00-\x1f]{1,64}@[^@\s\x00-\x1f]+\.[^@\s\x00-\x1f.]+" + END
    ),
]
Password = Annotated[str, msgspec.Meta(min_length=MINIMUM_LENGTH, max_length=MAXIMUM_LENGTH)]
Code = Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=NAME)]


class SignUp(msgspec.Struct, forbid_unknown_fields=True):
    """A new person."""

    email: Email
    password: Password
    full_name: Name | None = None


class SignIn(msgspec.Struct, forbid_unknown_fields=True):
    """An address and its password; ``totp``, a code of the authenticator or a recovery code, where the account asks."""

    email: Annotated[str, msgspec.Meta(min_length=1, max_length=254)]
    password: Annotated[str, msgspec.Meta(min_length=1, max_length=MAXIMUM_LENGTH)]
    totp: FactorCode | None = None


class EmailOnly(msgspec.Struct, forbid_unknown_fields=True):
    """An address to mail a code to."""

    email: Email


class VerifyEmail(msgspec.Struct, forbid_unknown_fields=True):
    """An address and the code that was mailed to it."""

    email: Email
    code: Code


class ResetPassword(msgspec.Struct, forbid_unknown_fields=True):
    """An address, the code that was mailed to it, and the password to be."""

    email: Email
    code: Code
    new_password: Password


class ChangePassword(msgspec.Struct, forbid_unknown_fields=True):
    """The password as it is, and as it is to be."""

    current_password: Annotated[str, msgspec.Meta(min_length=1, max_length=MAXIMUM_LENGTH)]
    new_password: Password


class Accepted(msgspec.Struct, frozen=True):
    """The same answer whether or not the address was known."""

    message: str


class UserView(msgspec.Struct, frozen=True):
    """A person."""

    id: UUID
    email: str | None
    full_name: str | None
    status: str
    email_verified: bool
    totp_enabled: bool
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


class SessionView(msgspec.Struct, frozen=True):
    """A place where a person is signed in. ``current`` marks the one that asks."""

    id: UUID
    created_at: datetime
    last_seen_at: datetime
    expires_at: datetime
    address: str | None
    user_agent: str | None
    current: bool


class PatchMe(msgspec.Struct, forbid_unknown_fields=True):
    """What a person may change about themself."""

    full_name: Name | None
