"""Lists page by page: each item once, in one order, whatever is added meanwhile."""

from __future__ import annotations

import base64
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from tests.api import Api, Person
from tests.world import external_body, published, shared, subscribe, template_body


async def walk(person: Person, path: str, limit: int = 2, **filters: str) -> list[str]:
    """The ids of every page of a list."""
    found: list[str] = []
    cursor: str | None = None
    while True:
        query = filters | {"limit": str(limit)} | ({"cursor": cursor} if cursor else {})
        page = await person.call("GET", path, params=query, status=200)
        assert len(page["items"]) == limit or page["next_cursor"] is None
        found += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def test_every_list_gives_each_item_once_newest_first(api: Api, admin: asyncpg.Connection) -> None:
    ada, eve = await api.person("ada"), await api.person("eve")
    bots, templates, keys = [], [], []
    for number in range(5):
        body = external_body(api_url=f"http://127.0.0.1:{9000 + number}")
        bots.append((await ada.call("POST", "/bots", json=body, status=201))["id"])
        templates.append(str(await published(ada)))
        key = {"name": "x", "scopes": ["bots:read"]}
        keys.append((await ada.call("POST", "/api-keys", json=key, status=201))["id"])
    subscriptions = [(await subscribe(eve, UUID(template)))["id"] for template in templates]
    for status in ("paused", "active", "paused", "active"):
        await eve.call("PATCH", f"/subscriptions/{subscriptions[0]}", json={"status": status}, status=200)
        await ada.call("PATCH", f"/bots/{bots[0]}", json={"name": status}, status=200)
    for person, path, expected in (
        (ada, "/bots", bots),
        (ada, "/templates", templates),
        (ada, "/api-keys", keys),
        (eve, "/marketplace", templates),
        (eve, "/subscriptions", subscriptions),
    ):
        for limit in (1, 2, 5, 200):
            assert await walk(person, path, limit) == expected[::-1], path
    for person, path in ((eve, f"/subscriptions/{subscriptions[0]}/ledger"), (ada, f"/bots/{bots[0]}/events")):
        whole = await walk(person, path, 200)
        assert len(whole) == 5
        assert await walk(person, path, 2) == whole == sorted(whole, reverse=True)
    for sort in ("newest", "subscribers", "return"):
        assert sorted(await walk(eve, "/marketplace", sort=sort)) == sorted(templates)


async def test_what_is_added_meanwhile_moves_nothing(api: Api) -> None:
    ada = await api.person()

    async def add(port: int) -> str:
        body = external_body(api_url=f"http://127.0.0.1:{port}")
        made: dict[str, Any] = await ada.call("POST", "/bots", json=body, status=201)
        return str(made["id"])

    first, second, third = [await add(port) for port in (9000, 9001, 9002)]
    page = await ada.call("GET", "/bots", params={"limit": "2"}, status=200)
    assert [item["id"] for item in page["items"]] == [third, second]
    await add(9003)
    await ada.call("DELETE", f"/bots/{second}", status=204)
    rest = await ada.call("GET", "/bots", params={"limit": "2", "cursor": page["next_cursor"]}, status=200)
    assert ([item["id"] for item in rest["items"]], rest["next_cursor"]) == ([first], None)


async def test_a_filter_by_status_still_fills_its_pages(api: Api) -> None:
    ada = await api.person()
    started = []
    for number in range(9):
        body = {"bot_type": "platform", "engine": "tradewise", "name": f"b{number}"}
        bot = (await ada.call("POST", "/bots", json=body, status=201))["id"]
        if number % 4 == 0:
            await ada.call("POST", f"/bots/{bot}/start", status=202)
            started.append(bot)
    assert await walk(ada, "/bots", 1, status="starting") == started[::-1]
    assert await walk(ada, "/bots", 2, status="starting") == started[::-1]


def position(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).decode().rstrip("=")


BAD_CURSORS = (
    *("", "x", "%%%", "🙂", "A" * 5000),
    *(position(raw) for raw in (b"1", b"@-1", b"@99999999", b"@x")),
)


async def test_bad_cursors(api: Api, subtests: pytest.Subtests) -> None:
    ada = await api.person()
    for path in ("/bots", "/templates", "/api-keys", "/subscriptions", "/marketplace"):
        for cursor in BAD_CURSORS:
            with subtests.test(path, cursor=cursor[:20]):
                problem = await ada.call("GET", path, params={"cursor": cursor}, status=400)
                assert (problem["code"], problem["errors"][0]["field"]) == ("invalid_cursor", "cursor")


async def test_a_cursor_is_opaque_and_opens_nothing(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    for person in (ada, bob):
        for number in range(3):
            body = external_body(api_url=f"http://127.0.0.1:{9000 + number}")
            await person.call("POST", "/bots", json=body, status=201)
    cursor = (await bob.call("GET", "/bots", params={"limit": "1"}))["next_cursor"]
    seen = (await ada.call("GET", "/bots", params={"cursor": cursor}, status=200))["items"]
    mine = {item["id"] for item in (await ada.call("GET", "/bots"))["items"]}
    assert {item["id"] for item in seen} <= mine
    newest = position(uuid7().bytes)
    assert len((await ada.call("GET", "/bots", params={"cursor": newest}, status=200))["items"]) == 3


async def test_limits(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    await shared(ada, admin)
    await ada.call("POST", "/templates", json=template_body(), status=201)
    for path in ("/bots", "/templates", "/api-keys", "/subscriptions", "/marketplace"):
        for limit in ("0", "-1", "201", "x", "1.5", "9" * 30):
            problem = await ada.call("GET", path, params={"limit": limit}, status=400)
            assert problem["errors"][0]["field"] == "limit"
        await ada.call("GET", path, params={"limit": "200"}, status=200)
