"""The webhook job: claims what is due, signs it, posts it outside of any transaction, and keeps the delivery log.

Endpoints do not wait for each other: each message is a task of its own, two at most of one endpoint.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, ClassVar, Final
from uuid import UUID

import asyncpg
import structlog
from uuid_utils.compat import uuid7

from agents.egress import EgressError, GuardedClient, Limits, MeansExhausted, Response
from agents.notifier import claims
from agents.notifier.retry import message_delay
from agents.secrets import open_row
from control_plane.security.addresses import UrlRefused
from control_plane.security.sealing import Place
from control_plane.security.vault import OpenError, Vault
from control_plane.settings import Settings
from control_plane.webhooks.address import parse_webhook_url
from control_plane.webhooks.signing import signatures

_log = structlog.get_logger("notifier")

_AT_ONCE: Final = 32
_LONGEST_PAUSE_S: Final = 15.0
#: While some are under way, the next look comes this soon: what they keep waiting goes out when they are done.
_BUSY_PAUSE_S: Final = 0.25
#: An endpoint that nothing has got through to for so long is given up.
GIVE_UP_S: Final = 3 * 86400.0
#: Many tenants' endpoints are at one host, so turns are by endpoint (claims.py) and not by host.
_LIMITS: Final = Limits(
    connect_timeout=5.0, total_timeout=15.0, header_bytes=32 * 1024, body_bytes=1024, concurrency=_AT_ONCE,
    per_host=_AT_ONCE, per_tenant=_AT_ONCE // 2, idle_connections=1,
)  # fmt: skip

# Newest first: a receiver that knows only the new secret finds its signature in front. The key comes along.
_SECRETS: Final = """
    select s.id, s.sealed as value, s.key_version, s.suite as sealed_suite, s.tenant_id, k.version, k.suite,
        k.public_key, k.wrapped_private_key, k.kek_id
    from channel_secrets s
    left join tenant_keys k on k.tenant_id = s.tenant_id and k.version = s.key_version
    where s.tenant_id = $1 and s.channel_id = $2 and s.kind = $3 and (s.expires_at is null or s.expires_at > now())
    order by s.expires_at desc nulls first, s.created_at desc
"""
_LOG: Final = """
    insert into webhook_deliveries (id, tenant_id, endpoint_id, message_id, type, attempt, outcome, status_code,
        latency_ms, error)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
"""
_GONE: Final = "It answered 410 Gone: it wants no more messages."
_DEAD: Final = "Nothing has got through to it for three days."


class Webhooks:
    """Delivers to webhooks. Any number may run beside each other."""

    channel: ClassVar[str] = "tradewise_alerts"

    def __init__(
        self, settings: Settings, pool: asyncpg.Pool, vault: Vault, detail: dict[str, Any] | None = None,
        *, limits: Limits = _LIMITS,
    ) -> None:  # fmt: skip
        self._pool = pool
        self._vault = vault
        self._client = GuardedClient.for_tenants(allow=settings.egress_allow, limits=limits)
        self._detail = detail if detail is not None else {}
        #: What has been claimed and not noted yet, with whose it is.
        self._running: dict[asyncio.Task[None], tuple[UUID, UUID]] = {}

    async def work(self) -> float:
        """Set what is due on its way; seconds until more may be."""
        for task in [task for task in self._running if task.done()]:
            del self._running[task]
            task.result()  # a fault ends the process with it; a database that is away is met again by the next look
        room = _AT_ONCE - len(self._running)
        if room > 0:
            channels = Counter(channel for _, channel in self._running.values())
            tenants = Counter(tenant for tenant, _ in self._running.values())
            busy = [channel for channel, count in channels.items() if count >= claims.A_CHANNEL]
            busy += [tenant for tenant, count in tenants.items() if count >= claims.A_TENANT]
            for row in await claims.claim(self._pool, "webhook", room, busy=busy, give_up_s=GIVE_UP_S):
                self._running[asyncio.create_task(self._deliver(row))] = (row["tenant_id"], row["channel_id"])
        if self._running:
            return _BUSY_PAUSE_S
        return await claims.next_in_s(self._pool, "webhook", _LONGEST_PAUSE_S)

    async def settle(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._running)

    async def close(self) -> None:
        """Let what is under way end: an answer that nobody notes is a message sent twice."""
        await asyncio.gather(*self._running, return_exceptions=True)
        self._client.close()

    async def _deliver(self, row: asyncpg.Record) -> None:
        if not row["wanted"] or row["url"] is None:
            await claims.unwanted(self._pool, "webhook", row)
            return
        status: int | None = None
        latency_ms: float | None = None
        error: str | None = None
        asked_s: float | None = None
        began = time.monotonic()
        try:
            answer = await self._post(row)
            status, latency_ms, asked_s = answer.status, answer.latency_ms, answer.retry_after_s
            error = None if 200 <= status < 300 else f"http_{status}"
        except EgressError as refused:
            latency_ms, error = (time.monotonic() - began) * 1000, refused.code
        except MeansExhausted:
            error = "not_sent"
        except UrlRefused as refused:
            error = refused.code
        except OpenError as refused:
            error = refused.code
        # A test is for somebody who looks at it now: it is not sent again after they have gone.
        test = row["type"] == "channel.test"
        delay = None if test else message_delay(row["attempts"], random.random(), asked_s)  # noqa: S311
        await self._note(row, status, latency_ms, error, delay)

    async def _post(self, row: asyncpg.Record) -> Response:
        origin, path = parse_webhook_url(row["url"])
        secrets = await open_all(self._pool, self._vault, row["tenant_id"], row["channel_id"], "signing")
        timestamp, body = int(time.time()), row["body"].encode()
        headers = {
            "Content-Type": "application/json",
            "webhook-id": str(row["id"]),
            "webhook-timestamp": str(timestamp),
            "webhook-signature": signatures(secrets, str(row["id"]), timestamp, body),
        }
        client = self._client.acting_for(row["tenant_id"])
        return await client.post(origin, path, body, headers)

    async def _note(
        self, row: asyncpg.Record, status: int | None, latency_ms: float | None, error: str | None, delay: float | None
    ) -> None:
        outcome = "delivered" if error is None else "failed" if delay is None or status == 410 else "again"
        values = (row["tenant_id"], row["channel_id"], row["id"], row["type"], row["attempts"])
        await self._pool.execute(_LOG, uuid7(), *values, outcome, status, latency_ms, error)
        self._detail[f"webhooks_{outcome}"] = self._detail.get(f"webhooks_{outcome}", 0) + 1
        if error is None:
            await claims.sent(self._pool, "webhook", row)
            return
        _log.warning("webhook_not_delivered", message=str(row["id"]), reason=error, attempt=row["attempts"])
        gone = status == 410 and row["type"] != "channel.test"
        await claims.again(self._pool, "webhook", row, error, None if gone else delay)
        if gone or row["long_failing"]:
            await claims.disable(self._pool, row, "gone" if gone else "failing", _GONE if gone else _DEAD)


async def open_all(pool: asyncpg.Pool, vault: Vault, tenant_id: UUID, channel_id: UUID, kind: str) -> Sequence[str]:
    """The values of one kind that a channel has, the newest first. Raises :class:`OpenError`."""
    rows = await pool.fetch(_SECRETS, tenant_id, channel_id, kind)
    opened = [
        await open_row(vault, row, Place(row["tenant_id"], "channel_secrets", "sealed", row["id"])) for row in rows
    ]
    if not opened:
        raise OpenError(f"the channel has no {kind} value")
    return [secret.reveal().decode() for secret in opened]
