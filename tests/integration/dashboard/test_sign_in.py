"""The pages of signing up and in say in words what the API says in codes."""

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


@pytest.fixture
async def strict(settings: Settings, urls: Urls, vault: Vault) -> AsyncIterator[Api]:
    """An installation where addresses are confirmed before anybody signs in."""
    async with running_api(msgspec.structs.replace(settings, require_verified_email=True), urls, vault) as running:
        yield running


async def test_a_locked_account_is_told_so(api: Api, admin: asyncpg.Connection) -> None:
    person = await api.person()
    async with Browser(api) as browser:
        await browser.get("/sign-in")
        for _ in range(5):
            await browser.send("/sign-in", {"email": person.email, "password": "wrong"}, 401)
        await admin.execute("update sign_in_failures set locked_until = now() + interval '1 minute'")
        locked = await browser.send("/sign-in", {"email": person.email, "password": PASSWORD}, 429)
        assert 55 <= int(locked.headers["retry-after"]) <= 60
        assert "Too many attempts: try again in" in words_of(locked)
        assert person.email in locked.text
        assert PASSWORD not in locked.text
        assert "tw_session" not in browser.cookies


async def test_too_many_sign_ups_are_told_so(api: Api, api_db: Database) -> None:
    for _ in range(limits.SIGN_UPS_OF_ACCOUNT.burst):
        await take(api_db, limits.SIGN_UPS_OF_ACCOUNT, "eve@example.com")
    async with Browser(api) as browser:
        await browser.get("/sign-up")
        refused = await browser.send("/sign-up", {"email": "eve@example.com", "password": PASSWORD}, 429)
        assert "retry-after" in refused.headers
        assert "Too many attempts" in words_of(refused)


async def test_an_address_that_is_not_confirmed(strict: Api) -> None:
    fields = {"email": "eve@example.com", "password": PASSWORD}
    async with Browser(strict) as browser:
        await browser.get("/sign-up")
        pages = []
        for _ in range(2):  # new, and known
            await browser.get("/sign-up")
            sent = await browser.send("/sign-up", fields)
            assert sent.headers["location"] == "/verify-email?email=eve@example.com"
            pages.append(words_of(await browser.follow(sent)))
        assert pages[0] == pages[1]
        assert "Confirm your address with the code" in pages[0]
        await browser.get("/sign-in")
        refused = await browser.send("/sign-in", fields, 403)
        assert "/verify-email?email=eve%40example.com" in refused.text
        assert "not confirmed yet" in words_of(refused)
        assert "tw_session" not in browser.cookies
