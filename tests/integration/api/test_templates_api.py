"""Templates and the marketplace: a creator's own until published, and the private part nobody's ever."""

from __future__ import annotations

from typing import Any
from uuid import UUID, uuid4

import asyncpg
import pytest

from tests.api import Api, Person
from tests.world import published, shared, snapshot, subscribe, template_body

SECRET = "only-the-creator-knows"


async def listed(person: Person, **query: Any) -> list[str]:
    return [item["id"] for item in (await person.call("GET", "/marketplace", params=query, status=200))["items"]]


async def test_a_draft_is_its_creators_alone(api: Api) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    made = await ada.call("POST", "/templates", json=template_body(), status=201)
    assert (made["status"], made["version"]["version"], made["subscribers_count"]) == ("draft", 1, 0)
    path = f"/templates/{made['id']}"
    for person, method, where in (
        (bob, "GET", path),
        (bob, "PATCH", path),
        (bob, "DELETE", path),
        (bob, "POST", f"{path}/publish"),
        (bob, "POST", f"{path}/unpublish"),
        (bob, "GET", f"/marketplace/{made['id']}"),
        (ada, "GET", f"/marketplace/{made['id']}"),
    ):
        problem = await person.call(method, where, status=404, json={})
        assert problem["code"] == "not_found"
    wanted = {"template_id": made["id"], "allocation_amount": "1000"}
    await bob.call("POST", "/subscriptions", json=wanted, status=404)
    assert await listed(bob) == []


async def test_publishing_shows_the_public_part_and_unpublishing_takes_it_back(api: Api) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    template = await published(ada, config={"key": SECRET})
    listing = await bob.call("GET", f"/marketplace/{template}", status=200)
    assert (listing["mine"], listing["parameters"], listing["performance"]) == (False, {"symbol": "BTC/USDT"}, None)
    assert "config" not in listing
    assert (await ada.call("GET", f"/marketplace/{template}"))["mine"] is True
    assert (await ada.call("POST", f"/templates/{template}/publish", status=200))["status"] == "published"
    changed = await ada.call(
        "PATCH", f"/templates/{template}", json={"name": " New ", "risk_level": "high"}, status=200
    )
    assert (changed["name"], changed["risk_level"], changed["description"]) == ("New", "high", None)
    shown = await bob.call("GET", f"/marketplace/{template}", status=200)
    assert (shown["name"], shown["risk_level"]) == ("New", "high")
    assert (await ada.call("POST", f"/templates/{template}/unpublish", status=200))["status"] == "draft"
    await bob.call("GET", f"/marketplace/{template}", status=404)
    await ada.call("DELETE", f"/templates/{template}", status=204)
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/publish"), ("POST", "/unpublish")):
        await ada.call(method, f"/templates/{template}{path}", status=404)


async def test_the_configuration_is_never_shown(api: Api) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    template = await published(ada, config={"key": SECRET, "strategy": {"type": "dca"}})
    subscription = await subscribe(bob, template)
    for person, path in (
        (ada, f"/templates/{template}"),
        (ada, "/templates"),
        (bob, f"/marketplace/{template}"),
        (bob, f"/bots/{subscription['bot_id']}"),
        (bob, f"/bots/{subscription['bot_id']}/events"),
        (bob, f"/subscriptions/{subscription['id']}"),
    ):
        assert SECRET not in str(await person.call("GET", path, status=200))
    config = (await ada.call("GET", f"/templates/{template}"))["version"]["config"]
    assert (config["set"], config["fields"]) == (True, ["key", "strategy"])
    bot = await bob.call("GET", f"/bots/{subscription['bot_id']}")
    assert bot["config"]["set"] is False


async def test_a_version_never_changes(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    template = await published(ada)
    old = await subscribe(bob, template)
    body = {"parameters": {"symbol": "ETH/USDT"}, "config": {"x": 1}, "image": "tradewise/paper-bot:2"}
    second = await ada.call("POST", f"/templates/{template}/versions", json=body, status=201)
    assert (second["version"]["version"], second["version"]["image"]) == (2, "tradewise/paper-bot:2")
    assert (await bob.call("GET", f"/marketplace/{template}"))["version"] == 2
    runs = "select v.version, v.parameters from bots b join template_versions v on v.id = b.template_version_id"
    kept = await admin.fetchrow(f"{runs} where b.id = $1", UUID(old["bot_id"]))
    assert (kept["version"], kept["parameters"]) == (1, '{"symbol": "BTC/USDT"}')
    new = await subscribe(ada, template)
    assert (await admin.fetchrow(f"{runs} where b.id = $1", UUID(new["bot_id"])))["version"] == 2


async def test_subscribers_are_counted_through_every_change(api: Api) -> None:
    ada, bob, eve = [await api.person(name) for name in ("ada", "bob", "eve")]
    template = await published(ada)

    async def counted() -> tuple[int, int | None]:
        mine = (await ada.call("GET", f"/templates/{template}"))["subscribers_count"]
        return mine, (await eve.call("GET", f"/marketplace/{template}")).get("subscribers_count")

    first = await subscribe(bob, template)
    await subscribe(eve, template)
    assert await counted() == (2, 2)
    await bob.call("PATCH", f"/subscriptions/{first['id']}", json={"status": "paused"}, status=200)
    assert await counted() == (2, 2)
    await ada.call("POST", f"/templates/{template}/unpublish", status=200)
    assert await counted() == (2, None)
    await bob.call("DELETE", f"/subscriptions/{first['id']}", status=200)
    assert await counted() == (1, None)
    await ada.call("POST", f"/templates/{template}/publish", status=200)
    assert await counted() == (1, 1)


async def test_a_shared_template_needs_its_bot(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    made = await ada.call("POST", "/templates", json=template_body(hosting="shared"), status=201)
    assert (await ada.call("POST", f"/templates/{made['id']}/publish", status=409))["code"] == "no_shared_bot"
    body = {"bot_type": "shared", "engine": "tradewise", "name": "x", "template_id": made["id"]}
    await bob.call("POST", "/bots", json=body, status=404)
    await ada.call("POST", "/bots", json={**body, "template_id": None}, status=422)
    bot = await ada.call("POST", "/bots", json=body, status=201)
    await ada.call("POST", f"/templates/{made['id']}/publish", status=200)
    subscription = {"template_id": made["id"], "allocation_amount": "1000"}
    assert (await bob.call("POST", "/subscriptions", json=subscription, status=409))["code"] == "no_figures_yet"
    await snapshot(admin, ada.tenant_id, UUID(bot["id"]))
    assert (await bob.call("POST", "/subscriptions", json=subscription, status=201))["bot_id"] == bot["id"]
    await bob.call("GET", f"/bots/{bot['id']}", status=404)


async def test_the_marketplace_filters_sorts_and_searches(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    calm = str(await published(ada, name="Calm 100%", risk_level="low"))
    wild = str(await published(ada, name="Wild_one", risk_level="high", strategy_type="grid", config={}))
    good, bot = await shared(ada, admin, name="Good", description="for the CALM too")
    await snapshot(admin, ada.tenant_id, bot, unit_value=None)
    await subscribe(bob, UUID(wild))
    assert await listed(bob) == [str(good), wild, calm]
    assert await listed(bob, risk_level="high") == [wild]
    assert await listed(bob, strategy_type="dca") == [str(good), calm]
    assert await listed(bob, sort="subscribers") == [wild, str(good), calm]
    assert (await listed(bob, sort="return"))[0] == str(good)
    assert await listed(bob, q="calm") == [str(good), calm]
    assert await listed(bob, q="%") == [calm]
    assert await listed(bob, q="_") == [wild]
    for query in ({"sort": "best"}, {"risk_level": "none"}, {"strategy_type": "x"}, {"limit": "0"}, {"limit": "201"}):
        await bob.call("GET", "/marketplace", params=query, status=400)


BAD_TEMPLATES: list[tuple[dict[str, Any], int, str | None]] = [
    ({"minimum_allocation": "0"}, 422, "minimum_allocation"),
    ({"minimum_allocation": "-1"}, 422, "minimum_allocation"),
    ({"minimum_allocation": "NaN"}, 422, "minimum_allocation"),
    ({"minimum_allocation": "sNaN"}, 422, "minimum_allocation"),
    ({"minimum_allocation": "Infinity"}, 422, "minimum_allocation"),
    ({"minimum_allocation": "1e16"}, 422, "minimum_allocation"),
    ({"minimum_allocation": "0.123456789"}, 422, "minimum_allocation"),
    ({"minimum_allocation": "a lot"}, 400, "minimum_allocation"),
    ({"engine": "unheard-of"}, 422, "engine"),
    ({"engine": "freqtrade"}, 422, "config.strategy"),
    ({"currency": "usdt"}, 400, "currency"),
    ({"strategy_type": "hope"}, 400, "strategy_type"),
    ({"hosting": "elsewhere"}, 400, "hosting"),
    ({"image": "Not An Image"}, 400, "image"),
    ({"name": "  "}, 400, "name"),
    ({"name": "a\u0000b"}, 400, "name"),
    ({"surplus": 1}, 400, "surplus"),
    ({"config": []}, 400, "config"),
    ({"config": {"strategy": {"type": "grid"}}}, 422, "config.strategy.type"),
    ({"parameters": {"strategy": {"type": "grid"}}}, 422, "parameters.strategy.type"),
    ({"config": {"long": "x" * 66_000}}, 422, "config"),
    ({"parameters": {"a": "\u0000"}}, 400, None),
    ({"config": {"\u0000": 1}}, 400, None),
]


async def test_bad_templates_are_told_what_is_wrong(api: Api, subtests: pytest.Subtests) -> None:
    ada = await api.person()
    for change, status, field in BAD_TEMPLATES:
        with subtests.test(str(change)):
            problem = await ada.call("POST", "/templates", json=template_body(**change), status=status)
            if field is not None:
                assert [item["field"] for item in problem["errors"]] == [field]
            assert (await ada.call("GET", "/templates"))["items"] == []
            await ada.call("GET", f"/templates/{uuid4()}", status=404)
