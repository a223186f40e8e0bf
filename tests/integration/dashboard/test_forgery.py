"""Forms of other sites, and forms that are nobody's: refused by every route that changes something."""

from __future__ import annotations

import pytest

from tests.api import Api
from tests.integration.dashboard.browser import ORIGIN, Browser, words_of
from tests.integration.dashboard.test_sessions import routes, spelled


async def test_every_form_needs_its_token(api: Api) -> None:
    person = await api.person()
    actions = [spelled(path) for path, _ in routes("POST")]
    assert len(actions) > 14
    async with Browser(api) as browser:
        await browser.sign_in(person)
        for path in actions:
            for token in ("", "0" * 64, "é"):
                page = await browser.send(path, {"name": "x"}, 403, token=token)
                assert "csrf_failed" in words_of(page), path
        await browser.get("/")


async def test_a_guests_form_needs_its_token_as_well(api: Api) -> None:
    async with Browser(api) as browser, Browser(api) as other:
        await browser.get("/sign-in")
        await other.get("/sign-in")
        page = await browser.send("/sign-in", {"email": "a@b.example", "password": "x"}, 403, token=other._token)
        assert "csrf_failed" in words_of(page)
        fresh = Browser(api)
        await fresh.send("/sign-in", {"email": "a@b.example", "password": "x"}, 403, token=other._token)


async def test_a_token_is_worth_nothing_in_another_session(api: Api) -> None:
    person = await api.person()
    async with Browser(api) as one, Browser(api) as two:
        await one.sign_in(person)
        await two.sign_in(person)
        await one.get("/")
        await two.get("/")
        await two.send("/sign-out", {}, 403, token=one._token)


@pytest.mark.parametrize(
    "said",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://testserver.local.evil.example"},
        {"Origin": "http://testserver.local:81"},
        {"Origin": "file://testserver.local"},
        {"Origin": "http://user@testserver.local"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "cross-site"},
        {"Origin": ORIGIN, "Sec-Fetch-Site": "same-site"},
    ],
)
async def test_a_form_from_elsewhere_is_refused_even_with_the_token(api: Api, said: dict[str, str]) -> None:
    person = await api.person()
    async with Browser(api) as browser:
        await browser.sign_in(person)
        await browser.get("/")
        page = await browser.send("/sign-out", {}, 403, headers=said)
        assert "cross_origin" in words_of(page)
        await browser.get("/")  # still signed in


async def test_a_body_that_is_no_form_has_no_token(api: Api) -> None:
    person = await api.person()
    async with Browser(api) as browser:
        await browser.sign_in(person)
        await browser.get("/")
        token = browser._token
        for kind, body in (
            ("application/json", f'{{"csrf_token": "{token}"}}'),
            ("text/plain", f"csrf_token={token}"),
            ("multipart/form-data; boundary=x", "not multipart"),
        ):
            answer = await browser._client.post("/sign-out", content=body, headers={"Content-Type": kind})
            assert answer.status_code in {400, 403}, (kind, answer.status_code)
        await browser.get("/")


async def test_buttons_lead_back_to_their_page_and_never_elsewhere(api: Api) -> None:
    person = await api.person()
    body = {"bot_type": "platform", "engine": "tradewise", "name": "ours"}
    bot = await person.call("POST", "/bots", json=body, status=201)
    async with Browser(api) as browser:
        await browser.sign_in(person)
        await browser.get("/")
        for said, expected in (
            ({"HX-Current-URL": f"{ORIGIN}/?q=ours&status=inactive"}, "/?q=ours&status=inactive"),
            ({"Referer": f"{ORIGIN}/bots/{bot['id']}?range=all#equity"}, f"/bots/{bot['id']}?range=all"),
            ({"Referer": "https://evil.example/x"}, f"/bots/{bot['id']}"),
            ({"Referer": f"{ORIGIN}//evil.example/x"}, f"/bots/{bot['id']}"),
            ({}, f"/bots/{bot['id']}"),
        ):
            answer = await browser.send(f"/bots/{bot['id']}/start", {}, headers=said)
            assert answer.headers["location"] == expected
