"""A key that is restricted to some bots: the database shows it those and nothing else, and so does every operation.

Tables and operations are read from the catalogue and from the document, so a new one is tested without anybody thinking
of it.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import AsyncIterator, Collection
from itertools import combinations
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import pytest
from sqlalchemy import text
from uuid_utils.compat import uuid7

from control_plane.database.connection import Binding
from control_plane.database.sessions import Database
from tests.api import Api, Person
from tests.factories import Urls
from tests.integration.api.test_contract import BODIES, OPERATIONS
from tests.security.test_tenant_isolation import DENIED, bound, columns, settings_of, tables, try_count, whose
from tests.servers.web_server import following, served
from tests.world import Settled, Tenant, external_body, snapshot, steered, troubled, watched

#: What such a key still sees: who is calling, keys to seal with, what it was answered, which template a bot runs.
SHOWN_TO_ALL = {
    "users",
    "tenants",
    "memberships",
    "agent_beats",
    "tenant_keys",
    "idempotency_records",
    "template_versions",
}
NO_BOT = ["{}", "{NULL}", "{00000000-0000-0000-0000-000000000000}", "garbage", "{garbage}", "' or true --", "null", " "]
COMMANDS = {"select": "r", "insert": "a", "update": "w", "delete": "d"}


@pytest.fixture
async def world(api: Api, admin: asyncpg.Connection, settled: Settled) -> tuple[Tenant, Tenant]:
    """Two tenants whose every bot has a row wherever bots have rows."""
    both = settled.of(api)
    for tenant in both:
        for bot in await bots_of(admin, tenant):
            await snapshot(admin, tenant.id, bot)
            await watched(admin, tenant.id, bot)
            await troubled(admin, tenant.id, bot)
            await steered(admin, tenant.id, bot)
            await admin.execute(
                "insert into bot_instances (id, tenant_id, bot_id, generation, runtime, image)"
                " values ($1, $2, $3, 1, 'docker', 'x') on conflict do nothing",
                uuid7(),
                tenant.id,
                bot,
            )
    return both


async def bots_of(admin: asyncpg.Connection, tenant: Tenant) -> list[UUID]:
    rows = await admin.fetch("select id from bots where tenant_id = $1 order by id", tenant.id)
    return [row["id"] for row in rows]


async def telling_of_bots(admin: asyncpg.Connection) -> dict[str, str]:
    """Every table with a column that names a bot, and that column; but for those of no tenant that it cannot read."""
    rows = await admin.fetch(
        "select c.relname::text as name from pg_class c join pg_attribute a on a.attrelid = c.oid"
        " where a.attname = 'bot_id' and not a.attisdropped and c.relnamespace = 'public'::regnamespace"
        " and c.relkind in ('r', 'p', 'v') and (has_any_column_privilege('tradewise_api', c.oid, 'SELECT')"
        " or exists (select from pg_attribute t where t.attrelid = c.oid and t.attname = 'tenant_id'))"
    )
    return {"bots": "id", "bot_health": "id"} | {row["name"]: "bot_id" for row in rows}


def restricted(tenant: Tenant, bots: Collection[UUID]) -> dict[str, str]:
    return {**settings_of(tenant), "app.bots": "{" + ",".join(str(bot) for bot in bots) + "}"}


def subsets(bots: list[UUID]) -> list[tuple[UUID, ...]]:
    return [chosen for size in range(len(bots) + 1) for chosen in combinations(bots, size)]


async def expected(admin: asyncpg.Connection, table: str, column: str, tenant: Tenant, bots: Collection[UUID]) -> int:
    found: int = await admin.fetchval(
        f"select count(*) from {table} where {await whose(admin, table)} and {column} = any($3::uuid[])",
        tenant.id,
        tenant.person.user_id,
        list(bots),
    )
    return found


async def test_every_subset_of_bots_is_all_that_is_seen(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, web: asyncpg.Connection
) -> None:
    mine, other = world
    named = await telling_of_bots(admin)
    assert len(named) >= 7
    own, foreign = await bots_of(admin, mine), await bots_of(admin, other)
    for bots in [*subsets(own), tuple(own + foreign), tuple(foreign), (uuid7(),)]:
        for table, column in named.items():
            async with bound(web, restricted(mine, bots)):
                readable = await columns(admin, table, "SELECT")
                seen = await try_count(web, f"select count(*) from {table}")
                if readable:
                    assert seen == await expected(admin, table, column, mine, bots), (table, bots)
                    strange = f"select count(*) from {table} where not {column} = any($1::uuid[])"
                    assert await try_count(web, strange, list(bots)) == 0, table
                else:
                    assert seen == 0
    for table, column in named.items():
        # The test could fail: there are rows of each bot to be seen, and more without the restriction.
        if (
            not re.search(r"_\d{4}(_\d\d)*$", table)  # a partition
            and table != "subscriptions"
            and table != "bot_secrets"
        ):
            assert {await expected(admin, table, column, mine, [bot]) > 0 for bot in own} == {True}, table


async def test_every_subset_of_bots_is_all_that_is_written(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, web: asyncpg.Connection
) -> None:
    mine, _ = world
    own = await bots_of(admin, mine)
    for table, column in (await telling_of_bots(admin)).items():
        for bots in random.sample(subsets(own), 6):
            reached = await expected(admin, table, column, mine, bots)
            async with bound(web, restricted(mine, bots)):
                for name in await columns(admin, table, "UPDATE"):
                    assert await try_count(web, f"update {table} set {name} = {name}") == reached, (table, name)
                assert await try_count(web, f"delete from {table}") in {0, reached}, table


async def test_no_row_of_another_bot_is_taken(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, web: asyncpg.Connection
) -> None:
    mine, _ = world
    mended, other, *_ = await bots_of(admin, mine)
    tried = set()
    for table, column in (await telling_of_bots(admin)).items():
        given = await columns(admin, table, "INSERT")
        row = await admin.fetchval(
            f"select to_jsonb(t) from {table} t where tenant_id = $1 and {column} = $2 limit 1", mine.id, other
        )
        if not given or row is None:
            continue
        copy = {**json.loads(row), **({} if column == "id" else {"id": str(uuid7())})}
        names = ", ".join(given)
        insert = f"insert into {table} ({names}) select {names} from jsonb_populate_record(null::{table}, $1::jsonb)"
        async with bound(web, restricted(mine, [mended])):
            with pytest.raises(DENIED, match="row-level security"):
                await web.execute(insert, json.dumps(copy))
        tried.add(table)
    assert {"bots", "bot_secrets", "bot_events", "bot_health"} <= tried


async def test_nothing_else_of_the_tenant_is_there(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, web: asyncpg.Connection
) -> None:
    mine, _ = world
    named = await telling_of_bots(admin)
    own = await bots_of(admin, mine)
    for table in set(await tables(admin)) - set(named) - SHOWN_TO_ALL:
        async with bound(web, restricted(mine, own)):
            assert await try_count(web, f"select count(*) from {table}") == 0, table
            assert await try_count(web, f"delete from {table}") == 0, table
            for name in await columns(admin, table, "UPDATE"):
                assert await try_count(web, f"update {table} set {name} = {name}") == 0, (table, name)


@pytest.mark.parametrize("value", NO_BOT)
async def test_a_list_that_names_no_bot_reaches_none(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, web: asyncpg.Connection, value: str
) -> None:
    mine, _ = world
    for table in await telling_of_bots(admin):
        async with bound(web, {**settings_of(mine), "app.bots": value}):
            assert await try_count(web, f"select count(*) from {table}") == 0, table
            for name in await columns(admin, table, "UPDATE"):
                assert await try_count(web, f"update {table} set {name} = {name}") == 0, (table, name)


async def test_the_restriction_ends_with_its_transaction(world: tuple[Tenant, Tenant], api_db: Database) -> None:
    mine, _ = world
    one = Database(api_db.url, pool_size=1)
    try:
        for bots, seen in ((None, 4), ((mine.hosted,), 1), (None, 4), ((), 0)):
            async with one.transaction(Binding(tenant_id=mine.id, user_id=mine.person.user_id, bots=bots)) as session:
                assert await session.scalar(text("select count(*) from bots")) == seen
    finally:
        await one.close()


async def test_every_policy_of_the_web_tier_has_its_twin(admin: asyncpg.Connection, urls: Urls) -> None:
    """Partitions, and those that the scheduler makes later, included."""
    scheduler = await asyncpg.connect(urls["agent_scheduler"])
    await scheduler.execute("select ensure_partitions(9)")
    await scheduler.close()
    rows = await admin.fetch(
        "select c.relname::text as name, p.polcmd::text as command, p.polpermissive as permissive,"
        " concat(pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)) as rule"
        " from pg_policy p join pg_class c on c.oid = p.polrelid where c.relnamespace = 'public'::regnamespace"
        " and 'tradewise_api'::regrole::oid = any (p.polroles)"
    )
    open_ = {(row["name"], row["command"]) for row in rows if row["permissive"]}
    twins = {(row["name"], row["command"]): row["rule"] for row in rows if not row["permissive"]}
    assert open_ - twins.keys() == {pair for pair in open_ if pair[0] in SHOWN_TO_ALL}
    named = await telling_of_bots(admin)
    for (table, _), rule in twins.items():
        # Read once a statement: never outside a subselect of its own.
        assert rule.count("current_setting('app.bots'") == rule.count("( SELECT "), rule
        assert (" OR " in rule) == (table in named), (table, rule)


async def test_functions_that_show_figures_hold_to_it(
    world: tuple[Tenant, Tenant], admin: asyncpg.Connection, web: asyncpg.Connection
) -> None:
    mine, other = world
    await admin.execute("update subscriptions set created_at = now() - interval '1 hour'")
    span = "now() - interval '1 day', now() + interval '1 day', interval '1 second'"
    for function, argument, of_own in (
        ("subscription_index($1, {span})", mine.follow, 0),
        ("subscription_index($1, {span})", mine.subscription, 1),
        ("listing_performance($1)", other.shared_template, 0),
        ("listing_performance($1)", mine.shared_template, 1),
    ):
        query = f"select count(*) from {function.format(span=span)}"
        async with bound(web, settings_of(mine)):
            assert await web.fetchval(query, argument) > 0, function
        async with bound(web, restricted(mine, await bots_of(admin, mine))):
            assert min(await web.fetchval(query, argument), 1) == of_own, function
        async with bound(web, restricted(mine, [])):
            assert await web.fetchval(query, argument) == 0, function
    followed = "select array_agg(subscription_id) from followed_unit_values()"
    async with bound(web, settings_of(mine)):
        assert set(await web.fetchval(followed)) == {mine.subscription, mine.follow}
    async with bound(web, restricted(mine, await bots_of(admin, mine))):
        assert await web.fetchval(followed) == [mine.subscription]


async def keyed(tenant: Tenant | Person, bots: Collection[UUID], *scopes: str) -> Person:
    """The program that holds a key to ``bots``."""
    person = tenant.person if isinstance(tenant, Tenant) else tenant
    body = {"name": "some", "scopes": list(scopes or ("bots:read", "bots:write", "bots:redirect"))}
    made = await person.call("POST", "/api-keys", json={**body, "bot_ids": [str(bot) for bot in bots]}, status=201)
    assert made["bot_ids"] == sorted(str(bot) for bot in bots)
    return Person(person.email, made["key"], person.tenant_id, person.user_id, person.client)


async def test_a_key_lists_and_reads_its_bots_alone(api: Api, admin: asyncpg.Connection, settled: Settled) -> None:
    tenant, _ = settled.of(api)
    own = await bots_of(admin, tenant)
    for bots in random.sample([chosen for chosen in subsets(own) if chosen], 4):
        key = await keyed(tenant, bots)
        listed = [UUID(item["id"]) for item in (await key.call("GET", "/bots", status=200))["items"]]
        assert sorted(listed) == sorted(bots)
        for bot in own:
            for path in ("", "/events", "/performance"):
                await key.call("GET", f"/bots/{bot}{path}", status=200 if bot in bots else 404)
    whole = await tenant.person.call("GET", f"/bots/{tenant.shared_bot}", status=200)
    key = await keyed(tenant, [tenant.shared_bot])
    assert await key.call("GET", f"/bots/{tenant.shared_bot}", status=200) == whole


async def test_every_operation_finds_no_other_bot(api: Api, admin: asyncpg.Connection, settled: Settled) -> None:
    """Word for word what an id gets that nobody has, and nothing is changed."""
    tenant, _ = settled.of(api)
    key = await keyed(tenant, [tenant.hosted])
    before = await admin.fetchval(
        "select jsonb_agg(to_jsonb(b) order by id)::text from bots b where id <> $1", tenant.hosted
    )
    tried = 0
    for verb, path, _ in OPERATIONS:
        if "{bot_id}" not in path:
            continue
        unknown = path.replace("{bot_id}", str(uuid7()))
        nothing = await ask(key, verb, unknown, BODIES.get(f"{verb} {path}"))
        for bot in (tenant.external, tenant.shared_bot):
            at = path.replace("{bot_id}", str(bot))
            answer = await ask(key, verb, at, BODIES.get(f"{verb} {path}"))
            assert answer.status_code == 404, (verb, at)
            assert answer.text.replace(at, unknown) == nothing.text
            assert answer.headers.keys() == nothing.headers.keys()
            tried += 1
    assert tried >= 16
    after = "select jsonb_agg(to_jsonb(b) order by id)::text from bots b where id <> $1"
    assert await admin.fetchval(after, tenant.hosted) == before


async def ask(person: Person, verb: str, path: str, body: Any = None) -> httpx.Response:
    return await person.client.request(verb, path, headers={"Authorization": f"Bearer {person.token}"}, json=body)


async def test_no_operation_but_those_on_bots_is_open(api: Api, settled: Settled) -> None:
    tenant, _ = settled.of(api)
    key = await keyed(tenant, [tenant.hosted])
    refused = 0
    for verb, path, operation in OPERATIONS:
        [needed] = operation["security"][0]["bearer"] or [None] if "security" in operation else [None]
        if needed is None or needed.startswith("bots:"):
            continue
        at = path.replace("{", "").replace("}", "")
        for part in ("bot_id", "template_id", "subscription_id", "key_id", "tenant_id", "user_id", "invitation_id"):
            at = at.replace(part, str(uuid7()))
        answer = await ask(key, verb, at, BODIES.get(f"{verb} {path}"))
        assert answer.status_code in {403, 404}, (verb, path, answer.text)
        refused += 1
    assert refused >= 15


async def test_a_key_works_on_its_bots(api: Api, settled: Settled) -> None:
    tenant, _ = settled.of(api)
    key = await keyed(tenant, [tenant.external, tenant.hosted])
    assert (await key.call("GET", "/me", status=200))["scopes"] == ["bots:read", "bots:redirect", "bots:write"]
    for verb in ("start", "restart", "stop"):
        await key.call("POST", f"/bots/{tenant.hosted}/{verb}", headers={"Idempotency-Key": verb}, status=202)
    changed = {"api_url": "http://127.0.0.1:9999", "credentials": {"token": "another-long-token"}}
    assert (await key.call("PATCH", f"/bots/{tenant.external}", json=changed, status=200))["api_url"].endswith("9999")
    await key.call("DELETE", f"/bots/{tenant.external}", status=204)
    assert [item["id"] for item in (await key.call("GET", "/bots"))["items"]] == [str(tenant.hosted)]
    problem = await key.call("POST", "/bots", json=external_body(), status=403)
    assert problem["code"] == "restricted_key"


@pytest.fixture
async def url(api: Api) -> AsyncIterator[str]:
    async with served(api) as base:
        yield base


async def test_the_live_stream_tells_of_no_other_bot(
    api: Api, admin: asyncpg.Connection, url: str, settled: Settled
) -> None:
    tenant, other = settled.of(api)
    key = await keyed(tenant, [tenant.hosted], "bots:read")
    health = "update bot_health set reason = coalesce(reason, '') || '.' where id = $1"
    async with following(url, key.token) as some, following(url, tenant.person.token) as whole:
        for bot in (tenant.external, other.hosted, tenant.shared_bot):
            await admin.execute(health, bot)
        await admin.execute("update subscriptions set units = units")
        await tenant.person.call("PATCH", f"/bots/{tenant.external}", json={"name": "renamed"}, status=200)
        await admin.execute(health, tenant.hosted)
        told = await some.next()
        assert (told.kind, told.id) == ("bot", str(tenant.hosted))
        assert (await whole.next()).id == str(tenant.external)  # there was more to be told
        # A position is a time and nothing else: it names no event of a bot that the key may not know of.
        assert told.event_id is not None
        assert not await admin.fetchval("select count(*) from bot_events where id = $1", UUID(told.event_id))


async def test_what_was_missed_of_other_bots_is_not_told_either(
    api: Api, admin: asyncpg.Connection, url: str, settled: Settled
) -> None:
    tenant, _ = settled.of(api)
    key = await keyed(tenant, [tenant.hosted], "bots:read")
    async with following(url, key.token, "00000000-0000-7000-8000-000000000000") as some:
        told = await some.next()
        assert (told.kind, told.id) == ("bot", str(tenant.hosted))
        await admin.execute("update bot_health set reason = coalesce(reason, '') || '.' where id = $1", tenant.hosted)
        told = await some.next()
        assert (told.kind, told.id) == ("bot", str(tenant.hosted))
    async with following(url, tenant.person.token, "00000000-0000-7000-8000-000000000000") as whole:
        kinds = {(told.kind, told.id) for told in [await whole.next() for _ in range(5)]}
    assert len(kinds) == 5


@pytest.mark.parametrize("scope", ["templates:read", "subscriptions:write", "keys:write", "keys:read", "tenant:read"])
async def test_scopes_that_make_no_sense_are_refused(api: Api, scope: str) -> None:
    ada = await api.person()
    bot = (await ada.call("POST", "/bots", json=external_body(), status=201))["id"]
    body = {"name": "x", "scopes": ["bots:read", scope], "bot_ids": [bot]}
    problem = await ada.call("POST", "/api-keys", json=body, status=422)
    assert (problem["code"], problem["errors"][0]["field"]) == ("scope_too_wide", "scopes")


async def test_only_bots_of_the_tenant_can_be_named(api: Api) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    mine = (await ada.call("POST", "/bots", json=external_body(), status=201))["id"]
    foreign = (await bob.call("POST", "/bots", json=external_body(), status=201))["id"]
    gone = await ada.call("POST", "/bots", json=external_body(api_url="http://127.0.0.1:9000"), status=201)
    await ada.call("DELETE", f"/bots/{gone['id']}", status=204)
    for strange in (foreign, str(uuid7()), gone["id"]):
        body = {"name": "x", "scopes": ["bots:read"], "bot_ids": [mine, strange]}
        problem = await ada.call("POST", "/api-keys", json=body, status=422)
        assert problem["code"] == "unknown_bot"
        assert problem["detail"] == f"bot_ids: there is no such bot: {strange}"
    for wrong in ([], ["x"], "x", [None]):
        await ada.call("POST", "/api-keys", json={"name": "x", "scopes": ["bots:read"], "bot_ids": wrong}, status=400)
