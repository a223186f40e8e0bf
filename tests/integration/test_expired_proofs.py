"""What is left of sign-ins by others goes when its time is over."""

from __future__ import annotations

import asyncpg
from uuid_utils.compat import uuid7

from agents.agent import make_pool
from agents.scheduler.agent import Scheduler
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.factories import Urls


async def test_the_scheduler_clears_what_has_expired(
    settings: Settings, urls: Urls, vault: Vault, admin: asyncpg.Connection
) -> None:
    for number, hours in enumerate((-1, 1)):
        await admin.execute(
            "insert into spent_proofs (digest, expires_at) values ($1, now() + make_interval(hours => $2))",
            bytes([number]),
            hours,
        )
        await admin.execute(
            "insert into sign_in_exchanges (id, state_hash, proof_key_version, proof_suite, expires_at)"
            " values ($1, 'x', 1, 1, now() + make_interval(hours => $2))",
            uuid7(),
            hours,
        )
    pool = await make_pool(urls["agent_scheduler"], "scheduler", size=1)
    try:
        await Scheduler(settings, pool, vault).keep_house()
    finally:
        await pool.close()
    for table in ("spent_proofs", "sign_in_exchanges"):
        assert await admin.fetchval(f"select array_agg(expires_at > now()) from {table}") == [True]
