"""Codes by mail on pages: confirming an address, and setting a new password."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import msgspec
import pytest

from control_plane.database.sessions import Database
from control_plane.identity import limits
from control_plane.security.limits import take
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import PASSWORD, Api, running_api
from tests.factories import Urls
from tests.integration.dashboard.browser import Browser, words_of
from tests.mailbox import Mailbox

NEW = "another long password"
WRONG = "0000-0000-0000-0000-0000-0000"


@pytest.fixture
def mailbox(admin: asyncpg.Connection, vault: Vault) -> Mailbox:
    return Mailbox(admin, vault)


@pytest.fixture
async def strict(settings: Settings, urls: Urls, vault: Vault) -> AsyncIterator[Api]:
    """An installation where addresses are confirmed before anybody signs in, and whose mails lead to its pages."""
    changed = msgspec.structs.replace(settings, require_verified_email=True, public_url="http://testserver.local")
    async with running_api(changed, urls, vault) as running:
        yield running


async def test_signing_up_leads_to_the_code_and_the_code_leads_in(strict: Api, mailbox: Mailbox) -> None:
    email = "ada+bots@example.com"
    async with Browser(strict) as browser:
        await browser.get("/sign-up")
        asked = await browser.follow(await browser.send("/sign-up", {"email": email, "password": PASSWORD}))
        assert 'value="ada+bots@example.com"' in asked.text
        [letter] = await mailbox.of(email)
        link = next(line.strip() for line in letter.body.splitlines() if "/verify-email?" in line)
        page = await browser.get(link.removeprefix("http://testserver.local"))
        assert 'value="ada+bots@example.com"' in page.text
        assert page.headers["cache-control"] == "no-store"
        refused = await browser.send("/verify-email", {"email": email, "code": WRONG}, 422)
        assert 'aria-describedby="code-note"' in refused.text
        assert "ask for a new one" in words_of(refused)
        assert WRONG not in refused.text.replace("XXXX", "")
        code = (await mailbox.code(email, "verify_email")).lower()
        done = await browser.send("/verify-email", {"email": email, "code": code})
        assert done.headers["location"] == "/sign-in"
        assert "address is confirmed" in words_of(await browser.follow(done))
        entered = await browser.send("/sign-in", {"email": email, "password": PASSWORD})
        assert entered.headers["location"] == "/"
        assert "not confirmed" not in words_of(await browser.follow(entered))


async def test_a_fresh_code_is_the_same_answer_for_every_address(api: Api, mailbox: Mailbox) -> None:
    ada = await api.person()
    async with Browser(api) as browser:
        for path in ("/verify-email/resend", "/forgot-password"):
            told = []
            for email in (ada.email, "nobody@example.com"):
                await browser.get("/verify-email")
                left = {"code": "left in the field"} if path.endswith("resend") else {}
                sent = await browser.send(path, {"email": email, **left})
                told.append(words_of(await browser.follow(sent)))
            assert told[0] == told[1]
            assert "a mail with a code is on its way" in told[0]
    assert [letter.kind for letter in await mailbox.of(ada.email)] == ["verify_email", "verify_email", "reset_password"]
    assert await mailbox.of("nobody@example.com") == []


async def test_somebody_signed_in_is_told_until_the_address_is_confirmed(api: Api, mailbox: Mailbox) -> None:
    ada = await api.person()
    async with Browser(api) as browser:
        await browser.sign_in(ada)
        for path in ("/", "/account", "/keys"):
            assert "not confirmed yet" in words_of(await browser.get(path)), path
        page = await browser.get("/verify-email")
        assert f'value="{ada.email}"' in page.text
        code = await mailbox.code(ada.email, "verify_email")
        done = await browser.send("/verify-email", {"email": ada.email, "code": code})
        assert done.headers["location"] == "/account"
        assert "confirmed" in words_of(await browser.follow(done))
        assert "not confirmed yet" not in words_of(await browser.get("/"))
        assert (await browser.get("/verify-email", 303)).headers["location"] == "/account"


async def test_a_new_password_by_mail(api: Api, mailbox: Mailbox) -> None:
    ada = await api.person()
    async with Browser(api) as browser, Browser(api) as elsewhere:
        await elsewhere.sign_in(ada)
        assert 'href="/forgot-password"' in (await browser.get("/sign-in")).text
        await browser.get("/forgot-password")
        page = await browser.follow(await browser.send("/forgot-password", {"email": ada.email}))
        assert f'value="{ada.email}"' in page.text
        code = await mailbox.code(ada.email, "reset_password")
        short = await browser.send("/reset-password", {"email": ada.email, "code": code, "new_password": "short"}, 422)
        assert "Must have at least" in words_of(short)
        assert code not in short.text
        fields = {"email": ada.email, "code": WRONG, "new_password": NEW}
        wrong = await browser.send("/reset-password", fields, 422)
        assert "ask for a new one" in words_of(wrong)
        assert NEW not in wrong.text
        done = await browser.send("/reset-password", {**fields, "code": code})
        assert done.headers["location"] == "/sign-in"
        assert "The password is set" in words_of(await browser.follow(done))
        assert (await elsewhere.get("/account", 303)).headers["location"].startswith("/sign-in")
        await browser.send("/sign-in", {"email": ada.email, "password": PASSWORD}, 401)
        await browser.send("/sign-in", {"email": ada.email, "password": NEW})


async def test_resetting_in_a_browser_that_is_signed_in_signs_it_out(api: Api, mailbox: Mailbox) -> None:
    ada = await api.person()
    async with Browser(api) as browser:
        await browser.sign_in(ada)
        page = await browser.get("/forgot-password")
        assert f'value="{ada.email}"' in page.text
        assert "Back to your account" in words_of(page)
        await browser.send("/forgot-password", {"email": ada.email})
        fields = {"email": ada.email, "code": await mailbox.code(ada.email, "reset_password"), "new_password": NEW}
        await browser.send("/reset-password", fields)
        assert "tw_session" not in browser.cookies


async def test_too_many_are_told_when_to_come_back(api: Api, api_db: Database) -> None:
    ada = await api.person()
    for rule in (limits.CODES_OF_ACCOUNT, limits.TRIES_OF_ACCOUNT):
        for _ in range(rule.burst):
            await take(api_db, rule, limits.account_of(ada.email))
    fields = {"email": ada.email, "code": WRONG, "new_password": NEW}
    async with Browser(api) as browser:
        for path in ("/verify-email", "/verify-email/resend", "/forgot-password", "/reset-password"):
            await browser.get(path.removesuffix("/resend"))
            names = {"/verify-email": ("email", "code"), "/reset-password": tuple(fields)}.get(path, ("email",))
            refused = await browser.send(path, {name: fields[name] for name in names}, 429)
            assert int(refused.headers["retry-after"]) > 0
            assert "Too many attempts: try again in" in words_of(refused)
            assert f'value="{ada.email}"' in refused.text


async def test_what_is_no_address_is_told_beside_its_field(api: Api) -> None:
    async with Browser(api) as browser:
        for path in ("/verify-email/resend", "/forgot-password"):
            await browser.get("/forgot-password")
            refused = await browser.send(path, {"email": '"><b>x'}, 422)
            assert 'id="email-note"' in refused.text
            assert "<b>x" not in refused.text
        page = await browser.get("/reset-password?email=%22%3E%3Cb%3Ex")
        assert "<b>x" not in page.text
