"""Limits of attempts: one count for all replicas, a row a subject, nothing undone by a request that fails."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from control_plane.database.sessions import Database
from control_plane.security.limits import Rule, TooManyAttemptsError, check, forget, network_of, take
from tests.factories import Urls

RULE = Rule("test", each_s=3600.0, burst=5)


async def taken(database: Database, subject: str, rule: Rule = RULE) -> bool:
    try:
        await take(database, rule, subject)
    except TooManyAttemptsError:
        return False
    return True


async def test_a_burst_is_allowed_and_no_more(api_db: Database) -> None:
    assert [await taken(api_db, "ada") for _ in range(7)] == [True] * 5 + [False] * 2
    with pytest.raises(TooManyAttemptsError) as told:
        await take(api_db, RULE, "ada")
    assert told.value.headers["Retry-After"] == str(told.value.retry_after_s)
    assert 1 <= told.value.retry_after_s <= RULE.each_s
    assert await taken(api_db, "bob")
    assert await taken(api_db, "ada", Rule("another", each_s=3600.0, burst=1))


async def test_two_replicas_share_one_count_however_many_ask_at_once(api_db: Database, urls: Urls) -> None:
    second = Database(urls["api"], pool_size=5)
    asked = [taken(database, "ada") for _ in range(20) for database in (api_db, second)]
    assert sum(await asyncio.gather(*asked)) == 5
    await second.close()


async def test_time_gives_attempts_back(api_db: Database, admin: asyncpg.Connection) -> None:
    while await taken(api_db, "ada"):
        pass
    await admin.execute("update attempt_limits set full_at = full_at - interval '2 hours'")
    assert [await taken(api_db, "ada") for _ in range(3)] == [True, True, False]


async def test_looking_counts_nothing_and_forgetting_gives_all_back(api_db: Database) -> None:
    for _ in range(20):
        await check(api_db, RULE, "ada")
    while await taken(api_db, "ada"):
        pass
    with pytest.raises(TooManyAttemptsError):
        await check(api_db, RULE, "ada")
    await forget(api_db, RULE, "ada")
    await check(api_db, RULE, "ada")
    assert await taken(api_db, "ada")


async def test_one_subject_never_waits_for_another(api_db: Database, admin: asyncpg.Connection, urls: Urls) -> None:
    await take(api_db, RULE, "ada")
    holder = await asyncpg.connect(urls.admin)
    async with holder.transaction():
        await holder.execute("select from attempt_limits for update")
        async with asyncio.timeout(5):
            assert await taken(api_db, "bob")
            await check(api_db, RULE, "ada")
    await holder.close()


async def test_nobody_reads_who_tried(api_db: Database, admin: asyncpg.Connection, urls: Urls) -> None:
    await take(api_db, RULE, "ada@example.com")
    row = await admin.fetchrow("select rule, subject from attempt_limits")
    assert b"ada" not in row["subject"]
    web = await asyncpg.connect(urls["api"])
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await web.fetch("select subject from attempt_limits")
    await web.close()


def test_a_network_is_what_one_subscriber_holds() -> None:
    assert network_of("192.0.2.7") == "192.0.2.7"
    assert network_of("2001:db8:1:2:3:4:5:6") == network_of("2001:db8:1:2::1") == "2001:db8:1:2::/64"
    assert network_of(None) == "unknown"
