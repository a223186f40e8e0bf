"""Signing in on a page with a second factor."""

from __future__ import annotations

import asyncpg

from tests.api import PASSWORD, Api
from tests.integration.dashboard.browser import Browser, words_of
from tests.second_ways import code_of, later, with_totp


async def test_the_code_is_asked_for_when_it_is_needed(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    secret, _ = await with_totp(ada)
    await later(admin)
    async with Browser(api) as browser:
        form = {"email": ada.email, "password": PASSWORD, "next": "/bots"}
        assert 'name="totp"' not in (await browser.get("/sign-in")).text
        asked = await browser.send("/sign-in", form, status=401)
        assert 'name="totp"' in asked.text
        assert "second factor" in words_of(asked)
        wrong = await browser.send("/sign-in", {**form, "totp": "000000"}, status=401)
        assert 'name="totp"' in wrong.text
        assert PASSWORD not in wrong.text
        assert "000000" not in wrong.text
        short = await browser.send("/sign-in", {**form, "totp": "12"}, status=422)
        assert 'name="totp"' in short.text
        entered = await browser.send("/sign-in", {**form, "totp": code_of(secret)})
        assert entered.headers["location"] == "/bots"
