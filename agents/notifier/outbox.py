"""The outbox job: claim under a lease, open, send outside of any transaction, note what became of it.

At least once: who dies between the relay's yes and our note leaves a mail that is sent again under the same Message-ID.
"""

from __future__ import annotations

import asyncio
import random
import time
from typing import Any, ClassVar

import asyncpg
import msgspec
import structlog
from prometheus_client import Counter

from agents.notifier.carriers import Carrier, CarryError
from agents.notifier.envelope import BadRecipientError, envelope_for
from agents.notifier.retry import delay_after, is_over
from agents.secrets import open_row
from control_plane.mail.letters import Letter
from control_plane.security.sealing import Place
from control_plane.security.vault import OpenError, Vault

_log = structlog.get_logger("notifier")

_AT_ONCE = 16
#: Longer than the longest that one mail may take.
LEASE_S = 180.0
_LONGEST_PAUSE_S = 15.0
_HOUSEKEEPING_EVERY_S = 3600.0

# The key comes in the same statement: one moment for a mail and for what opens it.
_CLAIM = """
    with due as (
        select m.id from mails m
        where m.sent_at is null and m.failed_at is null and m.next_attempt_at <= now()
        order by m.next_attempt_at limit $1 for update skip locked
    ), claimed as (
        update mails m set attempts = m.attempts + 1, next_attempt_at = now() + make_interval(secs => $2)
        from due where m.id = due.id returning m.*
    )
    select c.id, c.kind, c.sealed as value, c.key_version, c.suite as sealed_suite, c.attempts, c.created_at,
        extract(epoch from now() - c.created_at)::float8 as age_s, i.id as tenant_id, k.version, k.suite, k.public_key,
        k.wrapped_private_key, k.kek_id
    from claimed c cross join installation i left join platform_keys k on k.version = c.key_version
"""
_NEXT = """
    select extract(epoch from min(m.next_attempt_at) - now())::float8 from mails m
    where m.sent_at is null and m.failed_at is null
"""
_SENT = "update mails set sent_at = now(), sealed = null, error = null where id = $1"
# Whoever overran the lease must not undo what another has done meanwhile.
_AGAIN = """
    update mails set next_attempt_at = now() + make_interval(secs => $2), error = $3
    where id = $1 and sent_at is null and failed_at is null
"""
_FAILED = "update mails set failed_at = now(), sealed = null, error = $2 where id = $1 and sent_at is null"
_CLEAR = """
    delete from mails where sent_at < now() - interval '7 days' or failed_at < now() - interval '30 days'
"""
_MAILS = Counter("tradewise_notifier_mails_total", "Mails by what became of them.", ["outcome"])


class Outbox:
    """Sends what is due. Any number may run beside each other."""

    channel: ClassVar[str] = "tradewise_mail"

    def __init__(
        self, pool: asyncpg.Pool, vault: Vault, carrier: Carrier, mail_from: str, detail: dict[str, Any] | None = None
    ) -> None:
        self._pool = pool
        self._vault = vault
        self._carrier = carrier
        self._mail_from = mail_from
        self._detail = detail if detail is not None else {}
        self._kept_at: float | None = None

    async def work(self) -> float:
        """Send what is due, a few at a time; seconds until more may be."""
        if self._kept_at is None or time.monotonic() - self._kept_at >= _HOUSEKEEPING_EVERY_S:
            await self._pool.execute(_CLEAR)
            self._kept_at = time.monotonic()
        rows = await self._pool.fetch(_CLAIM, _AT_ONCE, LEASE_S)
        await asyncio.gather(*(self._deliver(row) for row in rows))
        if len(rows) == _AT_ONCE:
            return 0.0
        next_in_s: float | None = await self._pool.fetchval(_NEXT)
        return _LONGEST_PAUSE_S if next_in_s is None else min(_LONGEST_PAUSE_S, max(0.05, next_in_s))

    async def close(self) -> None:
        """Nothing outlives a pass: each mail has a connection of its own."""

    async def _deliver(self, row: asyncpg.Record) -> None:
        try:
            await self._send(row)
        except CarryError as error:
            await self._not_sent(row, error.reason, permanent=error.permanent)
        except BadRecipientError as error:
            await self._not_sent(row, error.code, permanent=True)
        except OpenError as error:
            # Perhaps the key provider is away; a mail that never opens is given up after a day like any other.
            await self._not_sent(row, error.code, permanent=False)
        else:
            await self._pool.execute(_SENT, row["id"])
            self._count("sent")

    async def _send(self, row: asyncpg.Record) -> None:
        opened = await open_row(self._vault, row, Place(row["tenant_id"], "mails", "sealed", row["id"]))
        letter = msgspec.json.decode(opened.reveal(), type=Letter)
        if not letter.to:
            return  # to nobody: made so that asking about an unknown address is the same work
        envelope = envelope_for(letter, mail_id=row["id"], at=row["created_at"], mail_from=self._mail_from)
        await self._carrier.carry(envelope)

    async def _not_sent(self, row: asyncpg.Record, reason: str, *, permanent: bool) -> None:
        over = is_over(row["age_s"], permanent=permanent)
        _log.warning("mail_not_sent", mail=str(row["id"]), kind=row["kind"], reason=reason, given_up=over)
        if over:
            await self._pool.execute(_FAILED, row["id"], reason)
        else:
            delay = delay_after(row["attempts"], random.random())  # noqa: S311 - only to spread retries
            await self._pool.execute(_AGAIN, row["id"], delay, reason)
        self._count("failed" if over else "again")

    def _count(self, outcome: str) -> None:
        _MAILS.labels(outcome).inc()
        name = f"mails_{outcome}"
        self._detail[name] = self._detail.get(name, 0) + 1
