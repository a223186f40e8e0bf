"""Which bots are looked after, which of them somebody waits for, and how shards change hands."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import asyncpg
import pytest

from agents.poller.intervals import Intervals
from agents.poller.shards import SHARDS
from agents.poller.watched import Fleet, changed_since, load_bots
from control_plane.plans import parse_plans
from control_plane.settings import load_settings
from tests.factories import Factory
from tests.integration.poller.bots import launched
from tests.integration.poller.parts import bots_at, holding, watched_bots


async def _looked_at(admin: asyncpg.Connection) -> None:
    await admin.execute(
        "update bot_health set observed_generation = 1, state = 'healthy', observed_at = now() - interval '1 second'"
    )


async def test_a_new_bot_is_waited_for(factory: Factory, pool: asyncpg.Pool) -> None:
    [bot] = await bots_at(factory, await factory.owner(), 1)
    [watched] = (await watched_bots(pool)).values()
    assert (watched.bot.id, watched.urgent, watched.bot.generation) == (bot, True, 1)
    assert (watched.health.state, watched.origin, watched.host) == ("unknown", "10.0.0.1:8080", "10.0.0.1")


@pytest.mark.parametrize(
    ("change", "watched", "urgent"),
    [
        ("name = 'another'", True, False),
        ("ping_requested_at = now()", True, True),
        ("ping_requested_at = now() - interval '1 hour'", True, False),
        ("generation = 2", True, True),
        ("desired = 'stopped'", True, True),
        ("desired = 'stopped', status = 'inactive'", False, False),
        ("desired = 'stopped', status = 'inactive', generation = 2", True, True),
        ("deleted_at = now(), generation = 2", False, False),
        ("bot_type = 'platform', status = 'running', generation = 2", False, False),
    ],
)
async def test_a_person_makes_a_bot_urgent(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection, change: str, watched: bool, urgent: bool
) -> None:
    await bots_at(factory, await factory.owner(), 1, status="connected", observed_generation=1)
    await _looked_at(admin)
    await admin.execute(f"update bots set {change}")
    found = list((await watched_bots(pool)).values())
    assert len(found) == watched
    assert [one.urgent for one in found] == [urgent] * watched


async def test_a_hosted_bot_is_watched_while_its_container_runs(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    owner = await factory.owner()
    bot = await factory.bot(owner, bot_type="platform", generation=7, status="running")
    assert await watched_bots(pool) == {}
    instance = await launched(admin, owner, bot, port=23456, generation=6)
    found = (await watched_bots(pool))[bot]
    assert (found.bot.generation, found.bot.host_port, found.bot.hosted) == (6, 23456, True)
    # Each on a port of its own: no turns are shared.
    assert (found.origin, found.host) == (None, None)
    await admin.execute("update bot_instances set state = 'exited' where id = $1", instance)
    assert await watched_bots(pool) == {}


async def test_bots_of_a_suspended_tenant_are_left_alone_until_it_is_resumed(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    resting, active = await factory.owner("Rests"), await factory.owner("Works")
    [late], [kept] = await bots_at(factory, resting, 1), await bots_at(factory, active, 1)
    await admin.execute("update tenants set status = 'suspended' where id = $1", resting.tenant_id)
    assert set(await watched_bots(pool)) == {kept}
    await admin.execute("update tenants set status = 'active' where id = $1", resting.tenant_id)
    assert set(await watched_bots(pool)) == {late, kept}


async def test_what_was_changed_without_a_word_is_found(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    owner = await factory.owner()
    bots = await bots_at(factory, owner, 4, credentials={"token": "bot-token-0123456789"})
    hosted = await factory.bot(owner, bot_type="platform", status="running")
    since = await admin.fetchval("select clock_timestamp()")
    assert await changed_since(pool, since) == set()
    await admin.execute("update bots set name = 'another' where id = $1", bots[0])
    await admin.execute("delete from bot_secrets where bot_id = $1", bots[1])
    await factory.secret(owner, bots[1], "credentials", {"token": "another-token-0123456789"})
    await launched(admin, owner, hosted, port=23456, generation=1)
    changed = await changed_since(pool, since)
    assert {bot for bot, _ in changed} == {bots[0], bots[1], hosted}
    await admin.execute("update tenants set plan = 'pro'")
    now_changed = await changed_since(pool, since)
    assert now_changed > changed
    assert {bot for bot, _ in now_changed} == {*bots, hosted}


async def test_a_plan_has_a_pace_of_its_own(factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection) -> None:
    plans = parse_plans(
        '{"free": {}, "pro": {"poll_interval": 5}, "slow": {"poll_interval": 90, "reading_interval": 1}}'
    )
    intervals = Intervals(load_settings({}, plans=plans))
    assert intervals.shortest_s == 5
    fleet = Fleet(intervals)
    owner = await factory.owner()
    [bot] = await bots_at(factory, owner, 1)
    paces = []
    for plan in ("free", "pro", "slow", "forgotten"):
        await admin.execute("update tenants set plan = $1", plan)
        fleet.learn(await load_bots(pool, [bot]))
        watched = fleet.get(bot)
        assert watched is not None
        paces.append((watched.pace.check_s, watched.pace.reading_s))
    assert paces == [(15.0, 60.0), (5.0, 60.0), (90.0, 90.0), (15.0, 60.0)]


async def test_what_is_opened_is_dropped_with_the_credential_and_the_generation(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    owner = await factory.owner()
    [bot] = await bots_at(factory, owner, 1, credentials={"token": "bot-token-0123456789"})
    fleet = Fleet(Intervals(load_settings({})))
    for change, kept in (
        ("update bots set name = 'another'", True),
        ("update bots set generation = 2", False),
        ("update bots set api_url = 'http://10.0.0.9:8080'", False),
        # Sealed anew for another key, it is still the same credential; another one is another row.
        ("update bot_secrets set sealed = sealed || sealed", True),
        ("update bot_secrets set id = gen_random_uuid()", False),
        ("delete from bot_secrets", False),
        ("update bots set ping_requested_at = now()", True),
    ):
        fleet.learn(await load_bots(pool, [bot]))
        watched = fleet.get(bot)
        assert watched is not None
        watched.opened = opened = object()
        await admin.execute(change)
        fleet.learn(await load_bots(pool, [bot]))
        assert (watched.opened is opened) == kept, change


async def test_pollers_share_fairly_and_every_shard_is_held_once(pool: asyncpg.Pool) -> None:
    first = await holding(pool)
    assert len(first.held) == SHARDS
    others = [await holding(pool) for _ in range(2)]
    # Nothing is taken from who lives: it gives back what is more than its share.
    assert [len(other.held) for other in others] == [0, 0]
    everyone = [first, *others]
    for _ in range(3):
        for shards in everyone:
            turn = await shards.beat()
            assert not turn.lost
            await shards.give(list(shards.held)[: turn.surplus])
    assert sorted(len(shards.held) for shards in everyone) == [84, 86, 86]
    assert sorted(shard for shards in everyone for shard in shards.held) == list(range(SHARDS))
    await others[0].give(list(others[0].held))
    await pool.execute("delete from agent_beats where id = $1", others[0]._holder)
    for shards in (first, others[1], first, others[1]):
        await shards.beat()
    assert [len(first.held), len(others[1].held)] == [128, 128]


async def test_shards_are_taken_by_one_at_a_time(pool: asyncpg.Pool) -> None:
    everyone = await asyncio.gather(*(holding(pool) for _ in range(6)))
    held = [shard for shards in everyone for shard in shards.held]
    assert len(held) == len(set(held))


async def test_a_lease_that_ended_is_taken_over_and_the_late_one_learns_of_it(
    pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    late = await holding(pool)
    await admin.execute("update poll_shards set lease_until = now() where shard < 100")
    # A lease that ended and that nobody took goes on.
    assert (await late.beat()).lost == frozenset()
    await admin.execute("update poll_shards set lease_until = now() where shard < 100")
    await admin.execute("delete from agent_beats")
    taker = await holding(pool)
    assert set(taker.held) == set(range(100))
    assert set(taker.held.values()) == {2}
    turn = await late.beat()
    assert turn.lost == frozenset(range(100))
    assert set(late.held) == set(range(100, SHARDS))


async def test_who_was_cut_off_gives_others_the_time_to_come_back(
    pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    """After an outage of the database all leases have ended at once, and all pollers are about to be back."""
    first = await holding(pool, lease_s=60.0)
    await first.give(list(range(100)))
    second = await holding(pool, lease_s=60.0)
    assert len(second.held) == 100
    first._beaten_at -= 61
    await admin.execute("update poll_shards set lease_until = now()")
    await admin.execute("update agent_beats set beat_at = now() - interval '1 hour' where id = $1", second._holder)
    turn = await first.beat()
    assert (len(first.held), turn.lost, turn.taken) == (156, frozenset(), frozenset())
    assert (await second.beat()).lost == frozenset()
    first._cut_off_until = 0.0
    await admin.execute("update poll_shards set lease_until = now() where holder = $1", second._holder)
    await admin.execute("update agent_beats set beat_at = now() - interval '1 hour' where id = $1", second._holder)
    assert len((await first.beat()).taken) == 100


async def test_the_clock_is_that_of_the_database(pool: asyncpg.Pool) -> None:
    shards = await holding(pool)
    loop = asyncio.get_running_loop()
    told = await pool.fetchval("select clock_timestamp()")
    moment = shards.moment(loop.time())
    assert told <= moment <= told + timedelta(seconds=2)
    assert shards.monotonic(moment) == pytest.approx(loop.time(), abs=2)
    assert abs(moment - datetime.now(UTC)) < timedelta(seconds=5)
