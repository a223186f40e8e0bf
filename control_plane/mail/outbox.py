"""Puts a mail into the outbox, in the same transaction as what it tells of: neither happens without the other."""

from __future__ import annotations

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.database.sessions import Database
from control_plane.mail.letters import Letter
from control_plane.security.keyring import platform_key, wait_for_platform_key
from control_plane.security.sealing import Place, seal

__all__ = ["Letter", "post", "until_ready"]


async def until_ready(database: Database) -> None:
    """Wait a moment for the platform's first key, before work that ends in a mail. Raises UnavailableError."""
    await wait_for_platform_key(database)


async def post(session: AsyncSession, letter: Letter) -> None:
    """Seal ``letter`` for the notifier. Works in any session. Raises UnavailableError while no agent has made a key."""
    installation, key = await platform_key(session)
    mail_id = uuid7()
    sealed = seal(msgspec.json.encode(letter), key, Place(installation, "mails", "sealed", mail_id))
    await session.execute(
        text("select post_mail(:id, :kind, :sealed, :key_version, :suite)"),
        {
            "id": mail_id,
            "kind": letter.kind,
            "sealed": sealed.value,
            "key_version": sealed.key_version,
            "suite": sealed.suite,
        },
    )
