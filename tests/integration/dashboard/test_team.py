"""The page of a tenant as a whole, for each role: what is offered, what is done, and what is refused all the same."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from control_plane.security.vault import Vault
from control_plane.tenants import operator
from tests.api import Api, Person
from tests.factories import Urls
from tests.integration.dashboard.browser import Browser, words_of
from tests.members import invited, joined, letters
from tests.world import two_tenants

Join = Callable[[str, str], Awaitable[Person]]


@pytest.fixture
async def owner(api: Api) -> Person:
    """Whoever owns the tenant."""
    return await api.person("olga")


@pytest.fixture
def join(api: Api, admin: asyncpg.Connection, vault: Vault, owner: Person) -> Join:
    """Bring a new person into the owner's tenant: a role and a name."""
    return lambda role, name: joined(api, admin, vault, owner, role, name)


@pytest.fixture
async def browser(api: Api, owner: Person) -> AsyncIterator[Browser]:
    """The owner's browser, signed in."""
    async with Browser(api) as opened:
        await opened.sign_in(owner)
        await opened.get("/team")
        yield opened


async def enter(browser: Browser, person: Person, owner: Person) -> None:
    """Sign somebody in, and go to the owner's tenant."""
    await browser.sign_in(person)
    await browser.get("/")
    await browser.send("/switch-tenant", {"tenant": str(owner.tenant_id)})
    await browser.get("/team")


async def roles(owner: Person) -> dict[str, str]:
    found = await owner.call("GET", f"/tenants/{owner.tenant_id}/members", status=200)
    return {member["user_id"]: member["role"] for member in found["items"]}


async def test_what_each_role_is_offered(api: Api, owner: Person, join: Join, browser: Browser) -> None:
    people = {"owner": owner, **{role: await join(role, role) for role in ("admin", "trader", "viewer")}}
    offers = {
        "/team/invitations": {"owner", "admin"},
        "/team/name": {"owner", "admin"},
        "/team/leave": {"admin", "trader", "viewer"},
        f"/team/members/{people['viewer'].user_id}/role": {"owner", "admin"},
        f"/team/members/{people['viewer'].user_id}/remove": {"owner", "admin"},
        f"/team/members/{owner.user_id}/role": set(),
        f"/team/members/{owner.user_id}/remove": set(),
        "/team/owner": {"owner"},
        "/team/suspend": {"owner"},
        "/team/delete": {"owner"},
    }
    for role, person in people.items():
        async with Browser(api) as one:
            await enter(one, person, owner) if person is not owner else await one.sign_in(person)
            page = await one.get("/team")
            assert {path for path in offers if f'action="{path}"' in page.text} == {
                path for path, given in offers.items() if role in given
            }, role
            assert ('<option value="owner"' in page.text) == (role == "owner")
            assert ('href="/audit"' in page.text) == (role in {"owner", "admin"})
            assert ('href="/keys"' in page.text) == (role != "viewer")


async def test_what_is_not_offered_is_refused_all_the_same(api: Api, owner: Person, join: Join) -> None:
    admin_, viewer, other = await join("admin", "anton"), await join("viewer", "vera"), await join("viewer", "wim")
    name = (await owner.call("GET", f"/tenants/{owner.tenant_id}"))["name"]
    before = await roles(owner)
    ends = [("/team/suspend", {}), ("/team/resume", {}), ("/team/delete", {"confirm": name})]
    for person, attempts in (
        (
            viewer,
            [
                *ends,
                ("/team/name", {"name": "Mine"}),
                ("/team/invitations", {"email": "x@example.com", "role": "viewer"}),
                ("/team/owner", {"user_id": str(viewer.user_id)}),
                (f"/team/members/{viewer.user_id}/role", {"role": "admin"}),
                (f"/team/members/{other.user_id}/remove", {}),
            ],
        ),
        (
            admin_,
            [
                *ends,
                ("/team/owner", {"user_id": str(admin_.user_id)}),
                ("/team/invitations", {"email": "x@example.com", "role": "owner"}),
                (f"/team/members/{admin_.user_id}/role", {"role": "owner"}),
                (f"/team/members/{owner.user_id}/role", {"role": "viewer"}),
                (f"/team/members/{owner.user_id}/remove", {}),
            ],
        ),
    ):
        async with Browser(api) as one:
            await enter(one, person, owner)
            for path, fields in attempts:
                await one.send(path, fields, 403)
    assert await roles(owner) == before
    tenant = await owner.call("GET", f"/tenants/{owner.tenant_id}")
    assert (tenant["status"], tenant["name"]) == ("active", name)


async def test_inviting_and_withdrawing(
    browser: Browser, owner: Person, admin: asyncpg.Connection, vault: Vault
) -> None:
    for fields, status, words in (
        ({"email": "", "role": "viewer"}, 422, "This is needed."),
        ({"email": "nowhere", "role": "viewer"}, 422, "has a form that cannot be taken"),
        ({"email": "ivo@example.com", "role": "king"}, 422, "is not one of the choices"),
        ({"email": owner.email, "role": "viewer"}, 409, "belongs to a member"),
    ):
        page = await browser.send("/team/invitations", fields, status)
        assert words.lower() in words_of(page).lower()
        assert f'value="{fields["email"]}"' in page.text
    page = await browser.follow(await browser.send("/team/invitations", {"email": "ivo@example.com", "role": "trader"}))
    assert "The invitation is on its way" in words_of(page)
    assert "ivo@example.com Trader just now in 6 days" in words_of(page)
    [letter] = await letters(admin, vault, "ivo@example.com")
    assert "as trader" in letter.body
    await admin.execute("update invitations set expires_at = now() - interval '1 hour'")
    assert "ivo@example.com Trader just now Expired" in words_of(await browser.get("/team"))
    [one] = (await owner.call("GET", f"/tenants/{owner.tenant_id}/invitations"))["items"]
    page = await browser.follow(await browser.send(f"/team/invitations/{one['id']}/withdraw"))
    assert "The invitation was withdrawn." in words_of(page)
    assert "ivo@example.com" not in page.text
    await browser.send(f"/team/invitations/{one['id']}/withdraw", {}, 404)


async def test_too_many_invitations_are_told(browser: Browser) -> None:
    for number in range(30):
        await browser.send("/team/invitations", {"email": f"n{number}@example.com", "role": "viewer"})
    page = await browser.send("/team/invitations", {"email": "more@example.com", "role": "viewer"}, 429)
    assert "Too many" in words_of(page)


async def test_roles_change_and_members_go(browser: Browser, owner: Person, join: Join) -> None:
    theo = await join("trader", "theo")
    page = await browser.follow(await browser.send(f"/team/members/{theo.user_id}/role", {"role": "admin"}))
    assert "The role was changed." in words_of(page)
    assert (await roles(owner))[str(theo.user_id)] == "admin"
    page = await browser.send(f"/team/members/{theo.user_id}/role", {"role": "king"}, 422)
    assert "is not one of the choices" in words_of(page).lower()
    # The last owner stays one.
    for path, fields in (
        (f"/team/members/{owner.user_id}/role", {"role": "admin"}),
        (f"/team/members/{owner.user_id}/remove", {}),
        ("/team/leave", {}),
    ):
        assert "A tenant keeps an owner" in words_of(await browser.send(path, fields, 409))
    page = await browser.follow(await browser.send(f"/team/members/{theo.user_id}/remove"))
    assert "The member was removed" in words_of(page)
    assert list(await roles(owner)) == [str(owner.user_id)]


async def test_leaving(api: Api, owner: Person, join: Join) -> None:
    vera = await join("viewer", "vera")
    async with Browser(api) as one:
        await enter(one, vera, owner)
        page = await one.follow(await one.send("/team/leave"))
        assert "You left the tenant." in words_of(page)
        assert "Vera's workspace" in words_of(page)
        assert "tw_tenant" not in one.cookies
    assert str(vera.user_id) not in await roles(owner)


async def test_handing_over(browser: Browser, owner: Person, join: Join) -> None:
    theo = await join("trader", "theo")
    for wrong, words in (
        (str(owner.user_id), "owns this tenant already"),
        (str(uuid7()), "is no member of this tenant"),
        ("nobody", "invalid uuid"),
        ("", "this is needed"),
    ):
        page = await browser.send("/team/owner", {"user_id": wrong}, 422)
        assert words in words_of(page).lower()
    page = await browser.follow(await browser.send("/team/owner", {"user_id": str(theo.user_id)}))
    assert "You are an admin of it now." in words_of(page)
    assert await roles(owner) == {str(owner.user_id): "admin", str(theo.user_id): "owner"}
    assert 'action="/team/delete"' not in page.text


async def test_renaming(browser: Browser) -> None:
    assert "This is needed." in words_of(await browser.send("/team/name", {"name": ""}, 422))
    page = await browser.send("/team/name", {"name": "x" * 101}, 422)
    assert "at most 100 characters" in words_of(page)
    page = await browser.follow(await browser.send("/team/name", {"name": "Harbour"}))
    assert "The tenant has its new name." in words_of(page)
    assert "Harbour" in words_of(page)


async def test_suspending_and_resuming(api: Api, browser: Browser, owner: Person, join: Join) -> None:
    vera = await join("admin", "vera")
    page = await browser.follow(await browser.send("/team/suspend"))
    assert "The tenant is suspended." in words_of(page)
    assert "Suspended just now by an owner" in words_of(page)
    for path in ("/", "/bots/new", "/marketplace", "/keys", "/team", "/audit", "/templates"):
        shown = await browser.get(path, 403 if path == "/bots/new" else 200)
        assert "This tenant is suspended." in words_of(shown), path
    page = await browser.get("/team")
    for path in ("/team/name", "/team/invitations", "/team/owner", f"/team/members/{vera.user_id}/role", "/team/leave"):
        assert f'action="{path}"' not in page.text
    for path, fields in (
        ("/team/name", {"name": "x"}),
        ("/team/invitations", {"email": "x@example.com", "role": "viewer"}),
        ("/team/owner", {"user_id": str(vera.user_id)}),
        (f"/team/members/{vera.user_id}/remove", {}),
        ("/team/leave", {}),
    ):
        assert "tenant_suspended" in words_of(await browser.send(path, fields, 403)), path
    async with Browser(api) as one:
        await enter(one, vera, owner)
        page = await one.get("/team")
        assert "An owner of the tenant can resume it." in words_of(page)
        await one.send("/team/resume", {}, 403)
    page = await browser.follow(await browser.send("/team/resume"))
    assert "The tenant is resumed." in words_of(page)
    assert "This tenant is suspended." not in words_of(page)


async def test_what_the_operator_suspends_only_the_operator_resumes(
    browser: Browser, owner: Person, urls: Urls
) -> None:
    await operator.suspend(urls.admin, owner.tenant_id, "unpaid <bill>")
    page = await browser.get("/team")
    assert "by the operator of this installation. Reason given: “unpaid <bill>”." in words_of(page)
    assert "ask them" in words_of(page)
    for path in ("/team/resume", "/team/delete"):
        assert f'action="{path}"' not in page.text
    name = (await owner.call("GET", f"/tenants/{owner.tenant_id}"))["name"]
    assert "suspended_by_operator" in words_of(await browser.send("/team/resume", {}, 403))
    assert "tenant_suspended" in words_of(await browser.send("/team/delete", {"confirm": name}, 403))


async def test_deleting(browser: Browser, owner: Person) -> None:
    name = (await owner.call("GET", f"/tenants/{owner.tenant_id}"))["name"]
    for wrong in ("", name.upper(), f"{name} "):
        page = await browser.send("/team/delete", {"confirm": wrong}, 422)
        assert "must be the name of the tenant, letter by letter" in words_of(page).lower()
    assert 'name="end_subscriptions"' not in page.text
    page = await browser.get((await browser.send("/team/delete", {"confirm": name})).headers["location"], 303)
    page = await browser.get(page.headers["location"])
    assert "The tenant was deleted for good." in words_of(page)
    assert "You are in no tenant" in words_of(page)


async def test_deleting_what_others_subscribe_to_must_be_meant_twice(api: Api, admin: asyncpg.Connection) -> None:
    ada, _ = await two_tenants(api, admin)
    name = (await ada.person.call("GET", f"/tenants/{ada.person.tenant_id}"))["name"]
    async with Browser(api) as browser:
        await browser.sign_in(ada.person)
        assert 'name="end_subscriptions"' not in (await browser.get("/team")).text
        page = await browser.send("/team/delete", {"confirm": name}, 409)
        assert "of others rest on this tenant's templates. Tick the box" in words_of(page)
        assert 'name="end_subscriptions"' in page.text
        page = await browser.send("/team/delete", {"confirm": "no", "end_subscriptions": "true"}, 422)
        assert 'name="end_subscriptions" value="true" checked' in page.text
        await browser.send("/team/delete", {"confirm": name, "end_subscriptions": "true"})
    assert await admin.fetchval("select status from tenants where id = $1", ada.person.tenant_id) == "deleted"


async def test_another_tenants_people_and_invitations_are_not_there(api: Api, browser: Browser) -> None:
    bob = await api.person("bob")
    theirs = await invited(bob, "x@example.com", "viewer", status=201)
    for path, fields in (
        (f"/team/members/{bob.user_id}/role", {"role": "viewer"}),
        (f"/team/members/{bob.user_id}/remove", {}),
        (f"/team/invitations/{theirs['id']}/withdraw", {}),
        (f"/team/members/{uuid7()}/remove", {}),
    ):
        assert "There is no such" in words_of(await browser.send(path, fields, 404)), path
    assert len((await bob.call("GET", f"/tenants/{bob.tenant_id}/invitations"))["items"]) == 1
    assert "bob" not in (await browser.get("/team")).text
