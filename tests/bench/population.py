"""Bots in the database, by the thousand: rows as the program makes them, with credentials that are really sealed."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import asyncpg
from uuid_utils.compat import uuid7

from control_plane.security.keyproviders import FileKeyProvider
from control_plane.security.sealing import Place, PublicKey, seal
from control_plane.security.vault import Vault
from tests.bench.target import BOT_ID, TOKEN

#: Bots of one tenant.
_EACH: Final = 100
#: A poller that begins reads anew what was changed a moment ago, and people do not change all their bots at once.
_CHANGED_BEFORE: Final = timedelta(days=1)
_PAIR = ("version", "suite", "public_key", "wrapped_private_key", "kek_id")


async def populate(admin: asyncpg.Connection, kek_file: Path, urls: Sequence[str]) -> list[tuple[UUID, UUID]]:
    """One connected bot at each of ``urls``: tenant and id of each. Rows of an earlier population are removed."""
    vault = Vault(FileKeyProvider(kek_file))
    tenants: list[tuple[UUID, PublicKey, tuple[Any, ...]]] = []
    for _ in range(0, len(urls), _EACH):
        tenant = uuid7()
        pair = await vault.generate(tenant, 1)
        key = PublicKey(pair.public_key, pair.version, pair.suite)
        tenants.append((tenant, key, tuple(getattr(pair, name) for name in _PAIR)))
    made = [(tenants[number // _EACH][0], uuid7()) for number in range(len(urls))]
    changed_at = datetime.now(UTC) - _CHANGED_BEFORE
    secrets = []
    for number, (tenant, bot) in enumerate(made):
        row, key = uuid7(), tenants[number // _EACH][1]
        sealed = seal(b'{"token": "%s"}' % TOKEN.encode(), key, Place(tenant, "bot_secrets", "sealed", row))
        secrets.append((row, tenant, bot, "credentials", sealed.value, sealed.key_version, sealed.suite, changed_at))
    async with admin.transaction():
        # Neither audited nor told to anybody: a real installation grows to this size over years.
        await admin.execute("set local session_replication_role = replica")
        for table in ("bot_health_changes", "performance_snapshots", "bot_events", "bot_secrets", "bot_health", "bots"):
            await admin.execute(_EMPTY[table])
        await _copy(
            admin, "tenants", ("id", "name", "updated_at"), [(tenant, "bench", changed_at) for tenant, _, _ in tenants]
        )
        await _copy(
            admin, "tenant_keys", ("id", "tenant_id", *_PAIR), [(uuid7(), tenant, *pair) for tenant, _, pair in tenants]
        )
        await _copy(
            admin,
            "bots",
            ("id", "tenant_id", "bot_type", "engine", "name", "api_url", "desired", "generation", "status",
             "observed_generation", "updated_at"),
            [(bot, tenant, "external", "tradewise", "bench", url, "running", 1, "connected", 1, changed_at)
             for (tenant, bot), url in zip(made, urls, strict=True)],
        )  # fmt: skip
        await _copy(
            admin, "bot_health", ("id", "tenant_id", "state", "observed_generation"),
            [(bot, tenant, "healthy", 1) for tenant, bot in made],
        )  # fmt: skip
        await _copy(
            admin,
            "bot_secrets",
            ("id", "tenant_id", "bot_id", "kind", "sealed", "key_version", "suite", "updated_at"),
            secrets,
        )
    await admin.execute("analyze")
    return made


_EMPTY: Final = {
    name: f"delete from {name}"
    for name in ("bot_health_changes", "performance_snapshots", "bot_events", "bot_secrets", "bot_health", "bots")
}


async def _copy(admin: asyncpg.Connection, table: str, columns: tuple[str, ...], rows: list[tuple[Any, ...]]) -> None:
    await admin.copy_records_to_table(table, columns=columns, records=rows)


async def spread(admin: asyncpg.Connection, interval_s: float) -> None:
    """Have all bots been seen within the last interval, one after another: as by a poller that has ended just now."""
    await admin.execute(
        "update bot_health set trading_state = 'running', identity = $2,"
        " observed_at = now() - random() * $1::text::interval, healthy_at = now() - random() * $1::text::interval",
        f"{interval_s} seconds",
        f"tradewise:{BOT_ID}",
    )
    # What this left behind must not take the room of what is measured.
    await admin.execute("vacuum full analyze bot_health")


async def updates(admin: asyncpg.Connection) -> tuple[int, int]:
    """How many updates of health rows there were ever, and how many of them touched no index. Ours are told at once,
    those of others within a second of their last.
    """
    await admin.execute("select pg_stat_force_next_flush()")
    row = await admin.fetchrow("select n_tup_upd, n_tup_hot_upd from pg_stat_user_tables where relname = 'bot_health'")
    return int(row["n_tup_upd"]), int(row["n_tup_hot_upd"])
