"""Claims: what is due, for whom there is room, and who may record."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from decimal import Decimal

import asyncpg
import pytest

from agents.egress import Limits
from agents.engines.base import Reading
from agents.poller.check import Checker
from agents.poller.decide import Outcome, decide
from agents.poller.due import Claim, Room, claim, release
from agents.poller.record import Recorder, Result
from control_plane.security.vault import Vault
from control_plane.settings import load_settings
from tests.factories import Factory, Owner, Urls
from tests.integration.poller.bots import HangingBot, launched
from tests.integration.poller.rows import bot_row, events, health_row, snapshots
from tests.servers.bot_server import BotServer

ROOM = Room(urgent=100, regular=100, slow=100)
TOKEN = "bot-token-0123456789"
READING = Reading(
    reachable=True,
    credential_ok=True,
    full=True,
    currency="USDT",
    equity=Decimal(1000),
    capital_base=Decimal(1000),
)


async def _bots(factory: Factory, owner: Owner, count: int, **columns: object) -> list[object]:
    return [await factory.bot(owner, api_url=f"http://10.0.0.{n}:8080", **columns) for n in range(1, count + 1)]  # type: ignore[arg-type]


async def _looked_at(admin: asyncpg.Connection, *, due_in: str, reason: str | None = None) -> None:
    await admin.execute(
        "update bot_health set observed_generation = 1, observed_at = now(), reason = $2, lease_until = null,"
        " next_poll_at = now() + $1::text::interval",
        due_in,
        reason,
    )


def _result(held: Claim, reading: Reading = READING) -> Result:
    outcome = Outcome(reading=reading, observed_at=held.now)
    return Result(held, decide(held.bot, held.previous, outcome, timedelta(seconds=15)), reading)


async def test_a_new_bot_is_due_at_once_and_claimed_once(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    [bot] = await _bots(factory, await factory.owner(), 1)
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
    bots = await _bots(factory, await factory.owner(), 200)
    claimed: list[object] = []
    while len(claimed) < len(bots):
        batches = await asyncio.gather(*(claim(pool, Room(urgent=9, regular=9, slow=9)) for _ in range(6)))
        claimed += [held.bot.id for batch in batches for held in batch.claims]
    assert sorted(map(str, claimed)) == sorted(map(str, bots))


async def test_the_next_bot_is_told_in_seconds(factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection) -> None:
    assert (await claim(pool, ROOM)).next_in_s is None
    await _bots(factory, await factory.owner(), 3)
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
    await _bots(factory, await factory.owner(), 1)
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
        ("bot_type = 'platform', generation = 2", False),
    ],
)
async def test_a_person_makes_a_bot_due(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection, change: str, due: bool
) -> None:
    await _bots(factory, await factory.owner(), 1, status="connected", observed_generation=1)
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
    slow = await _bots(factory, owner, 30)
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


async def test_only_the_claim_that_holds_the_lease_may_record(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    [bot] = await _bots(factory, await factory.owner(), 1)
    [late] = (await claim(pool, ROOM)).claims
    await admin.execute("update bot_health set lease_until = now() - interval '1 second'")
    [holder] = (await claim(pool, ROOM)).claims
    recorder = Recorder(pool, lambda _results: None)
    recorder.put(_result(late))
    await recorder.flush()
    assert (await health_row(admin, bot))["observed_at"] is None
    assert (await bot_row(admin, bot))["status"] == "inactive"
    assert await snapshots(admin, bot) == []
    recorder.put(_result(holder))
    await recorder.flush()
    assert (await bot_row(admin, bot))["status"] == "connected"
    assert len(await snapshots(admin, bot)) == len(await events(admin, bot)) == 1


@pytest.mark.parametrize("change", ["generation = 2", "desired = 'stopped'", "status = 'error'", "deleted_at = now()"])
async def test_a_verdict_on_what_has_changed_meanwhile_is_not_told(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection, change: str
) -> None:
    [bot] = await _bots(factory, await factory.owner(), 1)
    [held] = (await claim(pool, ROOM)).claims
    await admin.execute(f"update bots set {change}")
    recorder = Recorder(pool, lambda _results: None)
    recorder.put(_result(held))
    await recorder.flush()
    assert (await bot_row(admin, bot))["status"] in {"inactive", "error"}
    assert await events(admin, bot) == []


async def test_a_row_that_is_refused_costs_itself_alone(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection
) -> None:
    bots = await _bots(factory, await factory.owner(), 5, status="connected", observed_generation=1)
    await admin.execute("alter table performance_snapshots add constraint small check (equity < 5000)")
    claims = (await claim(pool, ROOM)).claims
    assert len(claims) == 5
    recorder = Recorder(pool, lambda _results: None)
    for held in claims:
        rich = Reading(reachable=True, credential_ok=True, full=True, equity=Decimal(9999))
        recorder.put(_result(held, rich if held.bot.id == bots[2] else READING))
    await recorder.flush()
    assert [len(await snapshots(admin, bot)) for bot in bots] == [1, 1, 0, 1, 1]
    assert {(await health_row(admin, bot))["state"] for bot in bots} == {"healthy"}
    assert not recorder.behind


@pytest.mark.parametrize("status", ["inactive", "connected"])
async def test_a_bot_row_that_somebody_holds_delays_that_bot_only(
    factory: Factory, pool: asyncpg.Pool, admin: asyncpg.Connection, status: str
) -> None:
    told = 1 if status == "connected" else -1
    bots = await _bots(factory, await factory.owner(), 4, status=status, observed_generation=told)
    recorder = Recorder(pool, lambda _results: None)
    for held in (await claim(pool, ROOM)).claims:
        recorder.put(_result(held))
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


async def test_a_bot_that_answers_too_slowly_is_a_timeout(factory: Factory, pool: asyncpg.Pool, vault: Vault) -> None:
    owner = await factory.owner()
    settings = load_settings({"TRADEWISE_EGRESS_ALLOW": "127.0.0.0/8"})
    async with HangingBot(token=TOKEN) as hanging, BotServer(token=TOKEN) as server:
        for url in (hanging.url, server.url):
            await factory.bot(owner, api_url=url, credentials={"token": TOKEN})
        claims = {held.bot.api_url: held for held in (await claim(pool, ROOM)).claims}
        silent, well = claims[hanging.url], claims[server.url]
        for limits, budget_s in ((Limits(total_timeout=0.2), 20.0), (Limits(), 0.2)):
            checker = Checker(settings, pool, vault, limits=limits, budget_s=budget_s)
            assert (await checker.check(silent.bot, silent.now)).reason == "timeout"
            checker.close()
        checker = Checker(settings, pool, vault, limits=Limits())
        outcome = await checker.check(well.bot, well.now)
        assert outcome.good
        assert outcome.observed_at >= well.claimed_at
        checker.close()
