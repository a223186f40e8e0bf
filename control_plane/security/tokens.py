"""Opaque tokens: 256 random bits to their bearer, SHA-256 to the database.

An API key is ``tw_live_<prefix>_<secret><checksum>``: 12 hexadecimal digits find it, 43 characters of base64url prove
it, and 6 of base 62 are the CRC-32 of all that stands before them. So a scanner for leaked keys knows one from a text
that only looks like it, and a slip in copying is told without asking the database. Keys from before the checksum end
without it.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import string
import zlib
from typing import Final

import msgspec

API_KEY_MARK: Final = "tw_live_"

_DIGITS: Final = string.digits + string.ascii_uppercase + string.ascii_lowercase
_CHECKSUM_LENGTH: Final = 6  # 62 ** 6 is more than 2 ** 32
_API_KEY: Final = re.compile(API_KEY_MARK + r"(?P<prefix>[0-9a-f]{12})_[A-Za-z0-9_-]{43}(?P<checksum>[0-9A-Za-z]{6})?")


class NewToken(msgspec.Struct, frozen=True):
    """A token at its making: the text is shown once and then forgotten."""

    text: str
    digest: bytes

    def __repr__(self) -> str:
        return "NewToken(…)"


class NewApiKey(msgspec.Struct, frozen=True):
    """An API key at its making."""

    text: str
    prefix: str
    digest: bytes

    def __repr__(self) -> str:
        return f"NewApiKey(prefix={self.prefix!r})"


def digest_of(token: str) -> bytes:
    """What the database keeps of a token. The token has 256 bits of its own, so a plain SHA-256 is enough."""
    return hashlib.sha256(token.encode()).digest()


def new_token() -> NewToken:
    """A session token."""
    text = secrets.token_urlsafe(32)
    return NewToken(text=text, digest=digest_of(text))


def new_api_key() -> NewApiKey:
    """An API key whose prefix finds it and whose secret proves it."""
    prefix = secrets.token_hex(6)
    text = f"{API_KEY_MARK}{prefix}_{secrets.token_urlsafe(32)}"
    text += checksum_of(text)
    return NewApiKey(text=text, prefix=prefix, digest=digest_of(text))


def checksum_of(text: str) -> str:
    """The CRC-32 of ``text`` in base 62, six characters. It guards against slips and proves nothing."""
    number, found = zlib.crc32(text.encode()), ""
    for _ in range(_CHECKSUM_LENGTH):
        number, digit = divmod(number, len(_DIGITS))
        found = _DIGITS[digit] + found
    return found


def is_api_key(token: str) -> bool:
    """Whether ``token`` is meant to be an API key, whole or not."""
    return token.startswith(API_KEY_MARK)


def api_key_prefix(token: str) -> str | None:
    """The prefix inside an API key, or None where ``token`` is not one: mistyped, cut off, or something else."""
    found = _API_KEY.fullmatch(token)
    if found is None:
        return None
    checksum = found["checksum"]
    if checksum is not None and checksum != checksum_of(token[: -len(checksum)]):
        return None
    return found["prefix"]
