"""Search by public parameters: typed, nested, literal, quick, and blind to what is private."""

from __future__ import annotations

import time
from typing import Any

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from tests.api import Api, Person
from tests.factories import Factory, Owner, Urls
from tests.world import published

PARAMETERS: dict[str, Any] = {
    "symbol": "BTC/USDT",
    "levels": 5,
    "ratio": 0.5,
    "live": True,
    "nothing": None,
    "number_as_text": "5",
    "pairs": ["BTC/USDT", "ETH/USDT"],
    "strategy": {"type": "dca", "deep": {"er": "100%_x"}},
}
FOUND = [
    "symbol:BTC/USDT",
    'symbol:"BTC/USDT"',
    "levels:5",
    "levels:5.0",
    "ratio:0.50",
    "live:true",
    "nothing:null",
    'number_as_text:"5"',
    'pairs:["ETH/USDT"]',
    "strategy.type:dca",
    "strategy.deep.er:100%_x",
    'strategy:{"deep":{"er":"100%_x"}}',
]
MISSED = [
    "symbol:BTC",
    "symbol:%",
    "symbol:BTC_USDT",
    "symbol:btc/usdt",
    'levels:"5"',
    "levels:6",
    "number_as_text:5",
    "live:false",
    "nothing:",
    "pairs:BTC/USDT",
    "strategy.er:100%_x",
    "strategy.deep.er:%",
    "deep.er:100%_x",
    "secret:Planted-and-private",
    "symbol:Planted-and-private",
    "symbol:' or true --",
]
REFUSED = ["symbol", ":x", "a..b:x", ".a:x", "a.:x", "a" * 301 + ":x", ".".join("a" * 9) + ":x", "a:" + "x" * 300]


async def ids(person: Person, path: str, **query: Any) -> list[str]:
    return [item["id"] for item in (await person.call("GET", path, params=query, status=200))["items"]]


@pytest.fixture
async def made(api: Api) -> tuple[Person, str]:
    ada = await api.person("ada")
    config = {"secret": "Planted-and-private", "symbol": "Planted-and-private"}
    await published(ada, parameters={"symbol": "DOGE/USDT"}, config=config)
    return ada, str(await published(ada, name="Wanted 100%", parameters=PARAMETERS, config=config))


async def test_parameters_are_found_by_what_they_mean(api: Api, made: tuple[Person, str]) -> None:
    ada, wanted = made
    bob = await api.person("bob")
    for person, path in ((bob, "/marketplace"), (ada, "/templates")):
        for parameter in FOUND:
            assert await ids(person, path, parameter=parameter) == [wanted], (path, parameter)
        for parameter in MISSED:
            assert await ids(person, path, parameter=parameter) == [], (path, parameter)
        assert await ids(person, path, parameter=["symbol:BTC/USDT", "levels:5"]) == [wanted]
        assert await ids(person, path, parameter=["symbol:BTC/USDT", "levels:6"]) == []
        assert await ids(person, path, parameter=["levels:5", "levels:6"]) == []
        assert await ids(person, path, q="WANTED", parameter="levels:5") == [wanted]
        assert await ids(person, path, q="%") == [wanted]
        assert await ids(person, path, q="_") == []
        assert await ids(person, path, q="Planted") == []
        for sort in ("newest", "subscribers", "return") if path == "/marketplace" else ():
            assert await ids(person, path, parameter="levels:5", sort=sort) == [wanted]
    assert await ids(bob, "/templates", parameter="levels:5") == []


async def test_what_is_no_parameter_is_refused_and_named(api: Api) -> None:
    ada = await api.person()
    for path in ("/marketplace", "/templates"):
        for parameter in REFUSED:
            answer = await ada.call("GET", path, params={"parameter": parameter}, status=400)
            assert (answer["code"], answer["errors"][0]["field"]) == ("invalid_parameter", "parameter")
        await ada.call("GET", path, params={"parameter": ["a:1"] * 9}, status=400)
        await ada.call("GET", path, params={"parameter": 'a:"\\u0000"'}, status=400)


async def test_a_withdrawn_listing_is_found_no_more_and_a_new_version_as_it_is(made: tuple[Person, str]) -> None:
    ada, wanted = made
    version = {"parameters": {"symbol": "NEW/USDT"}, "config": {}}
    await ada.call("POST", f"/templates/{wanted}/versions", json=version, status=201)
    assert await ids(ada, "/marketplace", parameter="levels:5") == []
    assert await ids(ada, "/marketplace", parameter="symbol:NEW/USDT") == [wanted]
    assert await ids(ada, "/templates", parameter="symbol:NEW/USDT") == [wanted]
    await ada.call("POST", f"/templates/{wanted}/unpublish", status=200)
    assert await ids(ada, "/marketplace", parameter="symbol:NEW/USDT") == []


async def test_the_private_configuration_is_written_and_never_read(api: Api, made: tuple[Person, str]) -> None:
    """For its creator too: the names of its fields and a digest are all that is ever told; a change is a version."""
    ada, wanted = made
    shown = await ada.call("GET", f"/templates/{wanted}", status=200)
    assert set(shown["version"]["config"]) == {"set", "fields", "digest"}
    assert shown["version"]["config"]["fields"] == ["secret", "symbol"]
    for body in ({"config": {"a": 1}}, {"parameters": {"a": 1}}):
        await ada.call("PATCH", f"/templates/{wanted}", json=body, status=400)
    same = {"parameters": PARAMETERS, "config": {"secret": "Planted-and-private", "symbol": "Planted-and-private"}}
    again = await ada.call("POST", f"/templates/{wanted}/versions", json=same, status=201)
    assert again["version"]["version"] == 2
    assert again["version"]["config"]["digest"] != shown["version"]["config"]["digest"]  # tells no two alike
    assert "Planted" not in str(again)


async def many(admin: asyncpg.Connection, owner: Owner, count: int) -> None:
    """Listings straight in the database: each with a symbol that a hundred share, and a number of its own."""
    async with admin.transaction():
        # Without triggers: to write the audit log of what nobody did took most of the time.
        await admin.execute("set local session_replication_role = replica")
        await admin.execute(
            "insert into bot_templates (id, tenant_id, name, engine, strategy_type, risk_level, hosting, currency,"
            " minimum_allocation, created_by, status, latest_version)"
            " select gen_random_uuid(), $1, 'Template ' || n, 'tradewise', 'dca', 'low', 'dedicated', 'USDT', 1, $2,"
            " 'published', 1 from generate_series(1, $3::int) n",
            owner.tenant_id,
            owner.user_id,
            count,
        )
        await admin.execute(
            "insert into template_versions (id, tenant_id, template_id, version, parameters, config_sealed,"
            " config_key_version, config_suite, config_fields, config_digest)"
            " select gen_random_uuid(), tenant_id, id, 1, jsonb_build_object('number', split_part(name, ' ', 2)::int,"
            " 'symbol', 'S' || split_part(name, ' ', 2)::int % 200), 'x', 1, 1, '{}', 'x' from bot_templates"
        )
        await admin.execute(
            "insert into marketplace_listings (id, creator_tenant_id, creator_name, template_version_id, version, name,"
            " engine, strategy_type, risk_level, hosting, currency, minimum_allocation, parameters)"
            " select t.id, t.tenant_id, 'x', v.id, 1, t.name, t.engine, t.strategy_type, t.risk_level, t.hosting,"
            " t.currency, 1, v.parameters from bot_templates t join template_versions v on v.template_id = t.id"
        )
    await admin.execute("analyze")


async def test_it_is_quick_among_twenty_thousand(
    api: Api, urls: Urls, admin: asyncpg.Connection, factory: Factory
) -> None:
    await many(admin, await factory.owner(), 20_000)
    bob = await api.person("bob")
    scans = "select pg_stat_get_numscans('ix_marketplace_listings_parameters'::regclass)"
    documents = ['{"number": 777}', '{"symbol": "S177"}']
    web = await asyncpg.connect(urls["api"])
    try:
        before = await admin.fetchval(scans)
        for tenant, found in ((bob.tenant_id, 1), (uuid7(), 0)):
            async with web.transaction():
                await web.execute("select set_config('app.tenant_id', $1, true)", str(tenant))
                assert len(await web.fetch("select find_listings($1::jsonb[])", documents)) == found
        await web.execute("select pg_stat_force_next_flush()")
        await web.fetch("select 1")
        assert await admin.fetchval(scans) > before, "the function's own plan uses the index"
        assert await web.fetch("select find_listings($1::jsonb[])", documents) == []  # nobody finds nothing
    finally:
        await web.close()
    for query in ({"parameter": "number:777"}, {"parameter": "symbol:S7", "limit": "50"}, {"q": "template 19999"}):
        await bob.call("GET", "/marketplace", params=query, status=200)
        took = []
        for _ in range(5):
            started = time.perf_counter()
            answer = await bob.call("GET", "/marketplace", params=query, status=200)
            took.append(time.perf_counter() - started)
        assert answer["items"]
        assert min(took) < 0.25, (query, took)


async def test_only_the_web_tier_may_ask(urls: Urls) -> None:
    for kind in ("agent_poller", "agent_launcher", "reporting", "backup"):
        connection = await asyncpg.connect(urls[kind])
        try:
            with pytest.raises(asyncpg.InsufficientPrivilegeError):
                await connection.fetch("select find_listings(array['{}']::jsonb[])")
        finally:
            await connection.close()
