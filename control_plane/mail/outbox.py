"""Puts a mail into the outbox, in the same transaction as what it tells of: neither happens without the other."""

from __future__ import annotations

import msgspec
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.security.keyring import platform_key
from control_plane.security.sealing import Place, seal


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A mail in clear. ``kind`` is a stable name for counting; everything else is sealed."""

    kind: str
    to: str
    subject: str
    body: str

    def __repr__(self) -> str:
        return f"Letter(kind={self.kind!r})"


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
