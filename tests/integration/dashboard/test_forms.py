"""What forms do, and what they show again when something was wrong: what was typed, but never a secret."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from typing import Any

import pytest

from tests.api import Api, Person
from tests.integration.dashboard.browser import Browser, words_of
from tests.world import external_body, published

SECRET = "sesame-0123456789-open"
EXTERNAL = {
    "bot_type": "external",
    "engine": "tradewise",
    "name": "Home server",
    "api_url": "http://127.0.0.1:8080",
    "credentials.token": SECRET,
}
HOSTED = {"bot_type": "platform", "engine": "tradewise", "name": "Ours", "config": '{"currency": "USDT"}'}
TEMPLATE = {
    "name": "Steady",
    "engine": "tradewise",
    "strategy_type": "dca",
    "risk_level": "low",
    "hosting": "dedicated",
    "currency": "USDT",
    "minimum_allocation": "100",
    "parameters": '{"symbol": "BTC/USDT"}',
    "config": '{"strategy": {"type": "dca"}}',
}


@pytest.fixture
async def person(api: Api) -> Person:
    """Somebody with a tenant of their own."""
    return await api.person()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"name": ""}, "This is needed."),
        ({"name": "x" * 121}, "at most 120 characters"),
        ({"api_url": "ftp://bots.example"}, "http"),
        ({"api_url": "http://10.0.0.8/"}, "private"),
        ({"credentials.token": ""}, "are required for an external bot"),
        ({"engine": "freqtrade"}, "credentials"),
        ({"engine": "perpetuum"}, "is not one of"),
        ({"bot_type": "cloud"}, "is not one of the choices"),
        ({"color": "blue"}, "is not a field here"),
        ({**HOSTED, "crash_policy": "sometimes", "api_url": "", "credentials.token": ""}, "is not one of the choices"),
        ({**HOSTED, "on_stop": "burn", "api_url": "", "credentials.token": ""}, "is not one of the choices"),
        ({**HOSTED, "engine": "freqtrade", "api_url": "", "credentials.token": ""}, "exchange.name: is required"),
        ({**HOSTED, "config": "{", "api_url": "", "credentials.token": ""}, "is not JSON"),
        ({**HOSTED, "config": "[1]", "api_url": "", "credentials.token": ""}, "must be a JSON object"),
        ({**HOSTED, "config": '{"a": NaN}', "api_url": "", "credentials.token": ""}, "a number is not one"),
        ({**HOSTED, "config": "[" * 100000, "api_url": "", "credentials.token": ""}, "nested too deeply"),
    ],
)
async def test_a_registration_that_does_not_fit(
    browser: Browser, person: Person, changes: dict[str, str], words: str
) -> None:
    await browser.get("/bots/new")
    sent = EXTERNAL | changes
    page = await browser.send("/bots", sent, 422)
    assert words.lower() in words_of(page).lower()
    assert SECRET not in page.text
    if 0 < len(sent["name"]) < 121:
        assert f'value="{sent["name"]}"' in page.text
    assert (await person.call("GET", "/bots"))["items"] == []


async def test_a_secret_that_is_not_shown_again_is_asked_for_again(browser: Browser) -> None:
    await browser.get("/bots/new")
    page = await browser.send("/bots", EXTERNAL | {"name": ""}, 422)
    assert words_of(page).count("Enter this again") == 1
    hosted = HOSTED | {"name": "", "config": f'{{"key": "{SECRET}"}}'}
    page = await browser.send("/bots", hosted, 422)
    assert "Enter this again" in words_of(page)
    assert SECRET not in page.text
    assert "start_price" not in page.text  # the example must not take the place of what was typed


async def test_registering_tells_the_outcome_and_an_address_is_registered_once(
    browser: Browser, person: Person
) -> None:
    await browser.get("/bots/new")
    along = {"config": "{an example that came along}", "crash_policy": "on_failure", "on_stop": "keep"}
    answer = await browser.send("/bots", EXTERNAL | along)
    page = await browser.follow(answer)
    assert "Calling your bot" in words_of(page)
    await browser.get("/bots/new")
    page = await browser.send("/bots", EXTERNAL, 409)
    assert "registered this bot at this api_url already" in words_of(page)
    assert len((await person.call("GET", "/bots"))["items"]) == 1


@pytest.mark.parametrize(
    ("engine", "fields", "words"),
    [
        ("tradewise", {}, "credentials: is required"),
        ("tradewise", {"credentials.token": "two words"}, "without spaces"),
        ("tradewise", {"credentials": SECRET}, "credentials"),
        ("freqtrade", {"credentials.username": "ada"}, "is missing"),
        ("tradewise", {"credentials.token": SECRET, "name": "Renamed"}, "is not a field here"),
    ],
)
async def test_new_credentials_that_do_not_fit(
    browser: Browser, person: Person, engine: str, fields: dict[str, str], words: str
) -> None:
    first = {"token": "first-token-0123456789"}
    if engine == "freqtrade":
        first = {"username": "ada", "password": "first-password"}
    body = external_body(engine=engine, credentials=first)
    bot = await person.call("POST", "/bots", json=body, status=201)
    await browser.get(f"/bots/{bot['id']}/credentials")
    page = await browser.send(f"/bots/{bot['id']}/credentials", fields, 422)
    assert words in words_of(page).lower()
    assert SECRET not in page.text
    read = await person.call("GET", f"/bots/{bot['id']}")
    assert (read["name"], read["credentials"]) == (bot["name"], bot["credentials"])


HUMMINGBOT = {
    "bot_type": "external",
    "engine": "hummingbot",
    "name": "Maker",
    "api_url": "http://127.0.0.1:8000",
    "credentials.username": "admin",
    "credentials.password": SECRET,
    "engine_config.bot_name": "alpha",
}


async def test_every_family_that_runs_elsewhere_has_a_form_without_scripts(browser: Browser) -> None:
    shown = await browser.get("/bots/new")
    for engine in ("hummingbot", "octobot", "http"):
        assert f'href="/bots/new?engine={engine}"' in shown.text
        form = await browser.get(f"/bots/new?engine={engine}")
        assert f'name="engine" value="{engine}"' in form.text
        assert "data-when" not in form.text
    asked = (await browser.get("/bots/new?engine=hummingbot")).text
    assert 'name="engine_config.bot_name"' in asked
    # What a field is for, and what it has to be.
    assert "What it was given to trade with, in that currency" in asked
    assert "An amount above zero." in asked
    octobot = (await browser.get("/bots/new?engine=octobot")).text
    # What is so where nothing is chosen comes first.
    assert re.search(r'<select [^>]*"engine_config\.mode"[^>]*>\s*<option value="classic">', octobot)
    http = await browser.get("/bots/new?engine=http")
    assert '<textarea class="textarea" id="engine_config"' in http.text
    # An example to begin with, every member of it, and where it is told in full.
    for words in (
        '"calls": {"strategy": "/api/strategy"',
        "fields.equity",
        "An amount of money",
        "# at the end counts",
        "JSON Schema",
    ):
        assert words in words_of(http)
    assert 'href="/api/docs"' in http.text
    assert "What kind of bot" in words_of(await browser.get("/bots/new?engine=perpetuum"))


async def test_the_example_of_the_form_is_a_configuration(browser: Browser, person: Person) -> None:
    form = (await browser.get("/bots/new?engine=http")).text
    example = unescape(form.partition('id="engine_config"')[2].partition(">")[2].partition("</textarea>")[0])
    body = {"bot_type": "external", "engine": "http", "name": "Own", "api_url": "http://127.0.0.1:8000",
            "credentials.token": SECRET, "engine_config": example}  # fmt: skip
    assert "Calling your bot" in words_of(await browser.follow(await browser.send("/bots", body)))
    # What was sent is shown again where it does not fit, and not the example.
    await browser.get("/bots/new?engine=http")
    again = await browser.send("/bots", body | {"name": "Other", "engine_config": '{"calls": {}}'}, 422)
    assert "{&#34;calls&#34;: {}}" in again.text
    assert "/api/strategy" not in again.text.partition("</textarea>")[0]


async def test_a_bot_of_another_family_is_registered_and_shown(browser: Browser, person: Person) -> None:
    await browser.get("/bots/new?engine=hummingbot")
    answer = await browser.send("/bots", HUMMINGBOT)
    assert "Calling your bot" in words_of(await browser.follow(answer))
    page = await browser.get(answer.headers["location"].removesuffix("/registered"))
    assert "alpha" in words_of(page)
    assert "Where these figures come from" in words_of(page)
    octobot = {"bot_type": "external", "engine": "octobot", "name": "Open", "api_url": "http://127.0.0.1:5001",
               "engine_config.mode": "classic"}  # fmt: skip
    await browser.get("/bots/new?engine=octobot")
    assert "Calling your bot" in words_of(await browser.follow(await browser.send("/bots", octobot)))
    [latest, _] = (await person.call("GET", "/bots"))["items"]
    assert (latest["engine"], latest["credentials"]["set"]) == ("octobot", True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"engine_config.bot_name": ""}, "is missing"),
        ({"engine_config.bot_name": "a/b"}, "letters, digits"),
        ({"credentials.password": ""}, "is missing"),
        ({"engine": "http"}, "is not known here"),
        ({"engine": "http", "engine_config.bot_name": "", "engine_config": "{"}, "is not JSON"),
    ],
)
async def test_a_bot_of_another_family_that_does_not_fit(
    browser: Browser, person: Person, changes: dict[str, str], words: str
) -> None:
    await browser.get("/bots/new?engine=hummingbot")
    page = await browser.send("/bots", HUMMINGBOT | changes, 422)
    assert words.lower() in words_of(page).lower()
    assert SECRET not in page.text
    assert 'value="Maker"' in page.text
    assert (await person.call("GET", "/bots"))["items"] == []


async def test_new_credentials_are_tried_at_once(browser: Browser, person: Person) -> None:
    bot = await person.call("POST", "/bots", json=external_body(), status=201)
    await browser.get(f"/bots/{bot['id']}/credentials")
    answer = await browser.send(f"/bots/{bot['id']}/credentials", {"credentials.token": SECRET})
    assert "Calling your bot" in words_of(await browser.follow(answer))
    page = await browser.get(f"/bots/{bot['id']}")
    assert f"ending in {SECRET[-4:]}" in words_of(page)
    assert "Changed Credentials" in words_of(page)


async def test_a_hosted_bot_is_registered_started_stopped_and_removed(browser: Browser, person: Person) -> None:
    await browser.get("/bots/new")
    answer = await browser.send("/bots", HOSTED)
    page = await browser.follow(answer)
    assert "Your bot is registered" in words_of(page)
    bot = answer.headers["location"].removesuffix("/registered")
    page = await browser.follow(await browser.send(f"{bot}/start"))
    assert "Starting" in words_of(page)
    assert "Start asked for" in words_of(page)
    page = await browser.follow(await browser.send(f"{bot}/ping"))
    assert "The bot is being checked" in words_of(page)
    page = await browser.follow(await browser.send(f"{bot}/stop"))
    assert "Stop asked for" in words_of(page)
    page = await browser.send(f"{bot}/restart", {}, 409)
    assert "start it instead" in words_of(page)
    await browser.send(f"{bot}/explode", {}, 404)
    page = await browser.follow(await browser.send(f"{bot}/delete"))
    assert "The bot was removed." in words_of(page)
    await browser.get(bot, 404)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"minimum_allocation": "1,000"}, "must be a number such as"),
        ({"minimum_allocation": "-1"}, "must be more than zero"),
        ({"parameters": "{'a': 1}"}, "is not JSON"),
        ({"config": ""}, "This is needed."),
        ({"config": f'{{"strategy": {{"type": "grid", "note": "{SECRET}"}}}}'}, "strategy.type"),
        ({"engine": "freqtrade"}, "the name of the strategy's class"),
        ({"currency": "us dollars"}, "has a form that cannot be taken"),
    ],
)
async def test_a_template_that_does_not_fit(browser: Browser, changes: dict[str, str], words: str) -> None:
    await browser.get("/templates/new")
    page = await browser.send("/templates", TEMPLATE | changes, 422)
    assert words.lower() in words_of(page).lower()
    assert 'value="Steady"' in page.text
    assert SECRET not in page.text


async def test_a_template_is_saved_published_and_taken_back(browser: Browser) -> None:
    await browser.get("/templates/new")
    page = await browser.follow(await browser.send("/templates", TEMPLATE | {"parameters": ""}))
    assert "saved as a draft" in words_of(page)
    found = re.search(r"/templates/([0-9a-f-]{36})/publish", page.text)
    assert found is not None
    page = await browser.follow(await browser.send(f"/templates/{found[1]}/publish"))
    assert "in the marketplace now" in words_of(page)
    assert "Steady" in words_of(await browser.get("/marketplace"))
    page = await browser.follow(await browser.send(f"/templates/{found[1]}/unpublish"))
    assert "no longer in the marketplace" in words_of(page)


async def test_subscribing(api: Api, browser: Browser) -> None:
    offer = await published(await api.person("cleo"))
    page = await browser.get(f"/marketplace/{offer}")
    for amount, words in (
        ("", "This is needed."),
        ("99", "at least 100 USDT"),
        ("a lot", "must be a number such as"),
        ("1e99", "at most 10^15"),
    ):
        page = await browser.send(f"/marketplace/{offer}/subscribe", {"allocation_amount": amount}, 422)
        assert words.lower() in words_of(page).lower(), amount
        assert amount in page.text
    page = await browser.follow(await browser.send(f"/marketplace/{offer}/subscribe", {"allocation_amount": "250.5"}))
    assert "You are subscribed" in words_of(page)
    assert "+250.50 USDT" in words_of(page)
    assert "Cleo" in words_of(page)
    again = await browser.send(f"/marketplace/{offer}/subscribe", {"allocation_amount": "250"}, 409)
    assert "You are subscribed" in words_of(again)
    mine = re.search(r"/subscriptions/[0-9a-f-]{36}", again.text)
    assert mine is not None
    for verb, words in (("pause", "Paused"), ("resume", "Active"), ("cancel", "The subscription was cancelled.")):
        page = await browser.follow(await browser.send(f"{mine[0]}/{verb}"))
        assert words in words_of(page)
    page = await browser.send(f"{mine[0]}/resume", {}, 409)
    assert "subscribe again" in words_of(page)


async def test_a_key_is_shown_once(browser: Browser, person: Person) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()
    await browser.get("/keys")
    fields = [("name", "report"), ("scopes", "bots:read"), ("scopes", "templates:read"), ("expires_at", tomorrow)]
    page = await browser.send("/keys", fields, 201)
    found = re.search(r"tw_live_[0-9a-f]{12}_[\w-]{43}", page.text)
    assert found is not None
    assert "Expires" in words_of(page)
    assert found[0] not in (await browser.get("/keys")).text
    (key,) = (await person.call("GET", "/api-keys"))["items"]
    assert key["scopes"] == ["bots:read", "templates:read"]
    assert key["expires_at"] == f"{tomorrow}T23:59:59Z"
    page = await browser.follow(await browser.send(f"/keys/{key['id']}/revoke"))
    assert "The key was revoked." in words_of(page)


async def test_a_key_for_one_bot_from_one_place_is_rotated(browser: Browser, person: Person) -> None:
    bot = (await person.call("POST", "/bots", json=external_body(name="Goldie"), status=201))["id"]
    assert "Goldie" in words_of(await browser.get("/keys"))
    fields = [
        ("name", "r"),
        ("scopes", "bots:read"),
        ("bot_ids", bot),
        ("allowed_addresses", "10.0.0.1,\r\n192.0.2.0/24"),
    ]
    page = await browser.send("/keys", fields, 201)
    assert "only Goldie only from 10.0.0.1, 192.0.2.0/24" in words_of(page)
    (old,) = (await person.call("GET", "/api-keys"))["items"]
    assert (old["bot_ids"], old["allowed_addresses"]) == ([bot], ["10.0.0.1", "192.0.2.0/24"])
    page = await browser.send(f"/keys/{old['id']}/rotate", {"overlap_seconds": "3600"}, 201)
    found = re.search(r"tw_live_[0-9a-f]{12}_[\w-]{49}", page.text)
    assert found is not None
    assert "Replaced by a newer key" in words_of(page)
    page = await browser.send(f"/keys/{old['id']}/rotate", {"overlap_seconds": "3600"}, 409)
    assert "was rotated already" in words_of(page)
    assert found[0] not in page.text
    for changes, words in (
        ([("scopes", "templates:read")], "is not for a key that is restricted"),
        ([("allowed_addresses", "10.0.0.1 nowhere")], "must be an IP address"),
        ([("bot_ids", "x")], "invalid uuid"),
    ):
        page = await browser.send("/keys", [*fields, *changes], 422)
        assert words.lower() in words_of(page).lower()
        assert re.search(rf'value="{bot}" checked', page.text)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ([("name", "report")], "Choose at least one."),
        ([("scopes", "bots:read")], "This is needed."),
        ([("name", "r"), ("scopes", "moon:walk")], "is not a scope"),
        ([("name", "r"), ("scopes", "bots:read"), ("expires_at", "tomorrow")], "must be a day such as"),
        ([("name", "r"), ("scopes", "bots:read"), ("expires_at", "2020-01-01")], "in the future"),
    ],
)
async def test_a_key_that_does_not_fit(browser: Browser, fields: list[tuple[str, str]], words: str) -> None:
    await browser.get("/keys")
    page = await browser.send("/keys", fields, 422)
    assert words.lower() in words_of(page).lower()
    if ("scopes", "bots:read") in fields:
        assert re.search(r'value="bots:read" checked', page.text)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password": "short"}, "at least"),
        ({"email": "nowhere"}, "has a form that cannot be taken"),
        ({"email": ""}, "This is needed."),
        ({"role": "owner"}, "is not a field here"),
    ],
)
async def test_a_sign_up_that_does_not_fit(api: Api, changes: dict[str, Any], words: str) -> None:
    async with Browser(api) as guest:
        await guest.get("/sign-up")
        fields = {"email": "new@example.com", "password": SECRET, "full_name": "Nia"} | changes
        page = await guest.send("/sign-up", fields, 422)
        assert words.lower() in words_of(page).lower()
        assert 'value="Nia"' in page.text
        assert SECRET not in page.text
