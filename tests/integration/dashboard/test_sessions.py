"""Who is let in, how, and where they are led."""

from __future__ import annotations

import msgspec
import pytest
from litestar.routes import HTTPRoute

from control_plane.dashboard.router import dashboard_router
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import PASSWORD, Api, running_api
from tests.factories import Urls
from tests.integration.dashboard.browser import Browser, words_of

ELSEWHERE = (
    "https://evil.example/",
    "//evil.example/",
    "/\\evil.example/",
    "\\\\evil.example",
    "/\t/evil.example",
    "/\n/evil.example",
    "javascript:alert(1)",
    "evil.example",
    "http:evil.example",
    "",
)
AN_ID = "01890000-0000-7000-8000-000000000000"


def routes(method: str) -> list[tuple[str, dict[str, object]]]:
    """Every route of the dashboard for one method: an address that fits it, and what its handler says of itself."""
    return [
        (route.path.replace("{bot_id:uuid}", AN_ID).replace("{verb:str}", "start"), dict(handler.opt))
        for route in dashboard_router.routes
        if isinstance(route, HTTPRoute)
        for handler in route.route_handlers
        if method in handler.http_methods
    ]


def spelled(path: str) -> str:
    """The path with an id in every place for one."""
    return "/".join(AN_ID if part.endswith(":uuid}") else part for part in path.split("/"))


async def test_a_guest_is_led_to_sign_in_from_every_page(api: Api) -> None:
    kept = 0
    async with Browser(api) as browser:
        for path, told in routes("GET"):
            if told.get("guest"):
                continue
            kept += 1
            if told.get("page") is False:
                answer = await browser.get(spelled(path), 401)
                assert answer.headers["content-type"] == "application/problem+json"
                continue
            answer = await browser.get(spelled(path) + "?range=day", 303)
            assert answer.headers["location"].startswith("/sign-in?next=")
    assert kept > 12


async def test_sign_in_leads_back_to_the_page_that_was_asked_for(api: Api) -> None:
    person = await api.person()
    async with Browser(api) as browser:
        asked = await browser.get("/marketplace?sort=return&q=a%26b", 303)
        form = await browser.follow(asked)
        assert 'name="next" value="/marketplace?sort=return&amp;q=a%26b"' in form.text
        entered = await browser.send(
            "/sign-in", {"email": person.email, "password": PASSWORD, "next": "/marketplace?sort=return&q=a%26b"}
        )
        assert entered.headers["location"] == "/marketplace?sort=return&q=a%26b"


@pytest.mark.parametrize("target", ELSEWHERE)
async def test_sign_in_never_leads_to_another_site(api: Api, target: str) -> None:
    person = await api.person()
    async with Browser(api) as browser:
        assert (await browser.sign_in(person, target)).headers["location"] == "/"
        page = await browser.get("/sign-in", 303)
        assert page.headers["location"] == "/"


async def test_signing_up_signs_in_and_a_known_address_tells_nothing(api: Api) -> None:
    fields = {"email": "eve@example.com", "password": PASSWORD}
    async with Browser(api) as browser:
        await browser.get("/sign-up")
        entered = await browser.send("/sign-up", fields | {"full_name": "Eve"})
        page = await browser.follow(entered)
        assert "Eve's workspace" in words_of(page)
    async with Browser(api) as stranger:
        await stranger.get("/sign-up")
        again = await stranger.send("/sign-up", fields | {"password": "another long password"})
        page = await stranger.follow(again)
        assert "If this address is new here, the account is ready: sign in." in words_of(page)
        assert "tw_session" not in stranger.cookies
    async with Browser(api) as browser:
        await browser.get("/sign-in")
        await browser.send("/sign-in", fields)  # the first password still holds


async def test_the_session_cookie_is_for_this_host_and_no_script(settings: Settings, urls: Urls, vault: Vault) -> None:
    secure = msgspec.structs.replace(settings, secure_cookies=True)
    async with running_api(secure, urls, vault) as api:
        person = await api.person()
        async with Browser(api, "https://testserver.local") as browser:
            page = await browser.get("/sign-in")
            entered = await browser.sign_in(person)
            for answer, name in ((page, "__Host-tw_guest"), (entered, "__Host-tw_session")):
                (cookie,) = [line for line in answer.headers.get_list("set-cookie") if line.startswith(f"{name}=")]
                flags = {part.strip().lower() for part in cookie.split(";")[1:]}
                assert {"httponly", "secure", "path=/", "samesite=lax"} <= flags
                assert not any(flag.startswith("domain") for flag in flags)
            assert "strict-transport-security" in page.headers
            await browser.get("/")


async def test_cookies_do_not_open_the_api_and_tokens_do_not_open_pages(api: Api) -> None:
    person = await api.person()
    async with Browser(api) as browser:
        await browser.sign_in(person)
        assert (await browser.get("/api/v1/bots", 401)).json()["code"] == "unauthenticated"
        await browser.send("/api/v1/auth/sign-out", {}, 401)
        await browser.get("/")
    async with Browser(api) as browser:
        await browser.get("/", 303, headers={"Authorization": f"Bearer {person.token}"})


async def test_an_api_key_in_the_cookie_is_no_session(api: Api) -> None:
    person = await api.person()
    key = await person.call("POST", "/api-keys", json={"name": "k", "scopes": ["bots:read"]}, status=201)
    for token in (key["key"], "nonsense", "x" * 5000):
        async with Browser(api) as browser:
            browser.cookies.set("tw_session", token)
            await browser.get("/", 303)


async def test_signing_out_ends_the_session_everywhere(api: Api) -> None:
    person = await api.person()
    async with Browser(api) as browser:
        await browser.sign_in(person)
        token = browser.cookies["tw_session"]
        await browser.get("/")
        left = await browser.send("/sign-out")
        assert "You are signed out." in words_of(await browser.follow(left))
        assert "tw_session" not in browser.cookies
        assert "You are signed out." not in words_of(await browser.get("/sign-in"))
        browser.cookies.set("tw_session", token)
        await browser.get("/", 303)


async def test_a_part_of_a_page_is_told_that_the_session_ended(api: Api) -> None:
    async with Browser(api) as browser:
        await browser.get(f"/bots/{AN_ID}/panel", 401, headers={"HX-Request": "true"})
        await browser.send(f"/bots/{AN_ID}/start", {}, 401, headers={"HX-Request": "true"})
        answer = await browser.send("/bots", {"name": "lost"})
        assert answer.headers["location"] == "/sign-in"


async def test_a_wrong_password_and_an_unknown_address_read_the_same(api: Api) -> None:
    person = await api.person()
    async with Browser(api) as browser:
        await browser.get("/sign-in")
        told = []
        for email in (person.email, "nobody@example.com"):
            page = await browser.send("/sign-in", {"email": email, "password": "not the password"}, 401)
            assert email in page.text
            assert "not the password" not in page.text
            told.append(words_of(page))
        assert told[0] == told[1]
        assert "do not match an active account" in told[0]
