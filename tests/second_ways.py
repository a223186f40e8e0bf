"""Second factors and other providers' proofs, as an authenticator and a login widget make them."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from typing import Any

import asyncpg

from control_plane.identity.totp import STEP_S, hotp, step_at
from tests.api import PASSWORD, Person

TELEGRAM_BOT = "123456:a-bot-of-the-tests"


def code_of(secret: str, ahead: int = 0) -> str:
    """The code that an authenticator shows, ``ahead`` steps from now."""
    seed = base64.b32decode(secret + "=" * (-len(secret) % 8))
    return hotp(seed, step_at(time.time() + ahead * STEP_S))


async def with_totp(person: Person) -> tuple[str, list[str]]:
    """Turn the second factor on; the seed in base32 and the recovery codes."""
    begun = await person.call("POST", "/me/totp", json={"password": PASSWORD}, status=201)
    confirmed = await person.call("POST", "/me/totp/confirm", json={"code": code_of(begun["secret"])}, status=200)
    return begun["secret"], confirmed["recovery_codes"]


async def later(admin: asyncpg.Connection) -> None:
    """As if some steps had passed since the last code: what was accepted lies further back."""
    await admin.execute("update totp_factors set last_step = last_step - 10")


def telegram_payload(bot: str = TELEGRAM_BOT, **fields: Any) -> dict[str, Any]:
    """What the login widget hands over, signed for ``bot``. A field that is None is left out."""
    given = {"id": 4711, "first_name": "Ada", "username": "ada_l", "auth_date": int(time.time()), **fields}
    sent = {name: value for name, value in given.items() if value is not None}
    lines = "\n".join(f"{name}={sent[name]}" for name in sorted(sent))
    key = hashlib.sha256(bot.encode()).digest()
    return {**sent, "hash": hmac.new(key, lines.encode(), hashlib.sha256).hexdigest()}
