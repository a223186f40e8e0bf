"""Typed credentials, one shape an engine: how a bot is spoken to, checked when it is given and when it is opened.

The API decodes what a tenant typed, seals `encode_credentials` of it and forgets it; an agent opens the sealed bytes
and decodes them by the same rules. Values never appear in a repr, an error or a log.
"""

import re
import secrets
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, ClassVar

import msgspec

# No control characters and no lone surrogates: nothing that could end a header line or fail to encode.
Text = Annotated[str, msgspec.Meta(min_length=1, max_length=256, pattern=r"\A[^\x00-\x1f\x7f-\x9f\ud800-\udfff]+\Z")]
# RFC 7617: the first colon ends the user name.
UserName = Annotated[
    str, msgspec.Meta(min_length=1, max_length=128, pattern=r"\A[^:\x00-\x1f\x7f-\x9f\ud800-\udfff]+\Z")
]
# Goes into a header as it is: visible ASCII only.
Token = Annotated[str, msgspec.Meta(min_length=1, max_length=4096, pattern=r"\A[\x21-\x7e]+\Z")]

_HARMLESS_NAME = re.compile(r"[a-z_]{1,32}")
_MAX_SEALED_BYTES = 16_384


class CredentialError(ValueError):
    """Credentials that do not fit their engine.

    `code` is `engine_unknown` or `credentials_invalid`; `field` names the offending field, `credentials` for the whole.
    The message never repeats a value.
    """

    def __init__(self, code: str, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.code = code
        self.field = field
        self.message = message


class Credential(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What all credentials share: they show nothing of themselves."""

    hints: ClassVar[Mapping[str, str]] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(redacted)"

    @property
    def last4(self) -> str | None:
        """The last four characters where they are safe to show: of a long machine-made token, never of a password."""
        return None

    @property
    def secret(self) -> str:
        """The value that opens the bot to whoever knows it: the last field of each shape."""
        return str(getattr(self, self.__struct_fields__[-1]))


class FreqtradeCredential(Credential, frozen=True, forbid_unknown_fields=True):
    """User name and password of freqtrade's API server, sent by HTTP Basic on each call: it has no long-lived key."""

    username: UserName
    password: Text

    hints: ClassVar[Mapping[str, str]] = {
        "username": "1 to 128 characters without a colon or control characters",
        "password": "1 to 256 characters without control characters",
    }


class TradewiseCredential(Credential, frozen=True, forbid_unknown_fields=True):
    """The bearer token of our own bot API."""

    token: Token

    hints: ClassVar[Mapping[str, str]] = {"token": "1 to 4096 visible ASCII characters without spaces"}

    @property
    def last4(self) -> str | None:
        return self.token[-4:] if len(self.token) >= 16 else None


ENGINES: dict[str, type[Credential]] = {"freqtrade": FreqtradeCredential, "tradewise": TradewiseCredential}
"""Every engine that a bot can name, with the shape of its credentials. `control_plane.engines.registry` adds others:
whoever knows a family has loaded it."""


_MADE_FOR = "tradewise"
_MADE_BYTES = 32


def make_credentials(engine: str) -> Credential:
    """New credentials for a bot that we run, whose owner gave none. Raises `KeyError` for an engine without a shape."""
    made = secrets.token_urlsafe(_MADE_BYTES)
    if ENGINES[engine] is FreqtradeCredential:
        return FreqtradeCredential(username=_MADE_FOR, password=made)
    return TradewiseCredential(token=made)


def decode_credentials(engine: str, raw: Mapping[str, Any] | bytes) -> Credential:
    """Check credentials against their engine: a mapping from a request body, or the JSON bytes that were sealed.

    Raises `CredentialError` naming the field, never a value.
    """
    expected = ENGINES.get(engine)
    if expected is None:
        raise CredentialError("engine_unknown", "engine", f"is not one of {', '.join(sorted(ENGINES))}")
    fields = _as_mapping(raw)
    names = expected.__struct_fields__
    for name in map(str, fields):
        if name not in names:
            # A secret pasted in the place of a name must not come back either.
            shown = name if _HARMLESS_NAME.fullmatch(name) else "credentials"
            raise _invalid(shown, f"is not known here; {engine} takes exactly: {', '.join(names)}")
    for field in _fields(expected):
        if field.name not in fields and field.required:
            raise _invalid(field.name, "is missing")
    return _convert(expected, fields)


def encode_credentials(credential: Credential) -> bytes:
    """The JSON bytes to seal; `decode_credentials` reads them back."""
    return msgspec.json.encode(credential)


def _as_mapping(raw: Mapping[str, Any] | bytes) -> Mapping[str, Any]:
    if not isinstance(raw, bytes):
        return raw
    if len(raw) > _MAX_SEALED_BYTES:
        raise _invalid("credentials", "is too long")
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError):
        # The cause would carry a piece of the text: it ends here.
        raise _invalid("credentials", "is not a JSON object") from None


@cache
def _fields(expected: type[Credential]) -> tuple[msgspec.structs.FieldInfo, ...]:
    # Read from the annotations once: a poller that takes over a hundred thousand bots decodes the credentials of all.
    return msgspec.structs.fields(expected)


def _convert(expected: type[Credential], fields: Mapping[str, Any]) -> Credential:
    """Field by field, so that the failing one is known without reading it out of an error's text."""
    for field in _fields(expected):
        if field.name not in fields:
            continue
        try:
            msgspec.convert(fields[field.name], field.type)
        except (msgspec.ValidationError, UnicodeEncodeError):
            raise _invalid(field.name, f"must be text of {expected.hints[field.name]}") from None
    return expected(**fields)


def _invalid(field: str, message: str) -> CredentialError:
    return CredentialError("credentials_invalid", field, message)
