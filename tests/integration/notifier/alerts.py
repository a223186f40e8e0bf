"""Bots' health as the poller writes it, and the notifier's jobs, run by hand."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec

from agents.egress import Limits
from agents.notifier.incidents import Incidents
from agents.notifier.letters import Letters
from agents.notifier.telegram import Telegram
from agents.notifier.webhooks import Webhooks
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import Person
from tests.servers.webhook_receiver import WebhookReceiver
from tests.world import external_body

#: Impatient, for receivers that hang.
LIMITS = Limits(per_host=32, connect_timeout=1.0, total_timeout=1.0, header_bytes=8192, body_bytes=1024)


class Health:
    """Writes a bot's health and its changes, at times of the test's own choosing."""

    def __init__(self, admin: asyncpg.Connection) -> None:
        self.admin = admin

    async def seen(self, tenant: UUID, bot: UUID, state: str, *, ago_s: float = 0.0, **columns: Any) -> None:
        """The poller saw the bot so long ago; where that is news, it is noted as a change."""
        at = await self.admin.fetchval("select now()") - timedelta(seconds=ago_s)
        refused = columns.get("reason") == "auth"
        known = True if state == "healthy" else False if refused else None
        values = {"reason": None, "trading_state": None, "failures": 0, "credential_ok": known, **columns}
        was = await self.admin.fetchrow(
            "select state, reason, trading_state from bot_health_changes where tenant_id = $1 and bot_id = $2"
            " order by at desc limit 1",
            tenant,
            bot,
        )
        now = (state, values["reason"], values["trading_state"])
        if was is None or tuple(was) != now:
            await self.admin.execute(
                "insert into bot_health_changes (tenant_id, bot_id, at, state, reason, trading_state)"
                " values ($1, $2, $3, $4, $5, $6)",
                tenant,
                bot,
                at,
                *now,
            )
        await self.admin.execute(
            "update bot_health set state = $3, reason = $4, trading_state = $5, failures = $6, credential_ok = $7,"
            " observed_at = $8, healthy_at = case when $3 = 'healthy' then $8 else healthy_at end,"
            " observed_generation = (select generation from bots where tenant_id = $1 and id = $2)"
            " where tenant_id = $1 and id = $2",
            tenant,
            bot,
            *now,
            values["failures"],
            values["credential_ok"],
            at,
        )

    async def down(self, tenant: UUID, bot: UUID, *, since_s: float = 300.0, reason: str = "unreachable") -> None:
        """It has been down for a while and was just seen to be so."""
        await self.seen(tenant, bot, "healthy", ago_s=since_s + 3600)
        await self.seen(tenant, bot, "unhealthy", ago_s=since_s, reason=reason, failures=3)
        await self.seen(tenant, bot, "unhealthy", reason=reason, failures=9)

    async def up(self, tenant: UUID, bot: UUID, *, since_s: float = 90.0) -> None:
        """It has been well again for a while and was just seen to be so."""
        await self.seen(tenant, bot, "healthy", ago_s=since_s)
        await self.seen(tenant, bot, "healthy")

    async def figure(self, tenant: UUID, bot: UUID, unit_value: str, at: datetime) -> None:
        """A reading with a value of the bot's own index."""
        await self.admin.execute(
            "insert into performance_snapshots (tenant_id, bot_id, observed_at, unit_value) values ($1, $2, $3, $4)",
            tenant,
            bot,
            at,
            Decimal(unit_value),
        )


class Jobs(msgspec.Struct):
    """The notifier's jobs about alerts."""

    incidents: Incidents
    webhooks: Webhooks
    telegram: Telegram
    letters: Letters

    async def judge(self) -> None:
        """One judgement, whenever the last one was, with figures read first."""
        await self.incidents.look_at_figures()
        await self.incidents.judge()

    async def tell(self) -> None:
        """Everything that is due, and what became of it noted."""
        await self.webhooks.work()
        await self.webhooks.settle()
        await self.telegram.work()
        await self.letters.work()


@asynccontextmanager
async def jobs_of(settings: Settings, pool: asyncpg.Pool, vault: Vault) -> AsyncIterator[Jobs]:
    """The jobs, closed at the end."""
    made = Jobs(
        Incidents(settings, pool),
        Webhooks(settings, pool, vault, limits=LIMITS),
        Telegram(settings, pool, vault),
        Letters(pool, settings.public_url),
    )
    yield made
    await made.webhooks.close()
    await made.telegram.close()


async def external(person: Person, number: int = 0, **fields: Any) -> UUID:
    """An external bot of ``person``."""
    usual = {"api_url": f"http://127.0.0.{number + 1}:{9000 + number}", "name": f"bot {number}"}
    body = external_body(**(usual | fields))
    made = await person.call("POST", "/bots", json=body, status=201)
    return UUID(made["id"])


async def hook(person: Person, receiver: WebhookReceiver, **fields: Any) -> dict[str, Any]:
    """A webhook of ``person`` that leads to ``receiver``, which knows its secret."""
    made: dict[str, Any] = await person.call(
        "POST", "/webhooks", json={"url": f"{receiver.url}/in", **fields}, status=201
    )
    receiver.secrets.append(made["signing_secret"])
    return made


async def incidents(person: Person, **query: Any) -> list[dict[str, Any]]:
    """The incidents that ``person`` is shown, the newest first."""
    found: list[dict[str, Any]] = (await person.call("GET", "/alerts/incidents", params=query, status=200))["items"]
    return found


async def soon(admin: asyncpg.Connection) -> None:
    """Whatever waits for another try is due now."""
    await admin.execute("update alert_messages set next_attempt_at = now() where state = 'pending'")
