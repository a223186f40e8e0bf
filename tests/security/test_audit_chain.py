"""The chains hold under many writers at once: no deadlock, no gap, no two events that are told alike."""

from __future__ import annotations

import asyncio
import itertools
import json
import random
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from tests.audit import bound, events, fault, tell
from tests.factories import Factory, Owner, Urls

WRITERS = 24


async def add_bot(connection: asyncpg.Connection, owner: Owner) -> UUID:
    bot = uuid7()
    await connection.execute(
        "insert into bots (id, tenant_id, bot_type, engine, name) values ($1, $2, 'platform', 'tradewise', 'x')",
        bot,
        owner.tenant_id,
    )
    return bot


async def gapless(admin: asyncpg.Connection, owner: Owner) -> int:
    told = await events(admin, owner.tenant_id)
    assert [event["seq"] for event in told] == list(range(1, len(told) + 1))
    assert [event["at"] for event in told] == sorted(event["at"] for event in told)
    for before, event in itertools.pairwise(told):
        assert event["prev_hash"] == before["hash"]
    assert await fault(admin, owner.tenant_id) is None
    return len(told)


async def test_many_writers_of_one_tenant_and_of_several(
    urls: Urls, admin: asyncpg.Connection, factory: Factory
) -> None:
    owners = [await factory.owner(name) for name in ("Ada", "Bob", "Cy")]
    pool = await asyncpg.create_pool(urls["api"], min_size=WRITERS, max_size=WRITERS)

    async def write(number: int) -> None:
        owner = owners[number % len(owners)]
        async with pool.acquire() as connection:
            for _ in range(5):
                async with bound(connection, owner):
                    bot = await add_bot(connection, owner)
                    await connection.execute("select audit_note('test.told', 'bot', $1, null)", bot)
                    await connection.execute("update bots set name = 'y' where id = $1", bot)

    await asyncio.gather(*(write(number) for number in range(WRITERS)))
    await pool.close()
    for owner in owners:
        assert await gapless(admin, owner) == 2 + WRITERS // len(owners) * 5 * 3


async def test_orders_of_locks_that_would_deadlock_heads_taken_as_rows_are_written(
    urls: Urls, admin: asyncpg.Connection, factory: Factory
) -> None:
    """Each transaction writes several tenants' rows in an order of its own, and waits for all others amid it."""
    owners = [await factory.owner(name) for name in ("Ada", "Bob", "Cy", "Di")]
    connections = [await asyncpg.connect(urls.admin) for _ in range(WRITERS)]
    amid = asyncio.Barrier(WRITERS)

    async def write(number: int) -> None:
        order = random.Random(number).sample(owners, len(owners))
        async with connections[number].transaction():
            await add_bot(connections[number], order[0])
            await amid.wait()
            for owner in order[1:]:
                await add_bot(connections[number], owner)

    try:
        async with asyncio.timeout(60):
            await asyncio.gather(*(write(number) for number in range(WRITERS)))
    finally:
        for connection in connections:
            await connection.close()
    for owner in owners:
        assert await gapless(admin, owner) == 2 + WRITERS


async def test_a_new_chain_begun_by_many_at_once(urls: Urls, admin: asyncpg.Connection) -> None:
    tenants = [uuid7(), uuid7()]
    connections = [await asyncpg.connect(urls["agent_launcher"]) for _ in range(WRITERS)]
    amid = asyncio.Barrier(WRITERS)

    async def write(number: int) -> None:
        async with connections[number].transaction():
            for tenant in tenants if number % 2 else tenants[::-1]:
                await connections[number].execute("select audit_agent_note($1, 'a.b', null, null, null)", tenant)
            await amid.wait()

    await asyncio.gather(*(write(number) for number in range(WRITERS)))
    for connection in connections:
        await connection.close()
    for tenant in tenants:
        assert [event["seq"] for event in await events(admin, tenant)] == list(range(1, WRITERS + 1))
        assert await fault(admin, tenant) is None


async def test_a_writer_holds_up_nobody_until_it_commits(
    urls: Urls, admin: asyncpg.Connection, factory: Factory
) -> None:
    owner = await factory.owner()
    slow, quick = await asyncpg.connect(urls["api"]), await asyncpg.connect(urls["api"])
    async with bound(slow, owner):
        await add_bot(slow, owner)
        await tell(quick, owner, 3)
    assert [event["action"] for event in await events(admin, owner.tenant_id)][2:] == [
        *["test.told"] * 3,
        "bot.created",
    ]
    await slow.close()
    await quick.close()
    await gapless(admin, owner)


async def test_what_is_rolled_back_was_never_told(urls: Urls, admin: asyncpg.Connection, factory: Factory) -> None:
    owner = await factory.owner()
    web = await asyncpg.connect(urls["api"])
    whole = web.transaction()
    await whole.start()
    await web.execute("select set_config('app.tenant_id', $1, true)", str(owner.tenant_id))
    await add_bot(web, owner)
    await whole.rollback()
    async with bound(web, owner):
        await web.execute("select audit_note('kept.first', null, null, null)")
        part = web.transaction()
        await part.start()
        await web.execute("select audit_note('not.kept', null, null, null)")
        await part.rollback()
        await web.execute("select audit_note('kept.second', null, null, null)")
    await web.close()
    assert [event["action"] for event in await events(admin, owner.tenant_id)][2:] == ["kept.first", "kept.second"]
    await gapless(admin, owner)


async def test_thousands_of_rows_in_one_transaction(admin: asyncpg.Connection, factory: Factory) -> None:
    """The first row's trigger links them all, the others find nothing left: the time is linear."""
    owner = await factory.owner()
    await admin.execute(
        "insert into bots (id, tenant_id, bot_type, engine, name)"
        " select gen_random_uuid(), $1, 'platform', 'tradewise', 'x' from generate_series(1, 3000)",
        owner.tenant_id,
    )
    assert await gapless(admin, owner) == 3002
    assert await admin.fetchval("select count(*) from audit_pending") == 0


class Encoder:
    """``audit_encoded`` on a connection of a loop of its own, for hypothesis."""

    def __init__(self, connection: asyncpg.Connection) -> None:
        self.connection = connection

    async def __call__(self, event: dict[str, Any]) -> tuple[str, bytes]:
        row = await self.connection.fetchrow(
            "select audit_encoded(e) as encoded, audit_hash(e) as hash"
            " from jsonb_populate_record(null::audit_events, $1::jsonb) e",
            json.dumps(event),
        )
        return row["encoded"], row["hash"]


@pytest.fixture
def encoder(admin: asyncpg.Connection) -> Encoder:
    return Encoder(admin)


WORDS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**40), 2**40) | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=6,
)
MOMENT = datetime(2026, 1, 1, tzinfo=UTC)
COLUMNS = {
    "tenant_id": st.uuids().map(str),
    "seq": st.integers(1, 2**62),
    "id": st.uuids().map(str),
    "at": st.integers(0, 10**14).map(lambda n: (MOMENT + timedelta(microseconds=n)).isoformat()),
    "actor_kind": WORDS,
    "actor_id": WORDS,
    "user_id": st.none() | st.uuids().map(str),
    "address": st.none() | st.ip_addresses().map(str),
    "request_id": st.none() | st.uuids().map(str),
    "action": WORDS,
    "resource": st.none() | WORDS,
    "resource_id": st.none() | st.uuids().map(str),
    "outcome": WORDS,
    "changes": st.dictionaries(WORDS, VALUES, max_size=3),
    "detail": st.dictionaries(WORDS, VALUES, max_size=3),
    "prev_hash": st.binary(min_size=32, max_size=32).map(lambda raw: "\\x" + raw.hex()),
}
EVENTS = st.fixed_dictionaries(COLUMNS)
MANY = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@MANY
@given(event=EVENTS, other=EVENTS, names=st.sets(st.sampled_from(sorted(COLUMNS)), min_size=1))
async def test_two_events_never_read_alike(
    encoder: Encoder, event: dict[str, Any], other: dict[str, Any], names: set[str]
) -> None:
    changed = {**event, **{name: other[name] for name in names}}
    same = event == changed
    first, second = await encoder(event), await encoder(changed)
    assert (first[0] == second[0]) == same
    assert (first[1] == second[1]) == same


@MANY
@given(event=EVENTS, left=WORDS, right=WORDS)
async def test_what_moves_over_a_border_between_columns_is_seen(
    encoder: Encoder, event: dict[str, Any], left: str, right: str
) -> None:
    pairs = {(left + right, ""), ("", left + right), (left, right), (left + '", "', right), (left, '", "' + right)}
    encoded = {(await encoder({**event, "actor_kind": one, "actor_id": two}))[0] for one, two in pairs}
    assert len(encoded) == len(pairs)


async def test_the_reader_s_settings_change_no_byte(encoder: Encoder, admin: asyncpg.Connection) -> None:
    event = {
        "tenant_id": str(uuid7()),
        "seq": 1,
        "at": "2026-03-29T01:30:00.123456+00:00",
        "address": "::1",
        "changes": {"b": 1.50, "a": "é"},
        "prev_hash": "\\x00",
    }
    plain = await encoder(event)
    for setting in ("timezone = 'Asia/Kathmandu'", "datestyle = 'German'", "bytea_output = 'escape'",
                    "extra_float_digits = -5", "intervalstyle = 'iso_8601'", "lc_monetary = 'C'"):  # fmt: skip
        await admin.execute(f"set {setting}")
        assert await encoder(event) == plain
