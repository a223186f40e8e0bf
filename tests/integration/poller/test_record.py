"""What is written of a result, by whom, and what it may not hold up."""

from __future__ import annotations

from decimal import Decimal

import asyncpg
import pytest
from prometheus_client import REGISTRY

from agents.engines.base import Reading
from agents.poller.due import claim
from agents.poller.record import Recorder
from tests.factories import Factory, Urls
from tests.integration.poller.parts import READING, ROOM, bots_at, result_of
from tests.integration.poller.rows import bot_row, events, health_row, snapshots


def _lost(cause: str) -> float:
    return REGISTRY.get_sample_value("tradewise_poller_results_lost_total", {"cause": cause}) or 0.0


async def test_only_the_claim_that_holds_the_lease_may_record(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    [bot] = await bots_at(factory, await factory.owner(), 1)
    [late] = (await claim(pool, ROOM)).claims
    await admin.execute("update bot_health set lease_until = now() - interval '1 second'")
    [holder] = (await claim(pool, ROOM)).claims
    recorder = Recorder(pool, lambda _results: None)
    lost = _lost("overtaken")
    recorder.put(result_of(late))
    await recorder.flush()
    assert _lost("overtaken") == lost + 1
    assert (await health_row(admin, bot))["observed_at"] is None
    assert (await bot_row(admin, bot))["status"] == "inactive"
    assert await snapshots(admin, bot) == []
    recorder.put(result_of(holder))
    await recorder.flush()
    assert (await bot_row(admin, bot))["status"] == "connected"
    assert len(await snapshots(admin, bot)) == len(await events(admin, bot)) == 1


@pytest.mark.parametrize("change", ["generation = 2", "desired = 'stopped'", "status = 'error'", "deleted_at = now()"])
async def test_a_verdict_on_what_has_changed_meanwhile_is_not_told(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection, change: str
) -> None:
    [bot] = await bots_at(factory, await factory.owner(), 1)
    [held] = (await claim(pool, ROOM)).claims
    await admin.execute(f"update bots set {change}")
    recorder = Recorder(pool, lambda _results: None)
    recorder.put(result_of(held))
    await recorder.flush()
    assert (await bot_row(admin, bot))["status"] in {"inactive", "error"}
    assert await events(admin, bot) == []


async def test_a_row_that_is_refused_costs_itself_alone(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    bots = await bots_at(factory, await factory.owner(), 5, status="connected", observed_generation=1)
    await admin.execute("alter table performance_snapshots add constraint small check (equity < 5000)")
    claims = (await claim(pool, ROOM)).claims
    assert len(claims) == 5
    recorder, lost = Recorder(pool, lambda _results: None), _lost("refused")
    for held in claims:
        rich = Reading(reachable=True, credential_ok=True, full=True, equity=Decimal(9999))
        recorder.put(result_of(held, rich if held.bot.id == bots[2] else READING))
    await recorder.flush()
    assert [len(await snapshots(admin, bot)) for bot in bots] == [1, 1, 0, 1, 1]
    assert {(await health_row(admin, bot))["state"] for bot in bots} == {"healthy"}
    assert _lost("refused") == lost + 1
    assert not recorder.behind


@pytest.mark.parametrize("status", ["inactive", "connected"])
async def test_a_bot_row_that_somebody_holds_delays_that_bot_only(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection, status: str
) -> None:
    told = 1 if status == "connected" else -1
    bots = await bots_at(factory, await factory.owner(), 4, status=status, observed_generation=told)
    recorder = Recorder(pool, lambda _results: None)
    for held in (await claim(pool, ROOM)).claims:
        recorder.put(result_of(held))
    async with admin.transaction():
        await admin.execute("select from bots where id = $1 for update", bots[0])
        await recorder.flush()
        assert [(await bot_row(admin, bot))["status"] for bot in bots] == [status, *["connected"] * 3]
        assert [len(await snapshots(admin, bot)) for bot in bots] == [0, 1, 1, 1]
    health = await health_row(admin, bots[0])
    assert (health["state"], health["lease_until"]) == ("healthy", None)
    assert health["next_poll_at"] <= health["observed_at"]
    assert not recorder.behind


async def test_the_poller_may_not_write_what_people_want(
    urls: Urls, factory: Factory, admin: asyncpg.Connection
) -> None:
    owner = await factory.owner()
    hosted = await factory.bot(owner, bot_type="platform")
    connection = await asyncpg.connect(urls["agent_poller"])
    try:
        for column in ("desired", "generation", "name", "api_url", "ping_requested_at", "deleted_at", "bot_type"):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(f"update bots set {column} = {column}")
        for statement in (
            "update bot_secrets set last4 = '0000'",
            "update bot_instances set state = 'exited'",
            "update bot_health set engine_lost_at = now()",
            "delete from bots",
            "delete from performance_snapshots",
            "update performance_snapshots set equity = 0",
            "select * from users",
            "select * from subscriptions",
        ):
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.execute(statement)
        # A hosted bot's status is the launcher's: the row is not there to be updated.
        assert await connection.execute("update bots set status = 'error' where id = $1", hosted) == "UPDATE 0"
    finally:
        await connection.close()
