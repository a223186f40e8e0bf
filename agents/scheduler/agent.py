"""The scheduler agent. Each job is idempotent, so that any number of replicas may run it."""

from __future__ import annotations

import time
from typing import ClassVar

import asyncpg
from uuid_utils.compat import uuid7

from agents import audit
from agents.agent import Agent
from agents.keys.reseal import Resealer
from agents.scheduler.history import refresh_scores, retire_history
from agents.scheduler.rollups import Rollups
from control_plane.audit.checkpoints import Signed
from control_plane.security.vault import Vault
from control_plane.settings import Settings

_TENANTS_WITHOUT_KEY = """
    select t.id from tenants t
    where t.status <> 'deleted' and not exists (select from tenant_keys k where k.tenant_id = t.id)
    order by t.id limit 500
"""
_PLATFORM_WITHOUT_KEY = "select i.id from installation i where not exists (select from platform_keys)"
_ADD_PLATFORM_KEY = """
    insert into platform_keys (id, version, suite, public_key, wrapped_private_key, kek_id)
    values ($1, $2, $3, $4, $5, $6) on conflict do nothing
"""
_ADD_KEY = """
    insert into tenant_keys (id, tenant_id, version, suite, public_key, wrapped_private_key, kek_id)
    values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing
"""
_EXPIRED = (
    "delete from spent_proofs where expires_at < now()",
    "delete from sign_in_exchanges where expires_at < now()",
)
# Whoever deleted the tenant destroyed its keys; this one was made in the same moment.
_DESTROY_STRAY_KEYS = """
    update tenant_keys k set wrapped_private_key = null, destroyed_at = now() from tenants t
    where t.id = k.tenant_id and t.status = 'deleted' and k.destroyed_at is null
"""
_KEYS_EVERY_S = 5.0
_HOUSEKEEPING_EVERY_S = 3600.0
_SCORES_EVERY_S = 60.0
_ROLLUP_STEPS = 20  # batches in a pass: keys of a new tenant must not wait longer
_MONTHS_AHEAD = 3
_STATS_DAYS_AHEAD = 7
_AUDIT_MONTHS_AHEAD = 6  # without a place for its event no change is made at all


class Scheduler(Agent):
    """Makes a new tenant's key pair as soon as the tenant exists; once an hour, keeps the house."""

    kind: ClassVar[str] = "scheduler"
    channels: ClassVar[tuple[str, ...]] = ("tradewise_keys",)
    _kept_at: float | None = None
    _signed_at: float | None = None
    _scored_at: float | None = None

    def __init__(self, settings: Settings, pool: asyncpg.Pool, vault: Vault) -> None:
        super().__init__(settings, pool, vault)
        self._resealer = Resealer(pool, vault)
        self._rollups = Rollups(pool)

    async def work(self, woken: frozenset[str]) -> float:  # noqa: ARG002 - what is due is found by looking
        """Keys first: somebody may be waiting to seal a credential."""
        await self.provision_keys()
        if self._kept_at is None or time.monotonic() - self._kept_at >= _HOUSEKEEPING_EVERY_S:
            await self.keep_house()
            self._kept_at = time.monotonic()
        interval = self.settings.audit_checkpoint_interval
        if self._signed_at is None or time.monotonic() - self._signed_at >= interval:
            await self.sign_heads()
            self._signed_at = time.monotonic()
        busy = await self.roll_up()
        return 0.0 if await self._resealer.step() or busy else min(_KEYS_EVERY_S, interval)

    async def roll_up(self) -> bool:
        """Bring history and what listings are sorted by up to date; whether history has more to do at once."""
        busy = await self._rollups.catch_up(steps=_ROLLUP_STEPS)
        if self._scored_at is None or time.monotonic() - self._scored_at >= _SCORES_EVERY_S:
            await refresh_scores(self.pool)
            self._scored_at = time.monotonic()
        return busy

    async def provision_keys(self) -> int:
        """Give the platform and each tenant without a key pair its first one; returns how many tenants' were made."""
        made = 0
        for row in await self.pool.fetch(_PLATFORM_WITHOUT_KEY):
            pair = await self.vault.generate(row["id"], 1)
            await self.pool.execute(
                _ADD_PLATFORM_KEY,
                uuid7(),
                pair.version,
                pair.suite,
                pair.public_key,
                pair.wrapped_private_key,
                pair.kek_id,
            )
        for row in await self.pool.fetch(_TENANTS_WITHOUT_KEY):
            pair = await self.vault.generate(row["id"], 1)
            await self.pool.execute(
                _ADD_KEY,
                uuid7(),
                pair.tenant_id,
                pair.version,
                pair.suite,
                pair.public_key,
                pair.wrapped_private_key,
                pair.kek_id,
            )
            made += 1
        if made:
            self.log.info("tenant_keys_made", count=made)
        return made

    async def keep_house(self) -> None:
        """Partitions for the coming months; away with sessions and idempotency records that have expired."""
        made = await self.pool.fetchval("select ensure_partitions($1)", _MONTHS_AHEAD)
        sessions = await self.pool.execute("delete from sessions where expires_at < now() - interval '30 days'")
        records = await self.pool.execute(
            "delete from idempotency_records where created_at < now() - interval '24 hours'"
        )
        await self.pool.execute("delete from verification_codes where expires_at < now() - interval '1 day'")
        await self.pool.execute("delete from sign_in_failures where last_at < now() - interval '2 days'")
        await self.pool.execute(_DESTROY_STRAY_KEYS)
        await self.pool.execute("delete from attempt_limits where full_at < now() - interval '1 day'")
        for statement in _EXPIRED:
            await self.pool.execute(statement)
        self.log.info("house_kept", partitions_made=made, sessions=sessions, idempotency_records=records)
        await self.retire_stats()
        await self.retire_audit()
        await retire_history(self.pool, self.settings)

    async def retire_stats(self) -> int:
        """Make the coming days of bots' use of resources and drop those that are no longer kept; how many went."""
        await self.pool.execute("select ensure_stats_partitions($1)", _STATS_DAYS_AHEAD)
        try:
            keep = self.settings.stats_retention_days
            dropped: int = await self.pool.fetchval("select drop_stats_partitions($1)", keep)
        except asyncpg.LockNotAvailableError:
            self.log.info("stats_retirement_put_off", cause="a writer held the table")
            return 0
        return dropped

    async def sign_heads(self) -> int:
        """Sign the audit chains that have moved on; how many. The log line leaves the machine with the other logs."""
        made = await audit.sign_heads(self.pool, self.vault.provider)
        self._tell(made)
        return len(made)

    async def retire_audit(self) -> int:
        """Make the audit log's coming months and drop those that are no longer kept; how many partitions went."""
        await self.pool.execute("select ensure_audit_partitions($1)", _AUDIT_MONTHS_AHEAD)
        try:
            made, dropped = await audit.retire(self.pool, self.vault.provider, self.settings.audit_retention_months)
        except asyncpg.LockNotAvailableError:
            self.log.info("audit_retirement_put_off", cause="a writer held the table")
            return 0
        self._tell(made)
        if dropped:
            self.log.info("audit_retired", partitions=dropped)
        return dropped

    def _tell(self, made: list[Signed]) -> None:
        for item in made:
            self.log.info(
                "audit_signed",
                kind=item.kind,
                tenant=str(item.tenant_id),
                seq=item.seq,
                hash=item.hash.hex(),
                signed_at=item.at.isoformat(),
                key_version=item.key_version,
                signature=item.signature.hex(),
            )
