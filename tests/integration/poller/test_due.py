"""Claims: what is due, and for whom there is room."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from agents.poller.due import Room, claim, release
from tests.factories import Factory
from tests.integration.poller.bots import launched
from tests.integration.poller.parts import ROOM, bots_at


async def _looked_at(admin: asyncpg.Connection, *, due_in: str, reason: str | None = None) -> None:
    await admin.execute(
        "update bot_health set observed_generation = 1, observed_at = now(), reason = $2, lease_until = null,"
        " next_poll_at = now() + $1::text::interval",
        due_in,
        reason,
    )


async def test_a_new_bot_is_due_at_once_and_claimed_once(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    [bot] = await bots_at(factory, await factory.owner(), 1)
    [held] = (await claim(pool, ROOM)).claims
    assert (held.bot.id, held.urgent, held.bot.generation, held.previous.state) == (bot, True, 1, "unknown")
    again = await claim(pool, ROOM)
    assert again.claims == []
    assert again.next_in_s is not None
    assert 25 < again.next_in_s <= 30
    await release(pool, [held])
    assert len((await claim(pool, ROOM)).claims) == 1


async def test_claims_at_the_same_moment_never_overlap(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    bots = await bots_at(factory, await factory.owner(), 200)
    claimed: list[object] = []
    while len(claimed) < len(bots):
        batches = await asyncio.gather(*(claim(pool, Room(urgent=9, regular=9, slow=9)) for _ in range(6)))
        claimed += [held.bot.id for batch in batches for held in batch.claims]
    assert sorted(map(str, claimed)) == sorted(map(str, bots))


async def test_the_next_bot_is_told_in_seconds(factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection) -> None:
    assert (await claim(pool, ROOM)).next_in_s is None
    await bots_at(factory, await factory.owner(), 3)
    await _looked_at(admin, due_in="10 seconds")
    batch = await claim(pool, ROOM)
    assert batch.claims == []
    assert batch.next_in_s is not None
    assert 9 < batch.next_in_s <= 10


@pytest.mark.parametrize(
    ("change", "due"),
    [
        ("next_poll_at = now()", True),
        ("next_poll_at = now() + interval '1 second'", False),
        ("observed_generation = 0, observed_at = now() - interval '1 second'", True),
        ("next_poll_at = now(), lease_until = now() + interval '1 second'", False),
        ("next_poll_at = now(), lease_until = now()", True),
    ],
)
async def test_external_bots_are_due(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection, change: str, due: bool
) -> None:
    await bots_at(factory, await factory.owner(), 1)
    await _looked_at(admin, due_in="1 hour")
    await admin.execute(f"update bot_health set {change}")
    assert len((await claim(pool, ROOM)).claims) == due


@pytest.mark.parametrize(
    ("change", "due"),
    [
        ("ping_requested_at = now()", True),
        ("ping_requested_at = now() - interval '1 hour'", False),
        ("generation = 2", True),
        ("desired = 'stopped'", True),
        ("desired = 'stopped', status = 'inactive'", False),
        ("deleted_at = now(), generation = 2", False),
        ("bot_type = 'platform', status = 'running', generation = 2", False),
    ],
)
async def test_a_person_makes_a_bot_due(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection, change: str, due: bool
) -> None:
    await bots_at(factory, await factory.owner(), 1, status="connected", observed_generation=1)
    await _looked_at(admin, due_in="1 hour")
    await admin.execute("update bot_health set observed_at = now() - interval '1 second'")
    await admin.execute(f"update bots set {change}")
    batch = await claim(pool, ROOM)
    assert len(batch.claims) == due
    assert all(held.urgent for held in batch.claims)


async def test_a_hosted_bot_is_due_while_its_container_runs(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    owner = await factory.owner()
    bot = await factory.bot(owner, bot_type="platform", generation=7, status="running")
    assert (await claim(pool, ROOM)).claims == []
    instance = await launched(admin, owner, bot, port=23456, generation=6)
    [held] = (await claim(pool, ROOM)).claims
    assert (held.bot.generation, held.bot.host_port, held.bot.hosted) == (6, 23456, True)
    await release(pool, [held])
    await admin.execute("update bot_instances set state = 'exited' where id = $1", instance)
    assert (await claim(pool, ROOM)).claims == []


async def test_bots_that_timed_out_queue_apart(factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection) -> None:
    owner = await factory.owner()
    slow = await bots_at(factory, owner, 30)
    await _looked_at(admin, due_in="-1 hour", reason="timeout")
    regular = [await factory.bot(owner, api_url=f"http://10.1.0.{n}:8080") for n in range(1, 6)]
    await admin.execute(
        "update bot_health set observed_generation = 1, observed_at = now(), next_poll_at = now() where id = any($1)",
        regular,
    )
    claims = (await claim(pool, Room(urgent=40, regular=40, slow=4))).claims
    assert sum(held.slow for held in claims) == 4
    assert {held.bot.id for held in claims if not held.slow} == set(regular)
    # Somebody who asks is served even where there is no room for the rest.
    await admin.execute("update bots set ping_requested_at = now() + interval '1 second' where id = $1", slow[-1])
    await admin.execute(
        "update bot_health set lease_until = null, observed_at = now() - interval '1 second' where id = $1", slow[-1]
    )
    claims = (await claim(pool, Room(urgent=5, regular=0, slow=0))).claims
    assert [(held.bot.id, held.urgent) for held in claims] == [(slow[-1], True)]


async def test_bots_of_a_suspended_tenant_are_left_alone_until_it_is_resumed(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    resting, active = await factory.owner("Rests"), await factory.owner("Works")
    [late], [kept] = await bots_at(factory, resting, 1), await bots_at(factory, active, 1)
    await admin.execute("update tenants set status = 'suspended' where id = $1", resting.tenant_id)
    batch = await claim(pool, ROOM)
    assert [held.bot.id for held in batch.claims] == [kept]
    await admin.execute("update tenants set status = 'active' where id = $1", resting.tenant_id)
    assert [held.bot.id for held in (await claim(pool, ROOM)).claims] == [late]
