"""The mail job of alerts: from a message to a letter in the outbox, in one transaction, so that it is there once.

A mail goes to a member's own address, verified, as both are at that moment: who has left the tenant gets nothing more.
"""

from __future__ import annotations

from typing import Any, ClassVar, Final

import asyncpg
import msgspec

from agents.notifier import claims
from agents.notifier.retry import message_delay
from control_plane.alerts.words import letter_of
from control_plane.mail.letters import Letter
from control_plane.security.sealing import Place, PublicKey, seal

_AT_ONCE: Final = 50
_LONGEST_PAUSE_S: Final = 15.0

_ADDRESS: Final = """
    select u.email from users u join memberships m on m.user_id = u.id and m.tenant_id = $1
    where u.id = $2 and u.status = 'active' and u.email_verified_at is not null
"""
_KEY: Final = """
    select i.id as installation, k.public_key, k.version, k.suite from installation i, platform_keys k
    where k.destroyed_at is null order by k.version desc limit 1
"""
_PUT: Final = """
    insert into mails (id, kind, sealed, key_version, suite) values ($1, 'alert', $2, $3, $4) on conflict do nothing
"""
_NO_ADDRESS: Final = "Its member has left the tenant, or has no verified address any more."


class Letters:
    """Puts alerts into the outbox."""

    channel: ClassVar[str] = "tradewise_alerts"

    def __init__(self, pool: asyncpg.Pool, public_url: str | None, detail: dict[str, Any] | None = None) -> None:
        self._pool = pool
        self._public_url = public_url
        self._detail = detail if detail is not None else {}

    async def work(self) -> float:
        """Move what is due; seconds until more may be."""
        rows = await claims.claim(self._pool, "email", _AT_ONCE)
        for row in rows:
            await self._move(row)
        return 0.0 if len(rows) == _AT_ONCE else await claims.next_in_s(self._pool, "email", _LONGEST_PAUSE_S)

    async def close(self) -> None:
        """Nothing outlives a pass."""

    async def _move(self, row: asyncpg.Record) -> None:
        if not row["wanted"]:
            await claims.unwanted(self._pool, "email", row)
            return
        to = await self._pool.fetchval(_ADDRESS, row["tenant_id"], row["user_id"])
        key = await self._pool.fetchrow(_KEY)
        if to is None:
            await claims.again(self._pool, "email", row, "no_verified_address", None)
            await claims.disable(self._pool, row, "no_verified_address", _NO_ADDRESS)
            return
        if key is None:
            await claims.again(self._pool, "email", row, "platform_key_pending", message_delay(row["attempts"], 0.5))
            return
        subject, text = letter_of(row["body"], self._public_url)
        letter = msgspec.json.encode(Letter(kind="alert", to=to, subject=subject, body=text))
        public = PublicKey(raw=key["public_key"], version=key["version"], suite=key["suite"])
        # The mail has the message's id: a second try after a cut between the two statements puts no second mail there.
        sealed = seal(letter, public, Place(key["installation"], "mails", "sealed", row["id"]))
        await self._pool.execute(_PUT, row["id"], sealed.value, sealed.key_version, sealed.suite)
        await self._pool.execute("select pg_notify('tradewise_mail', $1)", str(row["id"]))
        await claims.sent(self._pool, "email", row)
        self._detail["alerts_mailed"] = self._detail.get("alerts_mailed", 0) + 1
