"""Port leases in the database: one port, one copy, whoever asks and however many at once; and none is ever lost."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from uuid_utils.compat import uuid4, uuid7

from agents.agent import make_pool
from agents.launcher import accounts, places, queries
from agents.launcher.lifecycle import Bot, Intent
from agents.launcher.places import NoPort, Occupied
from agents.launcher.ports import Ports
from control_plane.security.vault import Vault
from control_plane.settings import PortRange
from tests.factories import Factory, Owner, Urls

HOST = "docker"


@pytest.fixture
async def pools(urls: Urls) -> AsyncIterator[list[asyncpg.Pool]]:
    """Two launchers' connections."""
    made = [await make_pool(urls["agent_launcher"], "launcher") for _ in range(2)]
    yield made
    for pool in made:
        await pool.close()


@pytest.fixture
async def owner(factory: Factory) -> Owner:
    return await factory.owner()


async def hosted(factory: Factory, owner: Owner) -> Bot:
    """A hosted bot as a launcher has read it."""
    bot = await factory.bot(owner, bot_type="platform")
    return Bot(
        id=bot,
        tenant_id=owner.tenant_id,
        intent=Intent.RUN,
        generation=1,
        observed_generation=1,
        status="starting",
        status_since=datetime.now(UTC),
    )


async def claim(
    pool: asyncpg.Pool, bot: Bot, ports: Ports, *, tried: tuple[int, ...] = (), account: bytes | None = None
) -> tuple[UUID, int | None]:
    """Claim a place; which, and the port."""
    await ports.prepare(pool)
    instance = UUID(str(uuid7()))
    given: dict[str, Any] = {"runtime": HOST, "image": "x", "ports_of": ports, "tried": tried, "account": account}
    return instance, await places.claim(pool, bot, instance, **given)


async def lease(admin: asyncpg.Connection, port: int) -> asyncpg.Record:
    return await admin.fetchrow("select * from port_leases where port = $1", port)


async def rested(admin: asyncpg.Connection, seconds: float = 61) -> None:
    """As if so long had gone by since ports were given back."""
    await admin.execute("update port_leases set released_at = released_at - $1::interval", timedelta(seconds=seconds))


async def test_a_small_range_is_shared_out_without_a_loss_and_without_a_double(
    pools: list[asyncpg.Pool], factory: Factory, owner: Owner, admin: asyncpg.Connection
) -> None:
    """Forty claims from two processes race for sixteen ports, again and again."""
    bots = [await hosted(factory, owner) for _ in range(40)]
    ports = [Ports(HOST, PortRange(30000, 30015)) for _ in pools]
    for _ in range(3):

        async def attempt(number: int, bot: Bot) -> tuple[UUID, int | None] | None:
            try:
                return await claim(pools[number % 2], bot, ports[number % 2])
            except NoPort:
                return None

        results = await asyncio.gather(*(attempt(number, bot) for number, bot in enumerate(bots)))
        got = [result for result in results if result is not None]
        assert sorted(port for _, port in got if port is not None) == list(range(30000, 30016))
        rows = await admin.fetch("select instance_id, port from port_leases where state = 'leased'")
        assert {(row["instance_id"], row["port"]) for row in rows} == set(got)
        live = await admin.fetch("select id, host_port from bot_instances where released_at is null")
        assert {(row["id"], row["host_port"]) for row in live} == set(got)
        for instance, _ in got:
            await places.abandon(pools[0], instance, foreign=False)
        assert await admin.fetchval("select count(*) from port_leases where state <> 'free'") == 0
        await rested(admin)
    assert await admin.fetchval("select min(generation) from port_leases") == 3


async def test_two_launchers_that_claim_for_one_bot_give_it_one_place_and_keep_no_port(
    pools: list[asyncpg.Pool], factory: Factory, owner: Owner, admin: asyncpg.Connection
) -> None:
    bot, ports = await hosted(factory, owner), Ports(HOST, PortRange(30000, 30031))
    await ports.prepare(pools[0])

    async def attempt(number: int) -> str:
        try:
            await claim(pools[number % 2], bot, ports, account=b"one account")
        except Occupied:
            return "occupied"
        return "claimed"

    results = Counter(await asyncio.gather(*(attempt(number) for number in range(12))))
    assert results == {"claimed": 1, "occupied": 11}
    assert await admin.fetchval("select count(*) from port_leases where state = 'leased'") == 1
    assert await admin.fetchval("select count(*) from account_leases") == 1


async def test_a_port_rests_before_another_bot_gets_it_and_its_own_gets_it_back_at_once(
    pools: list[asyncpg.Pool], factory: Factory, owner: Owner, admin: asyncpg.Connection
) -> None:
    ports, pool = Ports(HOST, PortRange(30000, 30001)), pools[0]
    first, second = await hosted(factory, owner), await hosted(factory, owner)
    instance, port = await claim(pool, first, ports)
    other, _ = await claim(pool, second, ports)
    await places.abandon(pool, instance, foreign=False)
    await places.abandon(pool, other, foreign=False)
    third = await hosted(factory, owner)
    with pytest.raises(NoPort):
        await claim(pool, third, ports)
    again, same = await claim(pool, first, ports)
    assert same == port
    await places.abandon(pool, again, foreign=False)
    await rested(admin)
    await claim(pool, third, ports)
    assert (await lease(admin, 30000))["generation"] + (await lease(admin, 30001))["generation"] == 4


async def test_a_copy_whose_end_nobody_saw_keeps_its_port(
    pools: list[asyncpg.Pool], factory: Factory, owner: Owner, admin: asyncpg.Connection
) -> None:
    bot, ports, pool = await hosted(factory, owner), Ports(HOST, PortRange(30000, 30000)), pools[0]
    instance, _ = await claim(pool, bot, ports)
    await queries.attach(pool, instance, "container", "image")
    await queries.release(pool, bot, instance)
    assert (await lease(admin, 30000))["state"] == "leased"
    await admin.execute("update bot_instances set state = 'exited' where id = $1", instance)
    await queries.release(pool, bot, instance)
    row = await lease(admin, 30000)
    assert (row["state"], row["instance_id"], row["bot_id"]) == ("free", None, bot.id)
    assert row["released_at"] is not None


async def test_a_strangers_port_is_left_alone_and_tried_again_when_there_is_no_other(
    pools: list[asyncpg.Pool], factory: Factory, owner: Owner, admin: asyncpg.Connection
) -> None:
    ports, pool = Ports(HOST, PortRange(30000, 30001)), pools[0]
    bot = await hosted(factory, owner)
    instance, foreign = await claim(pool, bot, ports)
    assert foreign is not None
    await places.abandon(pool, instance, foreign=True)
    row = await lease(admin, foreign)
    assert (row["state"], row["instance_id"], row["bot_id"]) == ("foreign", None, None)
    # Another process knows it as well: it is in the database.
    instance, port = await claim(pools[1], bot, Ports(HOST, PortRange(30000, 30001)))
    assert port != foreign
    with pytest.raises(NoPort):
        await claim(pool, await hosted(factory, owner), ports, tried=(foreign,))
    _, tried_again = await claim(pool, await hosted(factory, owner), ports)
    assert tried_again == foreign


async def test_what_happened_to_leases_is_made_good_at_a_launchers_start(
    pools: list[asyncpg.Pool], factory: Factory, owner: Owner, admin: asyncpg.Connection
) -> None:
    ports, pool = PortRange(30000, 30003), pools[0]
    bots = [await hosted(factory, owner) for _ in range(2)]
    (_, kept), (lost, leaked) = [await claim(pool, bot, Ports(HOST, ports)) for bot in bots]
    await admin.execute("alter table bot_instances disable trigger release_leases")
    await admin.execute("update bot_instances set released_at = now() where id = $1", lost)
    await admin.execute("alter table bot_instances enable trigger release_leases")
    assert kept is not None
    assert leaked is not None
    await admin.execute("delete from port_leases where port = $1", kept)
    assert (await lease(admin, leaked))["state"] == "leased"
    await Ports(HOST, ports).prepare(pool)
    assert (await lease(admin, kept))["state"] == "leased"
    assert (await lease(admin, leaked))["state"] == "free"
    # Another range: the old one's ports stay known, and are not given out.
    _, port = await claim(pool, await hosted(factory, owner), Ports(HOST, PortRange(31000, 31000)))
    assert port == 31000


async def test_a_hundred_claims_at_once_on_a_wide_range_are_cheap(
    pools: list[asyncpg.Pool], factory: Factory, owner: Owner
) -> None:
    bots = [await hosted(factory, owner) for _ in range(100)]
    ports = Ports(HOST, PortRange(21000, 29999))
    await ports.prepare(pools[0])
    begun = time.perf_counter()
    got = await asyncio.gather(*(claim(pools[number % 2], bot, ports) for number, bot in enumerate(bots)))
    took = time.perf_counter() - begun
    print(f"100 claims in {took * 1000:.0f} ms")
    assert len({port for _, port in got}) == 100
    # Far more than it takes, and far less than one scan of the range for each would on a loaded machine.
    assert took < 5.0


async def test_an_account_is_held_by_one_copy_and_given_back_with_its_place(
    pools: list[asyncpg.Pool], factory: Factory, owner: Owner, admin: asyncpg.Connection, vault: Vault
) -> None:
    pool, ports = pools[0], Ports(HOST, PortRange(30000, 30009))
    account = await accounts.fingerprint(pool, vault.provider, "api-key-1")
    assert account == await accounts.fingerprint(pools[1], vault.provider, "api-key-1")
    assert account != await accounts.fingerprint(pool, vault.provider, "api-key-2")
    stranger = await hosted(factory, await factory.owner())
    instance, _ = await claim(pool, await hosted(factory, owner), ports, account=account)
    with pytest.raises(accounts.AccountInUse):
        await claim(pool, stranger, ports, account=account)
    assert await admin.fetchval("select count(*) from port_leases where state = 'leased'") == 1
    await places.abandon(pool, instance, foreign=False)
    held, _ = await claim(pool, stranger, ports, account=account)
    await accounts.recover(pool)
    assert await admin.fetchval("select instance_id from account_leases") == held
    # A copy that is gone without a trace holds no account.
    await admin.execute("delete from bot_instances where id = $1", held)
    await accounts.recover(pool)
    assert await admin.fetchval("select count(*) from account_leases") == 0


async def test_many_that_race_for_one_account_are_one(
    pools: list[asyncpg.Pool], factory: Factory, owner: Owner, admin: asyncpg.Connection
) -> None:
    bots = [await hosted(factory, owner) for _ in range(12)]
    ports = Ports(HOST, PortRange(30000, 30031))
    await ports.prepare(pools[0])

    async def attempt(number: int, bot: Bot) -> bool:
        try:
            await claim(pools[number % 2], bot, ports, account=b"one account")
        except accounts.AccountInUse:
            return False
        return True

    assert sum(await asyncio.gather(*(attempt(number, bot) for number, bot in enumerate(bots)))) == 1
    assert await admin.fetchval("select count(*) from bot_instances") == 1


async def test_the_database_alone_tells_nothing_of_an_account(
    pools: list[asyncpg.Pool], admin: asyncpg.Connection, vault: Vault
) -> None:
    name = f"api-key-{uuid4()}"
    account = await accounts.fingerprint(pools[0], vault.provider, name)
    row = await admin.fetchrow("select * from account_keys")
    assert name.encode() not in account
    assert len(account) == 32
    # Wrapped: 32 bytes with nonce and tag, and no key of that length beside it.
    assert len(row["wrapped_private_key"]) > 32
    with pytest.raises(asyncpg.UniqueViolationError):
        await admin.execute("insert into account_keys (id, wrapped_private_key, kek_id) values ($1, 'x', 'x')", uuid7())
