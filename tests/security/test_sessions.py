"""The binding of a transaction to its tenant: it travels inside BEGIN, and nothing of it stays with the connection."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncSession
from uuid_utils.compat import uuid7

from control_plane.database.connection import Binding
from control_plane.database.sessions import Database, UnboundSessionError
from tests.factories import Factory, Owner, Urls
from tests.servers.database_proxy import DatabaseProxy
from tests.waiting import until

_BOUND = text("select nullif(current_setting('app.tenant_id', true), '')")
_BOTS = text("select tenant_id from bots")


@pytest.fixture
async def one(urls: Urls) -> AsyncIterator[Database]:
    """A pool of one connection: whatever is left behind meets the next user."""
    database = Database(urls["api"], pool_size=1)
    yield database
    await database.close()


@pytest.fixture
async def owner(factory: Factory) -> Owner:
    owner = await factory.owner()
    await factory.bot(owner)
    return owner


async def bound_to(session: AsyncSession) -> UUID | None:
    found = await session.scalar(_BOUND)
    return UUID(found) if found else None


async def nobody_is_bound(database: Database) -> None:
    async with database.anonymous() as session:
        assert await bound_to(session) is None
        assert (await session.execute(_BOTS)).all() == []
    async with database.engine.connect() as connection:  # a connection that no session of ours ever began
        assert await connection.scalar(_BOUND) is None


async def test_a_bound_transaction_sees_its_tenant(one: Database, owner: Owner) -> None:
    async with one.tenant(owner.tenant_id) as session:
        assert await bound_to(session) == owner.tenant_id
        assert (await session.execute(_BOTS)).scalars().all() == [owner.tenant_id]
    await nobody_is_bound(one)


async def test_a_session_without_a_statement_leaves_nothing(one: Database, owner: Owner) -> None:
    async with one.tenant(owner.tenant_id) as session:
        await session.connection()  # checked out and begun, but BEGIN is sent with the first statement: never
    await nobody_is_bound(one)


async def test_a_failed_transaction_leaves_nothing(one: Database, owner: Owner) -> None:
    with pytest.raises(DBAPIError):
        async with one.tenant(owner.tenant_id) as session:
            await session.execute(text("select 1 / 0"))
    with suppress(LookupError):
        async with one.tenant(owner.tenant_id) as session:
            await session.execute(_BOTS)
            raise LookupError
    await nobody_is_bound(one)


@pytest.mark.parametrize("statement", [None, "select 1", "select pg_sleep(30)"])
async def test_a_cancelled_request_leaves_nothing(one: Database, owner: Owner, statement: str | None) -> None:
    begun = asyncio.Event()

    async def request() -> None:
        async with one.tenant(owner.tenant_id) as session:
            await session.connection()
            begun.set()
            if statement is not None:
                await session.execute(text(statement))
            await asyncio.Event().wait()

    task = asyncio.create_task(request())
    await begun.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    async with asyncio.timeout(10):  # the pool of one gives a connection again
        await nobody_is_bound(one)


async def test_savepoints_keep_the_binding(one: Database, owner: Owner) -> None:
    async with one.tenant(owner.tenant_id) as session:
        async with session.begin_nested():
            assert await bound_to(session) == owner.tenant_id
        with suppress(LookupError):
            async with session.begin_nested():
                await session.execute(_BOTS)
                raise LookupError
        with pytest.raises(DBAPIError):
            async with session.begin_nested():
                await session.execute(text("select 1 / 0"))
        assert await bound_to(session) == owner.tenant_id
    await nobody_is_bound(one)


async def test_each_transaction_of_a_session_is_bound_again(one: Database, owner: Owner) -> None:
    info: dict[Any, Any] = {"binding": Binding(tenant_id=owner.tenant_id)}
    async with one._sessions(info=info) as session:
        for _ in range(3):
            async with session.begin():
                assert await bound_to(session) == owner.tenant_id
            await nobody_is_bound(one)
        await session.execute(_BOTS)
        await session.rollback()
        assert await bound_to(session) == owner.tenant_id
        await session.commit()
    await nobody_is_bound(one)


async def test_a_session_that_says_nothing_cannot_begin(one: Database) -> None:
    async with one._sessions() as session:
        with pytest.raises(UnboundSessionError, match=r"Database\.tenant"):
            await session.execute(_BOTS)
    await nobody_is_bound(one)


async def test_autocommit_is_nobody(one: Database, owner: Owner) -> None:
    async with one.tenant(owner.tenant_id) as session:
        await session.execute(_BOTS)
    async with one.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        assert (await connection.execute(_BOTS)).all() == []


async def test_many_tenants_over_few_connections_never_meet(urls: Urls, factory: Factory) -> None:
    owners = [await factory.owner(f"t{number}") for number in range(5)]
    for owner in owners:
        for _ in range(3):
            await factory.bot(owner)
    database = Database(urls["api"], pool_size=3)
    dice = random.Random(7)
    seen = 0

    async def transaction(tenant_id: UUID | None, fate: str) -> None:
        nonlocal seen
        async with database.transaction(Binding(tenant_id=tenant_id)) as session:
            if fate == "idle":
                await session.connection()
                return
            rows = (await session.execute(_BOTS)).scalars().all()
            assert rows == ([tenant_id] * 3 if tenant_id else [])
            await asyncio.sleep(0)
            if fate == "fail":
                raise LookupError
            assert await bound_to(session) == tenant_id
            seen += 1

    fates = ("well", "well", "fail", "idle", "cancel")
    tasks = []
    for _ in range(200):
        tenant = dice.choice([*(owner.tenant_id for owner in owners), None])
        fate = dice.choice(fates)
        task = asyncio.create_task(transaction(tenant, fate))
        tasks.append(task)
        if fate == "cancel":
            asyncio.get_running_loop().call_later(dice.random() / 20, task.cancel)
    results = await asyncio.gather(*tasks, return_exceptions=True)
    strange = [
        item for item in results if item is not None and not isinstance(item, LookupError | asyncio.CancelledError)
    ]
    assert strange == []
    assert seen >= 80
    await until(lambda: database.engine.pool.checkedout() == 0, what="every connection is back")  # type: ignore[attr-defined]
    await database.close()


async def test_the_binding_travels_inside_begin(urls: Urls, owner: Owner) -> None:
    """On the wire: one message for BEGIN and the settings together, so the binding costs no round trip."""
    async with DatabaseProxy(urls["api"]) as proxy:
        database = Database(proxy.url, pool_size=1)
        for _ in range(2):  # the first time round, statements are prepared
            proxy.trips.clear()
            async with database.tenant(
                owner.tenant_id, user_id=owner.user_id, actor=f"user:{owner.user_id}"
            ) as session:
                await session.execute(text("select 2"))
                await session.execute(_BOTS)
        begin, *rest = proxy.trips
        assert rest == ["sync", "sync", "COMMIT;"]
        opening, _, settings = begin.partition("; ")
        assert opening.startswith("BEGIN")
        assert settings == (
            f"select set_config('app.tenant_id', '{owner.tenant_id}', true),"
            f" set_config('app.user_id', '{owner.user_id}', true),"
            f" set_config('app.actor', 'user:{owner.user_id}', true)"
        )
        proxy.trips.clear()
        async with database.tenant(owner.tenant_id) as session:
            await session.connection()
        assert proxy.trips == []
        await database.close()


@given(st.text(), st.sampled_from(["user:", "key:", "agent:", ""]))
def test_only_checked_values_enter_the_text_of_a_statement(value: str, kind: str) -> None:
    try:
        sql = Binding(actor=kind + value).statements()
    except ValueError:
        return
    assert sql == f"select set_config('app.actor', '{kind}{UUID(value)}', true)"


@given(st.text())
def test_a_tenant_that_is_no_uuid_is_refused(value: str) -> None:
    try:
        UUID(value)
    except ValueError:
        with pytest.raises(ValueError):
            Binding(tenant_id=value).statements()  # type: ignore[arg-type]


async def test_a_known_tenant_after_an_unknown_one(one: Database, owner: Owner) -> None:
    for tenant, count in ((uuid7(), 0), (owner.tenant_id, 1), (uuid7(), 0)):
        async with one.tenant(tenant) as session:
            assert len((await session.execute(_BOTS)).all()) == count
