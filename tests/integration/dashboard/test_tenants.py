"""Choosing a tenant, making one, and joining one by an invitation."""

from __future__ import annotations

import re
from uuid import UUID

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from control_plane.security.vault import Vault
from tests.api import PASSWORD, Api, Person
from tests.integration.dashboard.browser import Browser, words_of
from tests.members import code_for, invited, joined

HX = {"HX-Request": "true"}


@pytest.fixture
async def owner(api: Api) -> Person:
    """Whoever owns the tenant that others join."""
    return await api.person("olga")


async def named(owner: Person, name: str = "Harbour") -> None:
    await owner.call("PATCH", f"/tenants/{owner.tenant_id}", json={"name": name}, status=200)


async def test_a_person_in_two_tenants_chooses_one(
    api: Api, admin: asyncpg.Connection, vault: Vault, owner: Person
) -> None:
    await named(owner)
    person = await joined(api, admin, vault, owner, "viewer", "vera")
    await owner.call("POST", "/bots", json={"bot_type": "platform", "engine": "tradewise", "name": "ours"}, status=201)
    async with Browser(api) as browser:
        page = await browser.follow(await browser.sign_in(person))
        assert "No bots yet" in words_of(page)
        assert "/switch-tenant" in page.text
        answer = await browser.send("/switch-tenant", {"tenant": str(owner.tenant_id), "next": "/team"})
        assert answer.headers["location"] == "/team"
        assert UUID(browser.cookies["tw_tenant"]) == owner.tenant_id
        assert "httponly" in answer.headers["set-cookie"].lower()
        assert "You are a viewer" in words_of(await browser.get("/team"))
        assert "ours" in words_of(await browser.get("/"))
        await browser.get("/keys", 403)  # the role of this tenant counts
        for elsewhere in ("//evil.example/", "https://evil.example/", f"/bots/{uuid7()}", ""):
            answer = await browser.send("/switch-tenant", {"tenant": str(person.tenant_id), "next": elsewhere})
            assert answer.headers["location"] == "/"
        assert "No bots yet" in words_of(await browser.get("/"))


async def test_nobody_chooses_what_they_are_not_in(api: Api, owner: Person) -> None:
    person = await api.person()
    async with Browser(api) as browser:
        await browser.sign_in(person)
        page = await browser.get("/")
        assert "/switch-tenant" not in page.text
        for wished in (str(owner.tenant_id), str(uuid7()), "nonsense", ""):
            await browser.send("/switch-tenant", {"tenant": wished}, 404)
            assert "tw_tenant" not in browser.cookies
            # Nor by writing the cookie themself: the first tenant, and no error.
            browser.cookies.set("tw_tenant", wished)
            assert "Ada's workspace" in words_of(await browser.get("/"))
            browser.cookies.delete("tw_tenant")


async def test_who_was_removed_is_back_in_their_first_tenant(
    api: Api, admin: asyncpg.Connection, vault: Vault, owner: Person
) -> None:
    person = await joined(api, admin, vault, owner, "trader", "theo")
    async with Browser(api) as browser:
        await browser.sign_in(person)
        await browser.get("/")
        await browser.send("/switch-tenant", {"tenant": str(owner.tenant_id)})
        await browser.get("/bots/new")
        await owner.call("DELETE", f"/tenants/{owner.tenant_id}/members/{person.user_id}", status=204)
        # The form was opened in a tenant that is theirs no more: it makes nothing in the other one.
        fields = {"bot_type": "platform", "engine": "tradewise", "name": "lost"}
        assert "csrf_failed" in words_of(await browser.send("/bots", fields, 403))
        assert "Theo's workspace" in words_of(await browser.get("/"))


async def test_a_tab_of_another_tenant_does_nothing_in_the_chosen_one(
    api: Api, admin: asyncpg.Connection, vault: Vault, owner: Person
) -> None:
    person = await joined(api, admin, vault, owner, "admin", "anton")
    async with Browser(api) as browser:
        await browser.sign_in(person)
        await browser.get("/team")
        stale = browser._token
        await browser.send("/switch-tenant", {"tenant": str(owner.tenant_id)})
        await browser.get("/team")
        page = await browser.send("/team/name", {"name": "By mistake"}, 403, token=stale)
        assert "csrf_failed" in words_of(page)
        tenant = await owner.call("GET", f"/tenants/{owner.tenant_id}")
        assert tenant["name"] != "By mistake"
        # A part that refreshes itself is told to load the page anew, and one of the chosen tenant is not.
        old, new = ({"X-Shown-Tenant": str(tenant_id)} for tenant_id in (person.tenant_id, owner.tenant_id))
        assert (await browser.get("/", 409, headers=HX | old)).headers["hx-refresh"] == "true"
        await browser.get("/", headers=HX | new)
        # What means no tenant still works from there.
        await browser.send("/switch-tenant", {"tenant": str(person.tenant_id)}, token=stale)
        await browser.get("/team")
        await browser.send("/sign-out", {}, token=stale)


async def test_a_further_tenant_is_made_and_worked_in(api: Api) -> None:
    person = await api.person()
    async with Browser(api) as browser:
        await browser.sign_in(person)
        await browser.get("/tenants/new")
        page = await browser.send("/tenants", {"name": "  "}, 422)
        assert "This is needed." in words_of(page)
        page = await browser.send("/tenants", {"name": "x" * 101}, 422)
        assert "at most 100 characters" in words_of(page)
        page = await browser.follow(await browser.send("/tenants", {"name": "Second <b>"}))
        assert "The tenant was made." in words_of(page)
        assert "Second <b>" in words_of(page)
        assert "Second <b>" not in page.text
    names = {tenant["name"] for tenant in (await person.call("GET", "/tenants"))["items"]}
    assert names == {"Ada's workspace", "Second <b>"}


async def test_tenants_are_not_made_without_end(api: Api) -> None:
    person = await api.person()
    async with Browser(api) as browser:
        await browser.sign_in(person)
        await browser.get("/tenants/new")
        for number in range(10):
            await browser.send("/tenants", {"name": f"t{number}"})
        assert "Too many" in words_of(await browser.send("/tenants", {"name": "more"}, 429))


async def test_somebody_in_no_tenant_is_led_into_one(api: Api, admin: asyncpg.Connection) -> None:
    person = await api.person()
    await admin.execute("delete from memberships where user_id = $1", person.user_id)
    async with Browser(api) as browser:
        entered = await browser.sign_in(person)
        assert entered.headers["location"] == "/"
        for path in ("/", "/team", "/audit", "/keys", "/bots/new", "/marketplace", "/subscriptions", "/templates"):
            assert (await browser.get(path, 303)).headers["location"] == "/tenants/new", path
        page = await browser.get("/tenants/new")
        assert "You are in no tenant" in words_of(page)
        assert "data-live-indicator" not in page.text
        await browser.get("/", 403, headers=HX)
        assert (await browser.get("/events/live", 403)).json()["code"] == "not_a_member"
        await browser.send("/bots", {"name": "x"}, 403)
        await browser.get("/invitations")
        await browser.send("/tenants", {"name": "First"})
        page = await browser.get("/")
        assert "No bots yet" in words_of(page)
        assert "First" in words_of(page)


async def test_an_invitation_is_accepted(api: Api, admin: asyncpg.Connection, vault: Vault, owner: Person) -> None:
    await named(owner)
    person = await api.person("ivo")
    await invited(owner, person.email, "trader", status=201)
    code = await code_for(admin, vault, person.email)
    async with Browser(api) as browser:
        await browser.sign_in(person)
        page = await browser.get("/invitations")
        assert f"You are signed in as {person.email}" in words_of(page)
        for wrong, status, words in (
            ("", 422, "This is needed."),
            ("nothing", 404, "it has expired, was used or taken back"),
            ("x" * 201, 422, "at most 200"),
        ):
            page = await browser.send("/invitations/accept", {"token": wrong}, status)
            assert words in words_of(page)
            assert re.search(r'aria-invalid="true"', page.text)
        page = await browser.follow(await browser.send("/invitations/accept", {"token": f" {code}\n"}))
        assert "You are a member now" in words_of(page)
        assert "You are a trader" in words_of(page)
        assert "Harbour" in words_of(page)
        page = await browser.send("/invitations/accept", {"token": code}, 404)
        assert code not in page.text


async def test_an_invitation_is_for_its_address_alone(
    api: Api, admin: asyncpg.Connection, vault: Vault, owner: Person
) -> None:
    await invited(owner, "somebody@example.com", "admin", status=201)
    code = await code_for(admin, vault, "somebody@example.com")
    async with Browser(api) as browser:
        await browser.sign_in(await api.person("mallory"))
        await browser.get("/invitations")
        page = await browser.send("/invitations/accept", {"token": code}, 403)
        assert "was mailed to another address" in words_of(page)
        assert code not in page.text


async def test_a_guest_signs_in_or_up_first_and_comes_back(
    api: Api, admin: asyncpg.Connection, vault: Vault, owner: Person
) -> None:
    email = "new-here@example.com"
    await invited(owner, email, "viewer", status=201)
    code = await code_for(admin, vault, email)
    async with Browser(api) as browser:
        page = await browser.get("/invitations")
        assert "Sign in first" in words_of(page)
        assert 'href="/sign-up?next=/invitations"' in page.text
        refused = await browser.send("/invitations/accept", {"token": code})
        assert refused.headers["location"] == "/sign-in"
        page = await browser.get("/sign-in?next=/invitations")
        assert 'href="/sign-up?next=/invitations"' in page.text
        page = await browser.get("/sign-up?next=/invitations")
        fields = {"email": email, "password": PASSWORD, "full_name": "Nia", "next": "/invitations"}
        page = await browser.send("/sign-up", fields | {"password": "x"}, 422)
        assert 'name="next" value="/invitations"' in page.text
        entered = await browser.send("/sign-up", fields)
        assert entered.headers["location"] == "/invitations"
        await browser.follow(entered)
        page = await browser.follow(await browser.send("/invitations/accept", {"token": code}))
        assert "You are a viewer" in words_of(page)
    async with Browser(api) as stranger:
        await stranger.get("/sign-up?next=//evil.example")
        known = await stranger.send("/sign-up", fields | {"password": "another long password"})
        assert known.headers["location"] == "/sign-in?next=%2Finvitations"
        fresh = {"email": "x@example.com", "password": PASSWORD, "next": "//evil.example"}
        assert (await stranger.send("/sign-up", fresh)).headers["location"] == "/"
