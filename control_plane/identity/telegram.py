"""Telegram's login widget: who somebody is there, proved by an HMAC whose key follows from the bot's token.

Payloads of mini apps are signed with another key (an HMAC of the token under "WebAppData") and do not pass here.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from msgspec import UNSET

from control_plane.errors import AppError
from control_plane.identity.factor_schemas import TelegramProof
from control_plane.identity.identities import NotConfiguredError, Proof, full_name_of
from control_plane.settings import Settings

ISSUER: Final = "https://telegram.org"
MAXIMUM_AGE_S: Final = 300
MAXIMUM_LEAD_S: Final = 60
_FIELDS = ("auth_date", "first_name", "id", "last_name", "photo_url", "username")


class TelegramRefusedError(AppError):
    """The payload is not Telegram's for our bot, or no longer good."""

    status, code, title = 401, "telegram_refused", "Telegram's answer does not hold"


def login_key_of(bot_token: str) -> bytes:
    """The widget's key: the SHA-256 of the bot's token. It checks sign-ins and cannot act as the bot."""
    return hashlib.sha256(bot_token.encode()).digest()


def login_key(settings: Settings) -> bytes:
    """This installation's key. Raises :class:`NotConfiguredError` where no bot is set."""
    if settings.telegram_login_key is not None:
        return bytes.fromhex(settings.telegram_login_key)
    if settings.telegram_bot_token is not None:
        return login_key_of(settings.telegram_bot_token)
    raise NotConfiguredError("Telegram", "telegram_not_configured")


def is_configured(settings: Settings) -> bool:
    """Whether people may sign in by Telegram here."""
    return settings.telegram_login_key is not None or settings.telegram_bot_token is not None


def check_string(payload: TelegramProof) -> bytes:
    """What Telegram signed: the fields that are there, in the order of their names, a line each."""
    given = ((name, getattr(payload, name)) for name in _FIELDS)
    return "\n".join(f"{name}={value}" for name, value in given if value is not UNSET).encode()


def proof_of(payload: TelegramProof, key: bytes, now: float) -> Proof:
    """Who the payload proves somebody to be. Raises :class:`TelegramRefusedError`."""
    signature = hmac.new(key, check_string(payload), hashlib.sha256).hexdigest()
    if not hmac.compare_digest(signature, payload.hash):
        raise TelegramRefusedError("the hash does not match what was sent: was it changed, or made for another bot?")
    if not now - MAXIMUM_AGE_S <= payload.auth_date <= now + MAXIMUM_LEAD_S:
        raise TelegramRefusedError(
            "this sign-in at Telegram is older than five minutes, or from the future: do it again",
            code="telegram_expired",
        )
    first = payload.first_name if isinstance(payload.first_name, str) else ""
    last = payload.last_name if isinstance(payload.last_name, str) else ""
    name = full_name_of(f"{first} {last}")
    label = f"@{payload.username}" if isinstance(payload.username, str) else name
    return Proof(
        provider="telegram",
        issuer=ISSUER,
        subject=str(payload.id),
        label=label,
        full_name=name,
        verified_email=None,
    )


def digest_of_proof(payload: TelegramProof) -> bytes:
    """What is kept of a payload that was used."""
    return hashlib.sha256(b"telegram" + bytes.fromhex(payload.hash)).digest()
