"""Bodies of second factors and of sign-in by others."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import UNSET, UnsetType

from control_plane.http.patterns import END
from control_plane.security.passwords import MAXIMUM_LENGTH

#: A code of an authenticator, or a recovery code.
FactorCode = Annotated[str, msgspec.Meta(min_length=6, max_length=40)]
#: Text of the login widget. Without line breaks: the signed text is lines, and a name must not become another line.
_Line = Annotated[str, msgspec.Meta(min_length=1, max_length=1024, pattern=r"^[^\x00-\x1f\x7f\x85\u2028\u2029]+" + END)]


class NewTotp(msgspec.Struct, forbid_unknown_fields=True):
    """The password, to show that it is still you; not needed in the first five minutes of a session."""

    password: Annotated[str, msgspec.Meta(min_length=1, max_length=MAXIMUM_LENGTH)] | None = None


class TotpSeed(msgspec.Struct, frozen=True):
    """A fresh seed, shown here and never again. In force once a code of it was confirmed."""

    secret: str
    otpauth_uri: str


class Code(msgspec.Struct, forbid_unknown_fields=True):
    """A code of the authenticator; where something is changed or taken away, a recovery code will do."""

    code: FactorCode


class RecoveryCodes(msgspec.Struct, frozen=True):
    """Codes that each stand in for the authenticator once. Shown here and never again."""

    recovery_codes: list[str]


class TotpView(msgspec.Struct, frozen=True):
    """Whether a second factor is asked for at sign-in, since when, and how many recovery codes are left."""

    enabled: bool
    enabled_at: datetime | None
    recovery_codes_left: int


class IdentityView(msgspec.Struct, frozen=True):
    """Who the caller is at another provider."""

    id: UUID
    provider: str
    issuer: str
    label: str | None
    created_at: datetime
    last_used_at: datetime | None


class TelegramProof(msgspec.Struct, forbid_unknown_fields=True):
    """What Telegram's login widget hands over, as it is."""

    id: Annotated[int, msgspec.Meta(ge=1, lt=2**53)]
    auth_date: Annotated[int, msgspec.Meta(ge=0, lt=2**40)]
    hash: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}" + END)]
    first_name: _Line | UnsetType = UNSET
    last_name: _Line | UnsetType = UNSET
    username: _Line | UnsetType = UNSET
    photo_url: _Line | UnsetType = UNSET


class TelegramSignIn(TelegramProof, forbid_unknown_fields=True):
    """The widget's answer, and a second factor where the account has one."""

    totp: FactorCode | None = None


class OidcProof(msgspec.Struct, forbid_unknown_fields=True):
    """What the provider gave to the browser on its way back."""

    code: Annotated[str, msgspec.Meta(min_length=1, max_length=4096, pattern=r"^[\x20-\x7e]+" + END)]
    state: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9_-]{64}" + END)]


class OidcSignIn(OidcProof, forbid_unknown_fields=True):
    """What the provider gave, and a second factor where the account has one."""

    totp: FactorCode | None = None


class OidcStart(msgspec.Struct, frozen=True):
    """Where to send the browser. It must come back with this very ``state``, or it was somebody else's sign-in."""

    authorization_url: str
    state: str


class Providers(msgspec.Struct, frozen=True):
    """Ways in besides a password; null for one that this installation has not."""

    #: The bot of Telegram's login widget.
    telegram_bot_name: str | None
    #: What people call the OpenID provider.
    oidc_name: str | None
