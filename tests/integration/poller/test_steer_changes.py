"""Bots that are changed, or wished something else of, while they are steered."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from agents.poller.opening import Opener, Stored
from control_plane.security.vault import Vault
from tests.factories import Factory
from tests.integration.poller.bots import launched
from tests.integration.poller.wishes import (
    OURS,
    THEIRS,
    TOKEN,
    Deaf,
    Held,
    Slow,
    answered,
    as_claimed,
    asked,
    freqtrade,
    moved,
    steerer,
    wished,
)
from tests.servers.bot_server import BotServer
from tests.servers.freqtrade_server import FreqtradeServer
from tests.waiting import until


async def test_a_bot_that_moves_while_it_is_steered_is_not_asked_any_more_with_what_was_or_with_what_is(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    async with Deaf() as before, FreqtradeServer(password="another") as after, steerer(pool, vault) as one:
        owner = await factory.owner()
        bot = await freqtrade(factory, before, owner)
        await wished(admin, owner, bot, "stopped")
        one.due(as_claimed(owner, bot, before.url), wished=True)
        await until(lambda: asked(before), what="a first command")
        known = {request.headers.get("authorization") for request in before.requests}
        await moved(factory, owner, bot, after.url, THEIRS | {"password": "another"})
        row = await answered(admin, bot)
        assert (row["problem"], row["attempts"]) == ("superseded", 1)
        assert "changed" in row["problem_detail"]
        assert {request.headers.get("authorization") for request in before.requests} == known
        assert after.requests == []


async def test_a_bot_that_is_switched_off_while_it_is_steered_is_not_asked_again(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    async with Deaf() as server, steerer(pool, vault) as one:
        owner = await factory.owner()
        bot = await freqtrade(factory, server, owner)
        await wished(admin, owner, bot, "stopped")
        one.due(as_claimed(owner, bot, server.url), wished=True)
        await until(lambda: asked(server), what="a first command")
        await admin.execute("update bots set desired = 'stopped', generation = 2 where id = $1", bot)
        assert (await answered(admin, bot))["problem"] == "superseded"
        assert asked(server) == ["stop"]


async def test_what_the_old_address_says_after_a_change_confirms_nothing(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    async with Held() as before, FreqtradeServer(password="another") as after, steerer(pool, vault) as one:
        owner = await factory.owner()
        bot = await freqtrade(factory, before, owner)
        await wished(admin, owner, bot, "running")
        one.due(as_claimed(owner, bot, before.url), wished=True)
        await until(lambda: before.requests, what="a look that is under way")
        await moved(factory, owner, bot, after.url, THEIRS | {"password": "another"})
        before.answering.set()
        assert (await answered(admin, bot))["problem"] == "superseded"


async def test_a_wish_of_before_a_change_is_superseded_for_a_poller_that_knows_only_what_came_after(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    async with FreqtradeServer() as before, FreqtradeServer(password="another") as after, steerer(pool, vault) as one:
        owner = await factory.owner()
        bot = await freqtrade(factory, before, owner)
        await wished(admin, owner, bot, "stopped")
        await moved(factory, owner, bot, after.url, THEIRS | {"password": "another"})
        one.due(as_claimed(owner, bot, after.url, generation=2), wished=True)
        assert (await answered(admin, bot))["problem"] == "superseded"
        assert before.requests == after.requests == []


async def test_a_wish_of_after_a_change_is_for_the_bot_as_it_is_now_whatever_is_held_in_memory(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    async with FreqtradeServer() as before, FreqtradeServer(password="another") as after, steerer(pool, vault) as one:
        owner = await factory.owner()
        bot = await freqtrade(factory, before, owner)
        await moved(factory, owner, bot, after.url, THEIRS | {"password": "another"})
        await wished(admin, owner, bot, "stopped")
        one.due(as_claimed(owner, bot, before.url), wished=True)
        assert (await answered(admin, bot))["confirmed_at"] is not None
        assert (before.requests, asked(after)) == ([], ["stop"])


async def test_a_copy_of_ours_that_ended_is_waited_for_and_the_next_one_is_asked(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    steps: list[UUID] = []

    class Counted(Opener):
        async def stored(self, tenant_id: UUID, bot_id: UUID) -> Stored | None:
            steps.append(bot_id)
            return await super().stored(tenant_id, bot_id)

    async with BotServer(token=TOKEN) as server, steerer(pool, vault, opener=Counted) as one:
        owner = await factory.owner()
        bot = await factory.bot(owner, bot_type="platform", status="running", credentials=OURS)
        copy = await launched(admin, owner, bot, port=server.port, generation=1)
        await admin.execute("update bot_instances set state = 'exited', released_at = now() where id = $1", copy)
        await wished(admin, owner, bot, "paused")
        held = as_claimed(owner, bot, "", hosted=True, engine="tradewise", host_port=server.port)
        one.due(held, wished=True)
        await until(lambda: len(steps) >= 3, what="some steps")
        # At its old port, if anybody listens there, it is another's.
        assert server.requests == []
        await launched(admin, owner, bot, port=server.port, generation=1)
        assert (await answered(admin, bot))["confirmed_at"] is not None
        assert server.trading_state == "paused"


async def test_a_wish_that_meets_the_opposite_command_on_its_way_is_asked_and_not_only_looked_for(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    async with Slow() as server, steerer(pool, vault) as one:
        owner = await factory.owner()
        bot = await freqtrade(factory, server, owner)
        await wished(admin, owner, bot, "stopped")
        one.due(as_claimed(owner, bot, server.url), wished=True)
        await until(lambda: server.told == ["stop"], what="the first command")
        # Its state is what is wanted now, and would not stay so.
        await wished(admin, owner, bot, "running")
        assert (await answered(admin, bot))["confirmed_at"] is not None
        assert asked(server) == ["stop", "start"]
        server.go_on()
        assert server.trading_state == "running"
        # What has shown itself is settled: a wish that is so already is not asked for.
        await wished(admin, owner, bot, "running")
        one.due(as_claimed(owner, bot, server.url), wished=True)
        assert (await answered(admin, bot))["attempts"] == 0


async def test_the_command_of_before_is_known_to_the_next_poller_too(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    async with Slow() as server:
        owner = await factory.owner()
        bot = await freqtrade(factory, server, owner)
        held = as_claimed(owner, bot, server.url)
        async with steerer(pool, vault) as first:
            await wished(admin, owner, bot, "stopped")
            first.due(held, wished=True)
            await until(lambda: server.told == ["stop"], what="the first command")
        await wished(admin, owner, bot, "running")
        # Another one counted an attempt, and was killed before it made it.
        await admin.execute(
            "update bot_trading set attempts = 1, tried_at = now() - interval '10 s' where bot_id = $1", bot
        )
        async with steerer(pool, vault) as other:
            other.due(held, wished=True)
            assert (await answered(admin, bot))["attempts"] == 2
        server.go_on()
        assert (server.trading_state, asked(server)) == ("running", ["stop", "start"])
