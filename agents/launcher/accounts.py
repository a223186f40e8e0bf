"""The fence around an exchange account: where a template says what names it, no two live copies trade one account.

What names the account is opened for a launch anyway; kept is only its fingerprint under a key of the installation,
which is wrapped by the key-encryption key. Whoever has a dump can neither read an account's name nor try guesses on it.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import asyncpg
from uuid_utils.compat import uuid7

from agents.launcher.lifecycle import Bot, Change
from control_plane.security.keyproviders import KeyProvider
from control_plane.security.vault import wrap_context

RETRY_S: Final = 5.0
_WORDS: Final = (
    "Another bot trades on the same exchange account, and two on one account would trade against each other. This one"
    " starts by itself as soon as the other one has ended."
)
#: A version that no key pair has: this key can never stand in for one, nor the other way round.
_NO_PAIR: Final = 0
_LABEL: Final = b"tradewise-account-v1\0"
_KEY_BYTES: Final = 32

_CLAIM: Final = """
    insert into account_leases (fingerprint, bot_id, instance_id) values ($1, $2, $3) on conflict do nothing
    returning instance_id
"""
# A place and its account are taken, and given back, in one transaction: a lease without a place is nobody's.
_RECOVER: Final = """
    delete from account_leases a where not exists (
        select from bot_instances i where i.id = a.instance_id and i.released_at is null
    )
"""
_KEY: Final = "select id, wrapped_private_key, kek_id from account_keys"
_ADD_KEY: Final = """
    insert into account_keys (id, wrapped_private_key, kek_id) values ($1, $2, $3) on conflict do nothing
"""


class AccountInUse(Exception):  # noqa: N818 - a state of the rows
    """A live copy of another bot holds the account."""


class Unnamed(Exception):  # noqa: N818 - what a person is told
    """The configuration does not name an account where the template says that it does."""

    def __init__(self, path: str) -> None:
        super().__init__(
            f"Its template says that {path} names the exchange account, so that no two bots trade on one, but this"
            " bot's configuration has no text there. Enter it, then start the bot again."
        )


def named_at(path: str, *documents: Mapping[str, Any]) -> str:
    """What the first of ``documents`` that has something at the dotted ``path`` has there. Raises Unnamed."""
    for document in documents:
        value: Any = document
        for name in path.split("."):
            value = value.get(name) if isinstance(value, Mapping) else None
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if isinstance(value, str) and value.strip():
            return value.strip()
    raise Unnamed(path)


async def fingerprint(pool: asyncpg.Pool, provider: KeyProvider, named: str) -> bytes:
    """The fingerprint of an account. Equal for equal names in this installation, and telling nothing of them."""
    return hmac.digest(await _key(pool, provider), _LABEL + named.encode(), "sha256")


async def recover(pool: asyncpg.Pool) -> None:
    """Give back what copies hold that are gone, whatever happened to the database: a backup was put back."""
    await pool.execute(_RECOVER)


async def claim(connection: asyncpg.Connection, account: bytes, bot: Bot, instance_id: UUID) -> None:
    """Hold ``account`` as long as the copy's place is held, in the caller's transaction. Raises AccountInUse."""
    if await connection.fetchval(_CLAIM, account, bot.id, instance_id) is None:
        raise AccountInUse


def waiting(bot: Bot, now: datetime, jitter: float) -> Change:
    """A bot that waits for its account: no attempt is used up, because nothing of it failed."""
    return Change(
        status="starting",
        reason="account_in_use",
        detail=_WORDS,
        restarts=bot.restarts,
        next_retry_at=now + timedelta(seconds=RETRY_S * (0.75 + 0.5 * jitter)),
    )


async def _key(pool: asyncpg.Pool, provider: KeyProvider) -> bytes:
    """The installation's one key, made where there is none. In memory for one fingerprint."""
    row = await pool.fetchrow(_KEY)
    if row is None:
        key_id = uuid7()
        wrapped = await provider.wrap(os.urandom(_KEY_BYTES), wrap_context(key_id, _NO_PAIR))
        await pool.execute(_ADD_KEY, key_id, wrapped.value, wrapped.kek_id)
        row = await pool.fetchrow(_KEY)
    return await provider.unwrap(row["wrapped_private_key"], row["kek_id"], wrap_context(row["id"], _NO_PAIR))
