"""The second factor on pages: signing in with it, setting it up, taking it away."""

from __future__ import annotations

import base64
import html
import re

import asyncpg
import httpx

from tests.api import PASSWORD, Api
from tests.integration.dashboard.browser import Browser, words_of
from tests.second_ways import code_of, later, with_totp

PAGE = "/account/second-factor"
_SECRET = re.compile(r'id="totp-secret">(.*?)</code>')
_CODE = re.compile(r"<li><code>([a-z2-7-]{19})</code></li>")


def secret_on(page: httpx.Response) -> str:
    """The secret as the page writes it for typing."""
    found = _SECRET.search(page.text)
    assert found is not None
    return "".join(re.sub(r"<[^>]*>", "", found[1]).split())


async def test_the_code_is_asked_for_when_it_is_needed(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    secret, recovery = await with_totp(ada)
    await later(admin)
    async with Browser(api) as browser:
        form = {"email": ada.email, "password": PASSWORD, "next": "/bots"}
        assert 'name="totp"' not in (await browser.get("/sign-in")).text
        asked = await browser.send("/sign-in", form, status=401)
        assert 'name="totp"' in asked.text
        assert "second factor" in words_of(asked)
        assert "(`" not in words_of(asked)
        assert 'role="alert"' not in asked.text
        assert 'name="next" value="/bots"' in asked.text
        wrong = await browser.send("/sign-in", {**form, "totp": "000000"}, status=401)
        assert 'name="totp"' in wrong.text
        assert 'id="totp-note"><p class="error">The code does not match' in wrong.text
        assert PASSWORD not in wrong.text
        assert "000000" not in wrong.text
        short = await browser.send("/sign-in", {**form, "totp": "12"}, status=422)
        assert 'name="totp"' in short.text
        entered = await browser.send("/sign-in", {**form, "totp": code_of(secret)})
        assert entered.headers["location"] == "/bots"
    async with Browser(api) as browser:
        await browser.get("/sign-in")
        await browser.send("/sign-in", {**form, "totp": recovery[0].upper()})
        page = await browser.get(PAGE)
        assert "Recovery codes left 9" in words_of(page)


async def test_too_many_codes_are_told_so(api: Api) -> None:
    ada = await api.person()
    await with_totp(ada)
    form = {"email": ada.email, "password": PASSWORD, "totp": "000000"}
    async with Browser(api) as browser:
        await browser.get("/sign-in")
        for _ in range(5):
            await browser.send("/sign-in", form, 401)
        refused = await browser.send("/sign-in", form, 429)
        assert int(refused.headers["retry-after"]) > 0
        assert "Too many attempts" in words_of(refused)


async def test_setting_it_up_renewing_and_turning_it_off(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    async with Browser(api) as browser, Browser(api) as other:
        await other.sign_in(ada)
        await browser.sign_in(ada)
        assert "Off" in words_of(await browser.get(PAGE))
        begun = await browser.send(f"{PAGE}/begin", {"password": PASSWORD}, 201)
        assert begun.headers["cache-control"] == "no-store"
        secret = secret_on(begun)
        picture = re.search(r'src="data:image/svg\+xml;base64,([^"]+)"', begun.text)
        assert picture is not None
        assert base64.b64decode(picture[1]).startswith(b"<svg")
        assert f"secret={secret}" in html.unescape(begun.text)
        again = await browser.get(PAGE)  # nothing is on yet, and the secret is gone
        assert secret not in again.text
        wrong = await browser.send(f"{PAGE}/confirm", {"code": "000000"}, 422)
        assert "is the clock of your device right?" in words_of(wrong)
        assert 'id="code-note"' in wrong.text
        assert secret not in re.sub(r"</?span>", "", wrong.text)
        assert 'class="groups"' not in wrong.text
        on = await browser.send(f"{PAGE}/confirm", {"code": code_of(secret)}, 200)
        assert on.headers["cache-control"] == "no-store"
        codes = _CODE.findall(on.text)
        assert len(set(codes)) == 10
        await other.get("/account", 303)
        shown = await browser.get(PAGE)
        assert "Recovery codes left 10" in words_of(shown)
        assert not any(code in shown.text for code in codes)
        assert "on already" in words_of(await browser.send(f"{PAGE}/begin", {"password": PASSWORD}, 409))
        refused = await browser.send(f"{PAGE}/recovery-codes", {"code": "000000"}, 422)
        assert 'id="code-note"' in refused.text
        renewed = await browser.send(f"{PAGE}/recovery-codes", {"code": codes[0]}, 200)
        assert renewed.headers["cache-control"] == "no-store"
        fresh = _CODE.findall(renewed.text)
        assert len(fresh) == 10
        assert not set(fresh) & set(codes)
        await browser.send(f"{PAGE}/off", {"code": codes[1]}, 422)  # one of the old ones
        off = await browser.send(f"{PAGE}/off", {"code": fresh[0]})
        assert "The second factor is off" in words_of(await browser.follow(off))
    assert await admin.fetchval("select count(*) from totp_factors") == 0


async def test_a_session_that_was_left_open_needs_the_password(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    async with Browser(api) as browser:
        await browser.sign_in(ada)
        await admin.execute("update sessions set created_at = created_at - interval '6 minutes'")
        await browser.get(PAGE)
        for given, words in (("", "is needed here"), ("not this one", "does not match"), ("x" * 2000, "not match")):
            refused = await browser.send(f"{PAGE}/begin", {"password": given}, 422)
            assert words in words_of(refused).lower()
            assert 'id="password-note"' in refused.text
            assert 'class="groups"' not in refused.text
        await browser.send(f"{PAGE}/begin", {"password": PASSWORD}, 201)


async def test_what_was_not_begun_cannot_be_confirmed(api: Api) -> None:
    ada = await api.person()
    async with Browser(api) as browser:
        await browser.sign_in(ada)
        await browser.get(PAGE)
        refused = await browser.send(f"{PAGE}/confirm", {"code": "123456"}, 409)
        assert "begin to set it up first" in words_of(refused)
        assert "POST /me" not in refused.text
        short = await browser.send(f"{PAGE}/confirm", {"code": "1"}, 422)
        assert 'id="code-note"' in short.text
        for action in ("recovery-codes", "off"):
            assert "POST /me" not in (await browser.send(f"{PAGE}/{action}", {"code": "123456"}, 409)).text
