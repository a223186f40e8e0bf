"""Opaque tokens: 256 random bits to their bearer, SHA-256 to the database."""

from __future__ import annotations

import hashlib
import secrets

import msgspec

API_KEY_MARK = "tw_live_"


class NewToken(msgspec.Struct, frozen=True):
    """A token at its making: the text is shown once and then forgotten."""

    text: str
    digest: bytes

    def __repr__(self) -> str:
        return "NewToken(…)"


class NewApiKey(msgspec.Struct, frozen=True):
    """An API key at its making: ``tw_live_<prefix>_<secret>``."""

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
    return NewApiKey(text=text, prefix=prefix, digest=digest_of(text))


def api_key_prefix(token: str) -> str | None:
    """The prefix inside an API key, or None where ``token`` is not one."""
    if not token.startswith(API_KEY_MARK):
        return None
    prefix, _, secret = token.removeprefix(API_KEY_MARK).partition("_")
    return prefix if prefix and secret else None
