"""Asks copies that are to end to wind down their trading, and looks whether they have: the deeds to `draining`.

One look is one or two short calls. What is known is in the copy's row after each, so that looks can be cut off
anywhere, and the next launcher goes on.
"""

from __future__ import annotations

import asyncio
from ipaddress import ip_address, ip_network
from typing import Any, Final

import asyncpg
import structlog
from uuid_utils.compat import uuid7

from agents.egress import EgressError, GuardedClient, Limits, MeansExhausted
from agents.engines import engine_for
from agents.engines.base import DrainRefused, ReadFailure, Standing
from agents.hosted import reached_at
from agents.launcher import draining
from agents.launcher.draining import Drain, Outcome
from agents.launcher.lifecycle import Instance, Policy
from agents.launcher.queries import Work
from agents.secrets import open_bot_secret
from control_plane.security.addresses import BotUrl
from control_plane.security.credentials import Credential, CredentialError, decode_credentials
from control_plane.security.vault import OpenError, Vault
from control_plane.settings import Settings

_AT_ONCE: Final = 0.0
_LOOK_AGAIN_S: Final = 0.5
#: All calls of one look together: less than the margin after the deadline.
_BUDGET_S: Final = 8.0
_LIMITS: Final = Limits(connect_timeout=2.0, total_timeout=5.0)

# `asked` is kept unless more is wanted now than was asked for. The first look is told.
_BEGIN: Final = """
    with begun as (
        update bot_instances set drain_started_at = coalesce(drain_started_at, now()), drain_state = case
                when drain_state = 'asked' and (drain_positions = 'close' or $2 = 'keep') then 'asked' else 'asking' end
        where id = $1 and state = 'running' and released_at is null
        returning tenant_id, bot_id, drain_state, drain_positions, drain_started_at, drain_detail, now() as now
    ), told as (
        insert into bot_events (id, tenant_id, bot_id, kind, detail, cause, actor)
        select $3, tenant_id, bot_id, 'drain', $4, 'agent', 'launcher' from begun where drain_started_at = now
    )
    select * from begun
"""
_TAKEN: Final = """
    update bot_instances set drain_state = 'asked', drain_positions = $2
    where id = $1 and drain_state = 'asking' and released_at is null
"""
_ENDED: Final = """
    with ended as (
        update bot_instances set drain_state = $2, drain_positions = $3, drain_detail = $4
        where id = $1 and drain_state in ('asking', 'asked') and released_at is null
        returning tenant_id, bot_id
    )
    insert into bot_events (id, tenant_id, bot_id, kind, reason, detail, cause, actor)
    select $5, tenant_id, bot_id, case when $2 = 'drained' then 'drained' else 'drain' end,
        case when $2 = 'unconfirmed' then 'orders_unconfirmed' end, $4, 'agent', 'launcher' from ended
"""
_ASKED: Final = {
    "keep": "Before it is ended, it is asked to cancel its orders and to keep its positions.",
    "close": "Before it is ended, it is asked to cancel its orders and to close its positions.",
}


class Drainer:
    """Calls bots at the addresses where the launcher publishes them, and nowhere else."""

    def __init__(self, settings: Settings, pool: asyncpg.Pool, vault: Vault, policy: Policy) -> None:
        self._pool = pool
        self._vault = vault
        self._deadline_s = policy.drain_deadline
        self._host = reached_at(settings.publish_address)
        self._client = GuardedClient.for_hosted([ip_network(ip_address(self._host))], limits=_LIMITS)
        self._log = structlog.get_logger("launcher")

    def close(self) -> None:
        """Close every connection that is kept."""
        self._client.close()

    async def look(self, work: Work) -> float:
        """Ask ``work``'s copy if it has not been asked, see how far it is, and write that down. Raises for the
        database alone. Returns in how many seconds to look again."""
        instance, positions = work.instance, work.bot.positions
        if instance is None:
            return _AT_ONCE
        row = await self._pool.fetchrow(_BEGIN, instance.id, positions, uuid7(), _ASKED[positions])
        if row is None:
            return _AT_ONCE
        drain = Drain(
            state=row["drain_state"],
            positions=row["drain_positions"],
            started_at=row["drain_started_at"],
            answered=instance.drain.answered,
        )
        began = asyncio.get_running_loop().time()
        standing, problem, hopeless = await self._ask(work, instance, drain, positions)
        took = asyncio.get_running_loop().time() - began
        outcome = draining.judge(
            drain,
            positions,
            standing,
            problem,
            row["now"] + draining.seconds(took),
            self._deadline_s,
            hopeless=hopeless,
        )
        if outcome.state is None:
            return _LOOK_AGAIN_S
        await self._end(work, instance, positions, outcome)
        return _AT_ONCE

    async def _end(self, work: Work, instance: Instance, positions: str, outcome: Outcome) -> None:
        await self._pool.execute(_ENDED, instance.id, outcome.state, positions, outcome.detail, uuid7())
        self._log.info("bot_drained", bot=str(work.bot.id), outcome=outcome.state, positions=positions)

    async def _ask(
        self, work: Work, instance: Instance, drain: Drain, positions: str
    ) -> tuple[Standing | None, str | None, bool]:
        """What the bot said; else in words why it said nothing, and whether asking again would change nothing."""
        try:
            engine = engine_for(work.engine)
            credential = await self._credential(work)
        except (LookupError, OpenError, CredentialError):
            return None, "Its credentials could not be opened to ask it.", True
        if credential is None:
            return None, "Its credentials are gone, so that it could not be asked.", True
        url = BotUrl("http", self._host, instance.host_port or 0)
        try:
            async with asyncio.timeout(_BUDGET_S):
                if drain.state != "asked":
                    await engine.drain(self._client, url, credential, close=positions == "close")
                    await self._pool.execute(_TAKEN, instance.id, positions)
                return await engine.drained(self._client, url, credential, close=positions == "close"), None, False
        except TimeoutError:
            return None, "It did not answer in time.", False
        except DrainRefused as refused:
            return None, str(refused), True
        except ReadFailure as failure:
            return None, failure.detail, failure.credential_ok is False
        except EgressError as error:
            return None, error.message, False
        except MeansExhausted:
            return None, "It could not be asked just now.", False

    async def _credential(self, work: Work) -> Any:
        secret = await open_bot_secret(self._pool, self._vault, work.bot.tenant_id, work.bot.id, "credentials")
        credential: Credential | None = None if secret is None else decode_credentials(work.engine, secret.reveal())
        return credential
