"""Signing in by an OpenID provider on pages: bound to the browser, told in words, and the second factor in between."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from urllib.parse import urlencode

import asyncpg
import httpx
import msgspec
import pytest

from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import PASSWORD, Api, Person, running_api
from tests.factories import Urls
from tests.integration.api.test_oidc_api import REDIRECT, exchanging, settings_with
from tests.integration.dashboard.browser import Browser, words_of
from tests.second_ways import code_of, later, with_totp
from tests.servers.identity_provider import IdentityProvider
from tests.servers.loopback import json_reply
from tests.waiting import until

START, BACK = "/sign-in/oidc", "/sign-in/oidc/callback"
_LEAVING = re.compile(r'<a class="button button-primary" href="([^"]+)">Continue')


@pytest.fixture
async def provider() -> AsyncIterator[IdentityProvider]:
    async with IdentityProvider(REDIRECT) as running:
        yield running


@pytest.fixture
async def linked(
    settings: Settings, urls: Urls, vault: Vault, admin: asyncpg.Connection, provider: IdentityProvider
) -> AsyncIterator[Api]:
    """An installation that signs people in by ``provider``, whom it calls Acme."""
    ours = msgspec.structs.replace(settings_with(settings, provider), oidc_name="Acme")
    web = msgspec.structs.replace(ours, oidc_client_secret=None)
    async with running_api(web, urls, vault) as api, exchanging(ours, urls, vault):
        await until(lambda: admin.fetchval("select count(*) from identity_providers"), what="discovery is published")
        await until(lambda: admin.fetchval("select count(*) from platform_keys"), what="the platform has a key")
        yield api


async def there(browser: Browser, provider: IdentityProvider, path: str = START) -> str:
    """Go to the provider, agree, and be led back: the address of that."""
    away = await browser.get(path, 303)
    target = away.headers["location"]
    assert target.startswith(provider.issuer)
    return back_from(provider, target)


def back_from(provider: IdentityProvider, target: str) -> str:
    return f"{BACK}?{urlencode(provider.agree(target))}"


async def link(browser: Browser, provider: IdentityProvider) -> httpx.Response:
    """Link an identity as a person does it."""
    await browser.get("/account/identities")
    leaving = await browser.send("/account/identities/oidc", {"password": PASSWORD}, 200)
    found = _LEAVING.search(leaving.text)
    assert found is not None
    return await browser.get(back_from(provider, html.unescape(found[1])), 303)


async def person_with_link(api: Api, provider: IdentityProvider) -> Person:
    ada = await api.person("ada")
    async with Browser(api) as browser:
        await browser.sign_in(ada)
        await link(browser, provider)
    return ada


async def test_signing_in_there_and_back(linked: Api, provider: IdentityProvider) -> None:
    async with Browser(linked) as browser:
        page = await browser.get("/sign-in?next=/keys")
        assert "Sign in with Acme" in words_of(page)
        assert 'href="/sign-in/oidc?next=/keys"' in page.text
        back = await there(browser, provider, f"{START}?next=/keys")
        cookie = next(cookie for cookie in browser.cookies.jar if cookie.name == "tw_oidc")
        assert cookie.has_nonstandard_attr("HttpOnly")
        assert str(cookie.get_nonstandard_attr("SameSite")).lower() == "lax"
        entered = await browser.get(back, 303)
        assert entered.headers["location"] == "/keys"
        assert "tw_oidc" not in browser.cookies
        assert "Ada Lovelace" in words_of(await browser.get("/account"))
        assert (await browser.get(START, 303)).headers["location"] == "/"


async def test_the_cookie_is_the_hosts_alone_where_it_may_be(
    settings: Settings, urls: Urls, vault: Vault, admin: asyncpg.Connection, provider: IdentityProvider
) -> None:
    ours = msgspec.structs.replace(settings_with(settings, provider), secure_cookies=True)
    async with running_api(ours, urls, vault) as api, exchanging(ours, urls, vault):
        await until(lambda: admin.fetchval("select count(*) from identity_providers"), what="discovery is published")
        await until(lambda: admin.fetchval("select count(*) from platform_keys"), what="the platform has a key")
        answer = await api.client.get(START)
        [kept] = [text for text in answer.headers.get_list("set-cookie") if "tw_oidc" in text]
        assert kept.startswith("__Host-tw_oidc=")
        assert {"Secure", "HttpOnly"} <= {part.strip() for part in kept.split(";")}
        assert "samesite=lax" in kept.lower()


async def test_another_browsers_sign_in_is_not_finished_here(
    linked: Api, provider: IdentityProvider, admin: asyncpg.Connection
) -> None:
    async with Browser(linked) as eve, Browser(linked) as ada:
        back = await there(eve, provider)
        for _ in range(2):  # without a sign-in of their own, and with one
            refused = await ada.get(back, 401)
            assert "begin it again" in words_of(refused)
            assert "tw_session" not in ada.cookies
            await ada.get(START, 303)
        state = re.search(r"state=([^&]+)", back)
        assert state is not None
        await ada.get("/sign-in")
        await ada.send(BACK, {"code": "x", "state": state[1], "totp": "123456"}, 401)
    assert await admin.fetchval("select count(*) from users") == 0


async def test_the_second_factor_comes_in_between(
    linked: Api, provider: IdentityProvider, admin: asyncpg.Connection
) -> None:
    ada = await person_with_link(linked, provider)
    secret, _ = await with_totp(await linked.sign_in(ada.email))
    await later(admin)
    async with Browser(linked) as browser:
        asked = await browser.get(await there(browser, provider, f"{START}?next=/keys"), 401)
        assert "Acme knows you" in words_of(asked)
        assert "tw_session" not in browser.cookies
        hidden = dict(re.findall(r'type="hidden" name="(code|state)" value="([^"]+)"', asked.text))
        wrong = await browser.send(BACK, {**hidden, "totp": "000000"}, 401)
        assert 'id="totp-note"' in wrong.text
        short = await browser.send(BACK, {**hidden, "totp": "1"}, 422)
        assert 'id="totp-note"' in short.text
        entered = await browser.send(BACK, {**hidden, "totp": code_of(secret)})
        assert entered.headers["location"] == "/keys"
        assert "tw_oidc" not in browser.cookies


async def test_what_goes_wrong_is_told_on_the_sign_in_page(
    linked: Api, provider: IdentityProvider, admin: asyncpg.Connection
) -> None:
    async with Browser(linked) as browser:
        back = await there(browser, provider)
        state = back.partition("state=")[2].partition("&")[0]
        said = await browser.get(f"{BACK}?state={state}&error=access_denied&error_description=Send+money", 401)
        assert "Acme did not sign you in" in words_of(said)
        assert "Send money" not in said.text
        assert "tw_oidc" not in browser.cookies
        for broken in (BACK, f"{BACK}?code=x", f"{BACK}?code=x&state=short", f"{BACK}?code=%01&state={'A' * 64}"):
            await browser.get(broken, 401)
        back = await there(browser, provider)
        provider.replies["/token"] = json_reply({"error": "invalid_grant"}, 400)
        refused = await browser.get(back, 401)
        assert "did not take the code" in words_of(refused)
        assert 'action="/sign-in"' in refused.text
    assert await admin.fetchval("select count(*) from users") == 0


async def test_an_address_that_is_known_here_opens_nothing(
    linked: Api, provider: IdentityProvider, admin: asyncpg.Connection
) -> None:
    await linked.client.post("/api/v1/auth/sign-up", json={"email": "ada@example.org", "password": PASSWORD})
    async with Browser(linked) as browser:
        refused = await browser.get(await there(browser, provider), 409)
        assert "sign in there as you used to, and link this identity" in words_of(refused)
        assert "tw_session" not in browser.cookies


async def test_linking_and_unlinking(linked: Api, provider: IdentityProvider, admin: asyncpg.Connection) -> None:
    ada, bob = await linked.person("ada"), await linked.person("bob")
    async with Browser(linked) as browser:
        await browser.sign_in(ada)
        assert "Link Acme" in words_of(await browser.get("/account/identities"))
        done = await browser.follow(await link(browser, provider))
        assert "The identity is linked" in words_of(done)
        assert "ada@example.org" in words_of(done)
        found = re.search(r'action="(/account/identities/[0-9a-f-]{36}/unlink)"', done.text)
        assert found is not None
        async with Browser(linked) as other:
            await other.sign_in(bob)
            await other.get("/account")
            await other.send(found[1], {"password": PASSWORD}, 404)
            await other.get("/account/identities")
            leaving = await other.send("/account/identities/oidc", {}, 200)
            target = _LEAVING.search(leaving.text)
            assert target is not None
            taken = await other.get(back_from(provider, html.unescape(target[1])), 409)
            assert "belongs to another account" in words_of(taken)
        await admin.execute("update sessions set created_at = created_at - interval '6 minutes'")
        for given, words in (("", "is needed here"), ("not this one", "does not match")):
            for path in (found[1], "/account/identities/oidc"):
                refused = await browser.send(path, {"password": given}, 422)
                assert words in words_of(refused).lower()
        gone = await browser.follow(await browser.send(found[1], {"password": PASSWORD}))
        assert "no longer a way into your account" in words_of(gone)
        assert "No identity is linked yet" in words_of(gone)


async def test_the_last_way_in_stays(linked: Api, provider: IdentityProvider) -> None:
    async with Browser(linked) as browser:
        await browser.get(await there(browser, provider), 303)
        page = await browser.get("/account/identities")
        found = re.search(r'action="(/account/identities/[0-9a-f-]{36}/unlink)"', page.text)
        assert found is not None
        refused = await browser.send(found[1], {}, 409)
        assert "the only way into your account" in words_of(refused)


async def test_a_link_is_finished_by_who_began_it(linked: Api, provider: IdentityProvider) -> None:
    ada, bob = await linked.person("ada"), await linked.person("bob")
    async with Browser(linked) as browser:
        await browser.sign_in(ada)
        await browser.get("/account/identities")
        leaving = await browser.send("/account/identities/oidc", {}, 200)
        target = _LEAVING.search(leaving.text)
        assert target is not None
        await browser.send("/sign-out")
        await browser.sign_in(bob)
        await browser.get(back_from(provider, html.unescape(target[1])), 401)
    for person in (ada, bob):
        assert (await (await linked.sign_in(person.email)).call("GET", "/me/identities"))["items"] == []


async def test_where_no_provider_is_set(api: Api) -> None:
    ada = await api.person()
    async with Browser(api) as browser:
        assert "/sign-in/oidc" not in (await browser.get("/sign-in")).text
        refused = await browser.get(START, 404)
        assert "use another way" in words_of(refused)
        await browser.sign_in(ada)
        assert "/account/identities/oidc" not in (await browser.get("/account/identities")).text
        assert "use another way" in words_of(await browser.send("/account/identities/oidc", {}, 404))
