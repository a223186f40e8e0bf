"""Two tenants that have used everything: rows of both in every table that a tenant owns."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from tests.api import Api, Person

CAPITAL = Decimal(1000)


class Tenant(msgspec.Struct):
    """A tenant and the ids of what it has made through the API."""

    person: Person
    key: str
    key_id: UUID
    session_id: UUID
    external: UUID
    hosted: UUID
    template: UUID
    draft: UUID
    shared_template: UUID
    shared_bot: UUID
    identity_id: UUID
    invitation: UUID
    webhook: UUID
    chat: UUID
    alert_rule: UUID
    incident: UUID
    subscription: UUID | None = None
    follow: UUID | None = None

    @property
    def id(self) -> UUID:
        """The tenant's id."""
        return self.person.tenant_id


class Settled(msgspec.Struct, frozen=True):
    """A database with two full tenants in it, to be cloned."""

    database: str
    tenants: tuple[Tenant, Tenant]

    def of(self, api: Api) -> tuple[Tenant, Tenant]:
        """The two as they are in a clone that ``api`` serves."""
        replace = msgspec.structs.replace
        one, other = (replace(each, person=replace(each.person, client=api.client)) for each in self.tenants)
        return one, other


def template_body(**changes: Any) -> dict[str, Any]:
    """A template that the API takes."""
    return {
        "name": "Steady",
        "engine": "tradewise",
        "strategy_type": "dca",
        "risk_level": "low",
        "hosting": "dedicated",
        "currency": "USDT",
        "minimum_allocation": "100",
        "parameters": {"symbol": "BTC/USDT"},
        "config": {"strategy": {"type": "dca", "symbol": "BTC/USDT"}},
        **changes,
    }


def external_body(**changes: Any) -> dict[str, Any]:
    """An external bot that the API takes."""
    return {
        "bot_type": "external",
        "engine": "tradewise",
        "name": "elsewhere",
        "api_url": "http://127.0.0.1:8080",
        "credentials": {"token": "a-token-of-sixteen-or-more"},
        **changes,
    }


async def snapshot(
    admin: asyncpg.Connection,
    tenant_id: UUID,
    bot_id: UUID,
    *,
    unit_value: Decimal | None = Decimal(1),
    equity: Decimal | None = CAPITAL,
    capital_base: Decimal | None = CAPITAL,
    at: datetime | None = None,
) -> None:
    """A reading of a bot, as the poller records it."""
    await admin.execute(
        "insert into performance_snapshots (tenant_id, bot_id, observed_at, currency, simulated, equity, capital_base,"
        " unit_value) values ($1, $2, $3, 'USDT', true, $4, $5, $6)",
        tenant_id,
        bot_id,
        at or datetime.now(UTC),
        equity,
        capital_base,
        unit_value,
    )
    await admin.execute(
        "insert into bot_health_changes (tenant_id, bot_id, at, state) values ($1, $2, $3, 'healthy')",
        tenant_id,
        bot_id,
        at or datetime.now(UTC),
    )
    await rolled_up(admin, tenant_id, bot_id)


async def rolled_up(admin: asyncpg.Connection, tenant_id: UUID, bot_id: UUID) -> None:
    """A bot whose readings are in rollups, and that has more to come."""
    for table in ("performance_hourly", "performance_daily"):
        await admin.execute(
            f"insert into {table} (tenant_id, bot_id, bucket, readings, first_at, last_at, latency_count, latency_sum,"
            " latency_bins, latency_counts) values ($1, $2, date_trunc('day', now(), 'UTC'), 1, now(), now(), 0, 0,"
            " '{}', '{}') on conflict do nothing",
            tenant_id,
            bot_id,
        )
    await admin.execute(
        "insert into bot_health_daily (tenant_id, bot_id, bucket, healthy_s, unhealthy_s, stale_s, changes, last_state)"
        " values ($1, $2, date_trunc('day', now(), 'UTC'), 1, 0, 0, 1, 'healthy') on conflict do nothing",
        tenant_id,
        bot_id,
    )
    await admin.execute(
        "insert into rollup_pending (tenant_id, bot_id, kind, bucket)"
        " values ($1, $2, 'health', date_trunc('day', now(), 'UTC')) on conflict do nothing",
        tenant_id,
        bot_id,
    )


async def watched(admin: asyncpg.Connection, tenant_id: UUID, bot_id: UUID) -> None:
    """A bot that somebody follows: the follow, a line of its output, and what it used."""
    copy = uuid7()
    await admin.execute(
        "insert into bot_follows (tenant_id, bot_id, kind, wanted_until, asked_at)"
        " values ($1, $2, 'logs', now() + interval '1 hour', now()) on conflict do nothing",
        tenant_id,
        bot_id,
    )
    await admin.execute(
        "insert into bot_log_lines (tenant_id, bot_id, position, first, chain, instance_id, lines, total_lines,"
        ' total_bytes) values ($1, $2, 1, 1, 1, $3, \'[[1, "o", "a line"]]\', 1, 6) on conflict do nothing',
        tenant_id,
        bot_id,
        copy,
    )
    await admin.execute(
        "insert into bot_stats (tenant_id, bot_id, observed_at, instance_id, cpu_seconds)"
        " values ($1, $2, now(), $3, 1)",
        tenant_id,
        bot_id,
        copy,
    )


async def steered(admin: asyncpg.Connection, tenant_id: UUID, bot_id: UUID) -> None:
    """A bot whose trading somebody wished to be stopped."""
    await admin.execute(
        "insert into bot_trading (id, tenant_id, bot_id, wanted) values ($1, $2, $3, 'stopped') on conflict do nothing",
        uuid7(),
        tenant_id,
        bot_id,
    )


async def alerted(person: Person, admin: asyncpg.Connection, bot_id: UUID) -> dict[str, UUID]:
    """A tenant that was told of a bot's trouble: a webhook, a chat, a rule, quiet hours, and the notifier's rows."""
    hook = await person.call("POST", "/webhooks", json={"url": "https://hooks.example.com/alerts"}, status=201)
    chat = await person.call("POST", "/alerts/channels", json={"kind": "telegram", "chat_id": "-100200300"}, status=201)
    rule = await person.call("POST", "/alerts/rules", json={"kind": "bot_down", "bot_id": str(bot_id)}, status=201)
    hours = {"quiet_hours": {"start": "22:00", "end": "07:00", "time_zone": "Europe/Berlin"}}
    await person.call("PATCH", "/alerts/settings", json=hours, status=200)
    incident, message = uuid7(), uuid7()
    await admin.execute(
        "insert into alert_incidents (id, tenant_id, kind, scope, cause, bot_id, bot_ids, bots_met, severity,"
        " bot_names, tell_recovery, since, opened_at)"
        " values ($1, $2, 'bot_down', 'bot', 'bot:' || $3::text, $3::text::uuid,"
        " array[$3::text::uuid], 1, 'critical', array['a bot'], true, now(), now())",
        incident,
        person.tenant_id,
        str(bot_id),
    )
    await admin.execute(
        "insert into alert_messages (id, tenant_id, channel_id, incident_id, type, line, body)"
        " values ($1, $2, $3, $4, 'incident.opened', $4, '{}')",
        message,
        person.tenant_id,
        UUID(hook["id"]),
        incident,
    )
    await admin.execute(
        "insert into webhook_deliveries (id, tenant_id, endpoint_id, message_id, type, attempt, outcome)"
        " values ($1, $2, $3, $4, 'incident.opened', 1, 'again')",
        uuid7(),
        person.tenant_id,
        UUID(hook["id"]),
        message,
    )
    await admin.execute(
        "insert into alert_peaks (tenant_id, bot_id, peak, latest, latest_at, looked_at)"
        " values ($1, $2, 1, 1, now(), now())",
        person.tenant_id,
        bot_id,
    )
    made = {"webhook": hook, "chat": chat, "alert_rule": rule}
    return {name: UUID(value["id"]) for name, value in made.items()} | {"incident": incident}


async def troubled(admin: asyncpg.Connection, tenant_id: UUID, bot_id: UUID) -> None:
    """A bot with a rule of its own, an incident and a highest value, where it has none yet."""
    await admin.execute(
        "insert into alert_rules (id, tenant_id, kind, bot_id, enabled, delay_s, severity, tell_recovery)"
        " values ($1, $2, 'bot_down', $3, true, 0, 'critical', true) on conflict do nothing",
        uuid7(),
        tenant_id,
        bot_id,
    )
    await admin.execute(
        "insert into alert_incidents (id, tenant_id, kind, scope, cause, bot_id, bot_ids, bots_met, severity,"
        " bot_names, tell_recovery, since, opened_at)"
        " values ($1, $2, 'bot_down', 'bot', 'bot:' || $3::text, $3::text::uuid, array[$3::text::uuid], 1, 'critical',"
        " array['a bot'], true, now(), now()) on conflict do nothing",
        uuid7(),
        tenant_id,
        str(bot_id),
    )
    await admin.execute(
        "insert into alert_peaks (tenant_id, bot_id, looked_at) values ($1, $2, now()) on conflict do nothing",
        tenant_id,
        bot_id,
    )


async def published(person: Person, **changes: Any) -> UUID:
    """A template of ``person`` that everybody sees."""
    made = await person.call("POST", "/templates", json=template_body(**changes), status=201)
    await person.call("POST", f"/templates/{made['id']}/publish", status=200)
    return UUID(made["id"])


async def shared(person: Person, admin: asyncpg.Connection, **changes: Any) -> tuple[UUID, UUID]:
    """A published shared template and the bot with figures that its subscribers follow."""
    made = await person.call("POST", "/templates", json=template_body(hosting="shared", **changes), status=201)
    body = {"bot_type": "shared", "engine": "tradewise", "name": "the one", "template_id": made["id"]}
    bot = await person.call("POST", "/bots", json=body, status=201)
    await person.call("POST", f"/templates/{made['id']}/publish", status=200)
    await snapshot(admin, person.tenant_id, UUID(bot["id"]), at=datetime.now(UTC) - timedelta(minutes=5))
    return UUID(made["id"]), UUID(bot["id"])


async def full_tenant(api: Api, admin: asyncpg.Connection, name: str) -> Tenant:
    """A tenant with a key, an external and a hosted bot, a draft, a dedicated and a shared template."""
    person = await api.person(name)
    scopes = (await person.call("GET", "/me"))["scopes"]
    key = await person.call("POST", "/api-keys", json={"name": "ci", "scopes": scopes}, status=201)
    [session] = (await person.call("GET", "/me/sessions"))["items"]
    external = await person.call(
        "POST", "/bots", json=external_body(), headers={"Idempotency-Key": f"first-{name}"}, status=201
    )
    hosted_body = {"bot_type": "platform", "engine": "tradewise", "name": "ours", "config": {"currency": "USDT"}}
    hosted = await person.call("POST", "/bots", json=hosted_body, status=201)
    draft = await person.call("POST", "/templates", json=template_body(name="Draft"), status=201)
    template = await published(person)
    shared_template, shared_bot = await shared(person, admin, name="Shared")
    offer = {"email": f"guest-of-{person.email}", "role": "viewer"}
    invitation = await person.call("POST", f"/tenants/{person.tenant_id}/invitations", json=offer, status=201)
    rules = {"mode": "listed", "destinations": ["45.67.89.10:443"]}
    await person.call("PUT", f"/tenants/{person.tenant_id}/egress", json=rules)
    await admin.execute(
        "insert into bot_instances (id, tenant_id, bot_id, generation, runtime, image)"
        " values ($1, $2, $3, 1, 'docker', 'tradewise/paper-bot:latest')",
        uuid7(),
        person.tenant_id,
        UUID(hosted["id"]),
    )
    await watched(admin, person.tenant_id, UUID(hosted["id"]))
    await steered(admin, person.tenant_id, UUID(external["id"]))
    return Tenant(
        identity_id=await second_ways(person, admin),
        person=person,
        key=key["key"],
        key_id=UUID(key["id"]),
        session_id=UUID(session["id"]),
        external=UUID(external["id"]),
        hosted=UUID(hosted["id"]),
        template=template,
        draft=UUID(draft["id"]),
        shared_template=shared_template,
        shared_bot=shared_bot,
        invitation=UUID(invitation["id"]),
        **await alerted(person, admin, UUID(hosted["id"])),
    )


async def second_ways(person: Person, admin: asyncpg.Connection) -> UUID:
    """A second factor on its way, a recovery code and an identity elsewhere, whose id this gives."""
    await person.call("POST", "/me/totp", json={}, status=201)
    identity = uuid7()
    await admin.execute(
        "insert into recovery_codes (id, user_id, code_hash) values ($1, $2, 'x')", uuid7(), person.user_id
    )
    await admin.execute(
        "insert into auth_identities (id, user_id, provider, issuer, subject, label)"
        " values ($1, $2, 'telegram', 'https://telegram.org', $3, '@somebody')",
        identity,
        person.user_id,
        str(person.user_id.int),
    )
    return identity


async def subscribe(person: Person, template_id: UUID, amount: str = "1000") -> dict[str, Any]:
    """Allocate ``amount`` to a template."""
    body = {"template_id": str(template_id), "allocation_amount": amount}
    made: dict[str, Any] = await person.call("POST", "/subscriptions", json=body, status=201)
    return made


async def two_tenants(api: Api, admin: asyncpg.Connection) -> tuple[Tenant, Tenant]:
    """Two full tenants, each subscribed to the other's dedicated and shared template."""
    first, second = await full_tenant(api, admin, "ada"), await full_tenant(api, admin, "bob")
    for one, other in ((first, second), (second, first)):
        dedicated = await subscribe(one.person, other.template)
        one.subscription = UUID(dedicated["id"])
        await snapshot(admin, one.id, UUID(dedicated["bot_id"]))
        one.follow = UUID((await subscribe(one.person, other.shared_template))["id"])
    await signed_chains(api, admin)
    return first, second


async def signed_chains(api: Api, admin: asyncpg.Connection) -> None:
    """The audit log's heads signed by the scheduler, and an anchor at each as if their month were about to go."""
    await api.scheduler.sign_heads()
    await admin.execute(
        "insert into audit_anchors (tenant_id, seq, hash, at, key_version, signature)"
        " select tenant_id, seq, hash, at, key_version, signature from audit_checkpoints"
    )
