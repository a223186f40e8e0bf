"""The audit log as a page."""

from __future__ import annotations

import re

import asyncpg
import pytest

from control_plane.security.vault import Vault
from tests.api import Api, Person
from tests.audit import tampering
from tests.integration.dashboard.browser import Browser, words_of
from tests.members import joined
from tests.world import external_body


@pytest.fixture
async def person(api: Api) -> Person:
    """Somebody who has done a few things, also by a key."""
    person = await api.person()
    made = await person.call("POST", "/bots", json=external_body(name="Goldie <i>"), status=201)
    await person.call("PATCH", f"/bots/{made['id']}", json={"name": "Silver"}, status=200)
    body = {"name": "nightly", "scopes": ["bots:read", "bots:write"]}
    key = await person.call("POST", "/api-keys", json=body, status=201)
    as_key = {"headers": {"Authorization": f"Bearer {key['key']}"}}
    await person.call("PATCH", f"/bots/{made['id']}", json={"description": "by a key"}, status=200, **as_key)
    return person


def numbers(page: str) -> list[int]:
    """The entries that a page shows, in its order."""
    return [int(found) for found in re.findall(r'id="entry-(\d+)"', page)]


async def test_what_was_done_is_read_newest_first(browser: Browser, person: Person) -> None:
    page = await browser.get("/audit")
    shown, words = numbers(page.text), words_of(page)
    assert shown == list(range(len(shown), 0, -1))
    for told in (
        "Ada Bot changed",
        "Name Goldie <i> Silver",
        "API key “nightly” of Ada Bot changed",
        "Description – by a key",
        "Bot “Silver”",
        "Nobody signed in Tenant created",
        "Key created",
        "127.0.0.1",
    ):
        assert told in words, told
    assert "Goldie <i>" not in page.text
    # That a secret was set is told, and nothing of it.
    assert "Bot credentials set" in words
    assert external_body()["credentials"]["token"] not in page.text


async def test_filters_and_links_narrow_the_list(browser: Browser, person: Person) -> None:
    everything = numbers((await browser.get("/audit")).text)
    events = (await person.call("GET", "/audit", params={"limit": 200}))["items"]
    [bot] = {event["resource_id"] for event in events if event["resource"] == "bot"}
    today = events[0]["at"][:10]

    async def shown(query: str) -> list[int]:
        return numbers((await browser.get(f"/audit?{query}")).text)

    def those(name: str, begin: str) -> list[int]:
        return [event["seq"] for event in events if str(event[name]).startswith(begin)]

    assert await shown("action=bot.*") == those("action", "bot.")
    assert await shown("action=bot.changed") == those("action", "bot.changed")
    assert await shown(f"resource=bot:{bot}") == those("resource_id", bot)
    assert await shown("actor=key") == [event["seq"] for event in events if event["actor"]["kind"] == "key"]
    assert await shown(f"actor=user:{person.user_id}&action=key.*") == those("action", "key.")
    assert await shown(f"from={today}&to={today}") == everything
    assert await shown("from=2020-01-01&to=2020-12-31") == []
    page = await browser.get("/audit?action=bot.changed")
    assert '<option value="bot.changed" selected>' in page.text
    assert "No entry fits" in words_of(await browser.get("/audit?action=moon.landed"))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("from=yesterday", "Must be a day such as"),
        ("to=9999-12-31", "Must be a day such as"),
        ("from=2026-01-01T00:00:00%2B01:00", "Must be a day such as"),
        ("actor=somebody", "Begins with one of"),
        ("cursor=garbage", "Is not a cursor of this list"),
        ("cursor=IzE5OTk5OTk5OTk5OTk5OTk5OTk5OTk5", "Is not a cursor of this list"),
    ],
)
async def test_a_filter_that_cannot_be_read_is_told_beside_it(browser: Browser, query: str, words: str) -> None:
    page = await browser.get(f"/audit?{query}", 400)
    assert words.lower() in words_of(page).lower()
    assert numbers(page.text) == []


async def test_pages_go_on_and_keep_their_filters(browser: Browser, person: Person) -> None:
    for number in range(40):
        body = {"bot_type": "platform", "engine": "tradewise", "name": f"b{number}"}
        await person.call("POST", "/bots", json=body, status=201)
    first = await browser.get("/audit?action=bot.*")
    more = first.text.split('">Show more</a>')[0].rsplit('href="', 1)[1].replace("&amp;", "&")
    second = await browser.get(more)
    found = numbers(first.text) + numbers(second.text)
    events = (await person.call("GET", "/audit", params={"action": "bot.*", "limit": 200}))["items"]
    assert found == [event["seq"] for event in events]
    assert len(numbers(first.text)) == 50


async def test_the_chain_is_verified_and_a_broken_link_is_named(
    api: Api, browser: Browser, person: Person, admin: asyncpg.Connection
) -> None:
    await browser.get("/audit")
    page = await browser.send("/audit/verify", {}, 200)
    assert "The chain holds." in words_of(page)
    assert "No head of it was signed yet" in words_of(page)
    assert await api.scheduler.sign_heads() >= 1
    page = await browser.send("/audit/verify", {}, 200)
    assert "1 signed head was found genuine" in words_of(page)
    head = (await person.call("GET", "/audit/verify"))["head_hash"]
    assert head in page.text
    async with tampering(admin):
        await admin.execute(
            "update audit_events set outcome = 'denied' where tenant_id = $1 and seq = 3", person.tenant_id
        )
    page = await browser.send("/audit/verify", {}, 200)
    assert "The chain is broken at entry 3." in words_of(page)
    assert "the event is not what its hash was made of" in words_of(page)
    assert "altered" in words_of(page)
    found = re.search(r'href="(/audit\?cursor=[^"]+)">Show the log from there', page.text)
    assert found is not None
    assert numbers((await browser.get(found[1])).text) == [3, 2, 1]


async def test_only_roles_that_read_the_log_get_it(
    api: Api, admin: asyncpg.Connection, vault: Vault, person: Person
) -> None:
    for role, status in (("admin", 200), ("trader", 403), ("viewer", 403)):
        member = await joined(api, admin, vault, person, role, role)
        async with Browser(api) as one:
            await one.sign_in(member)
            await one.get("/")
            await one.send("/switch-tenant", {"tenant": str(person.tenant_id)})
            page = await one.get("/")
            assert ('href="/audit"' in page.text) == (status == 200)
            await one.get("/audit", status)
            await one.send("/audit/verify", {}, status)


async def test_each_tenant_reads_its_own_log(api: Api, person: Person) -> None:
    bot = (await person.call("GET", "/bots"))["items"][0]["id"]
    async with Browser(api) as one:
        await one.sign_in(await api.person("bob"))
        assert numbers((await one.get(f"/audit?resource=bot:{bot}")).text) == []
        assert "Silver" not in (await one.get("/audit")).text


async def test_who_is_no_member_any_more_is_told_by_id(
    api: Api, admin: asyncpg.Connection, vault: Vault, browser: Browser, person: Person
) -> None:
    member = await joined(api, admin, vault, person, "trader", "theo")
    assert "Member “Theo”" in words_of(await browser.get("/audit"))
    await person.call("DELETE", f"/tenants/{person.tenant_id}/members/{member.user_id}", status=204)
    page = await browser.get("/audit")
    assert "Member removed" in words_of(page)
    assert f"Somebody who is no member (…{str(member.user_id)[-8:]})" in words_of(page)
    await browser.get(f"/audit?actor=user:{member.user_id}")
