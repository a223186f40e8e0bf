"""The pages of one's own account: profile, password, sessions, and its end."""

from __future__ import annotations

import asyncpg

from control_plane.dashboard.devices import device_words
from control_plane.security.vault import Vault
from tests.api import PASSWORD, Api
from tests.integration.dashboard.browser import Browser, words_of
from tests.members import joined

NEW = "another long password"
PAGES = ("/account", "/account/second-factor", "/account/sessions", "/account/identities", "/account/delete")


async def test_the_bar_leads_there_and_every_page_is_there(api: Api) -> None:
    ada = await api.person()
    async with Browser(api) as browser:
        await browser.sign_in(ada)
        assert 'class="person" href="/account"' in (await browser.get("/")).text
        for path in PAGES:
            page = await browser.get(path)
            assert page.headers["cache-control"] == "no-store"
            for trace in ("None", "Undefined", "<function"):
                assert trace not in page.text, (path, trace)


async def test_somebody_in_no_tenant_has_an_account_all_the_same(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    await admin.execute("delete from memberships where user_id = $1", ada.user_id)
    async with Browser(api) as browser:
        await browser.sign_in(ada)
        for path in PAGES:
            await browser.get(path)


async def test_the_name_is_changed_and_taken_away(api: Api) -> None:
    ada = await api.person()
    async with Browser(api) as browser:
        await browser.sign_in(ada)
        await browser.get("/account")
        saved = await browser.follow(await browser.send("/account/profile", {"full_name": " Ada <Lovelace> "}))
        assert "Your profile was saved" in words_of(saved)
        assert 'value="Ada &lt;Lovelace&gt;"' in saved.text
        refused = await browser.send("/account/profile", {"full_name": "x" * 201}, 422)
        assert "Must have at most 200 characters" in words_of(refused)
        await browser.send("/account/profile", {"full_name": ""})
    assert (await ada.call("GET", "/me"))["user"]["full_name"] is None


async def test_the_password_is_changed_by_who_knows_it(api: Api) -> None:
    ada = await api.person()
    async with Browser(api) as browser, Browser(api) as other:
        await browser.sign_in(ada)
        await other.sign_in(ada)
        await browser.get("/account")
        fields = {"current_password": "not this one", "new_password": NEW}
        wrong = await browser.send("/account/password", fields, 422)
        assert "This is not your password" in words_of(wrong)
        assert 'id="current_password-note"' in wrong.text
        assert NEW not in wrong.text
        assert "not this one" not in wrong.text
        short = await browser.send("/account/password", {**fields, "new_password": "short"}, 422)
        assert 'id="new_password-note"' in short.text
        changed = await browser.send("/account/password", {**fields, "current_password": PASSWORD})
        assert "The password was changed" in words_of(await browser.follow(changed))
        await other.get("/account", 303)
        await other.get("/sign-in")
        await other.send("/sign-in", {"email": ada.email, "password": NEW})


async def test_guessing_the_password_is_limited(api: Api) -> None:
    ada = await api.person()
    async with Browser(api) as browser:
        await browser.sign_in(ada)
        await browser.get("/account")
        fields = {"current_password": "not this one", "new_password": NEW}
        for _ in range(6):
            answer = await browser._client.post("/account/password", data={**fields, "csrf_token": browser._token})
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        assert "Too many attempts" in words_of(answer)


async def test_sessions_are_listed_and_ended(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await api.person(), await api.person("bob")  # each has a session by the API
    async with Browser(api) as browser, Browser(api) as other:
        await browser.sign_in(ada)
        await other.sign_in(ada)
        page = await browser.get("/account/sessions")
        assert page.text.count('/revoke"') == 2
        assert page.text.count(">this one</span>") == 1
        newest = "select id from sessions where user_id = $1 order by id desc"
        others = await admin.fetchval(newest, ada.user_id)
        ended = await browser.follow(await browser.send(f"/account/sessions/{others}/revoke"))
        assert "That session has ended" in words_of(ended)
        await other.get("/account", 303)
        await browser.send(f"/account/sessions/{others}/revoke", status=404)
        foreign = await admin.fetchval(newest, bob.user_id)
        await browser.send(f"/account/sessions/{foreign}/revoke", status=404)
        await bob.call("GET", "/me", status=200)
        alone = await browser.follow(await browser.send("/account/sessions/revoke-others"))
        assert "signed out everywhere else" in words_of(alone)
        assert '/revoke"' not in alone.text
        await ada.call("GET", "/me", status=401)
        assert "Sign out everywhere else" not in words_of(alone)


def test_devices_are_told_in_words() -> None:
    linux = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36"
    phone = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 Version/17.0 Safari/604.1"
    assert device_words(linux) == "Chrome on Linux"
    assert device_words(linux + " Edg/130.0.0.0") == "Edge on Linux"
    assert device_words("Mozilla/5.0 (Windows NT 10.0; rv:130.0) Gecko/20100101 Firefox/130.0") == "Firefox on Windows"
    assert device_words(phone) == "Safari on iPhone"
    assert device_words("curl/8.5.0") == "A program (curl)"
    assert device_words("<script>") == device_words(None) == "Unknown device"


async def test_the_account_is_deleted_when_it_is_meant(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    async with Browser(api) as browser:
        await browser.sign_in(ada)
        page = await browser.get("/account/delete")
        assert f"Type {ada.email} to confirm" in words_of(page)
        for typed in ("", "somebody@example.com"):
            refused = await browser.send("/account/delete", {"confirm": typed}, 422)
            assert f"Must be {ada.email}" in words_of(refused)
            assert 'id="confirm-note"' in refused.text
        gone = await browser.send("/account/delete", {"confirm": ada.email.upper()})
        assert gone.headers["location"] == "/sign-in"
        assert "tw_session" not in browser.cookies
        assert "Your account is deleted" in words_of(await browser.follow(gone))
        await browser.send("/sign-in", {"email": ada.email, "password": PASSWORD}, 401)
    assert await admin.fetchval("select status from users where id = $1", ada.user_id) == "deleted"


async def test_the_last_owner_of_others_is_told_what_to_do(api: Api, admin: asyncpg.Connection, vault: Vault) -> None:
    ada = await api.person()
    await joined(api, admin, vault, ada, "admin", "bob")
    async with Browser(api) as browser:
        await browser.sign_in(ada)
        await browser.get("/account/delete")
        refused = await browser.send("/account/delete", {"confirm": ada.email}, 409)
        assert "hand it over or delete it first" in words_of(refused)
        await browser.get("/account")
