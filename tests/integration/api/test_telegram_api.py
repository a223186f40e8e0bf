"""Signing in by Telegram's login widget: its signature, its age, its one use, and whose account it opens."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from typing import Any
from urllib.parse import urlencode

import asyncpg
import httpx
import msgspec
import pytest

from control_plane.identity.factor_schemas import TelegramProof
from control_plane.identity.telegram import check_string
from control_plane.security.vault import Vault
from control_plane.settings import Settings, SettingsError, load_settings
from tests.api import Api, Person, running_api
from tests.factories import Urls
from tests.second_ways import TELEGRAM_BOT, code_of, later, telegram_payload, with_totp


async def post(api: Api, payload: Any) -> httpx.Response:
    return await api.client.post("/api/v1/auth/telegram", json=payload)


def coded(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("code")


def person_of(api: Api, answer: httpx.Response) -> Person:
    assert answer.status_code == 200, answer.text
    body = answer.json()
    return Person("", body["access_token"], body["tenants"][0]["id"], body["user"]["id"], api.client)


async def test_the_first_time_makes_a_person_and_the_second_finds_them(api: Api, admin: asyncpg.Connection) -> None:
    first = await post(api, telegram_payload(last_name="Lovelace", photo_url="https://t.me/i/u.jpg"))
    ada = person_of(api, first)
    user = first.json()["user"]
    assert (user["email"], user["full_name"], user["totp_enabled"]) == (None, "Ada Lovelace", False)
    assert first.json()["tenants"][0]["role"] == "owner"
    again = await post(api, telegram_payload(first_name="Augusta", username=None, auth_date=int(time.time()) - 1))
    assert person_of(api, again).user_id == ada.user_id
    other = await post(api, telegram_payload(id=4712))
    assert person_of(api, other).user_id != ada.user_id
    [identity] = (await ada.call("GET", "/me/identities", status=200))["items"]
    assert (identity["provider"], identity["issuer"], identity["label"]) == (
        "telegram",
        "https://telegram.org",
        "@ada_l",
    )
    assert identity["last_used_at"] is not None
    assert await admin.fetchval("select count(*) from tenants") == 2


async def test_two_first_times_at_once_make_one_person(api: Api, admin: asyncpg.Connection) -> None:
    now = int(time.time())
    answers = await asyncio.gather(*(post(api, telegram_payload(auth_date=now - age)) for age in range(4)))
    assert {answer.status_code for answer in answers} == {200}
    assert await admin.fetchval("select count(*) from users") == 1
    assert await admin.fetchval("select count(*) from tenants") == 1


async def test_a_payload_is_good_once(api: Api, admin: asyncpg.Connection) -> None:
    payload = telegram_payload()
    answers = await asyncio.gather(*(post(api, payload) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401, 401]
    assert coded(await post(api, payload)) == (401, "proof_spent")
    [spent] = await admin.fetch("select * from spent_proofs")
    assert payload["hash"] not in str(dict(spent))
    assert spent["expires_at"].timestamp() >= payload["auth_date"] + 300


async def test_what_was_signed_otherwise_is_refused(api: Api, admin: asyncpg.Connection) -> None:
    good = telegram_payload()
    mini_app_key = hmac.new(b"WebAppData", TELEGRAM_BOT.encode(), hashlib.sha256).digest()
    lines = check_string(msgspec.convert(good, TelegramProof))
    for payload in (
        {**good, "id": 4712},
        {**good, "first_name": "Eve"},
        {**good, "last_name": "Added"},
        {name: value for name, value in good.items() if name != "username"},
        {**good, "hash": "0" * 64},
        telegram_payload(bot="123456:another-bot"),
        telegram_payload(bot=""),
        {**good, "hash": hmac.new(mini_app_key, lines, hashlib.sha256).hexdigest()},
        {**good, "hash": hmac.new(TELEGRAM_BOT.encode(), lines, hashlib.sha256).hexdigest()},
        {**good, "hash": hashlib.sha256(lines).hexdigest()},
    ):
        assert coded(await post(api, payload)) == (401, "telegram_refused")
    assert await admin.fetchval("select count(*) from users") == 0
    assert await admin.fetchval("select count(*) from spent_proofs") == 0


async def test_what_is_not_the_widgets_is_malformed(api: Api) -> None:
    good = telegram_payload()
    init_data = {"query_id": "x", "user": '{"id": 4711}', "auth_date": good["auth_date"], "hash": good["hash"]}
    for payload in (
        init_data,
        urlencode(init_data),
        {**good, "hash": good["hash"].upper() + "0"},
        {**good, "surplus": 1},
        {**good, "id": "ada"},
        {**good, "id": -1},
        {**good, "username": None},
        # A name must not become another line of what was signed.
        telegram_payload(first_name="A\nid=1"),
        telegram_payload(first_name="A\u2028id=1"),
    ):
        assert coded(await post(api, payload)) == (400, "invalid_fields")


async def test_its_age(api: Api) -> None:
    now = int(time.time())
    for auth_date in (now - 302, now + 75, 0):
        assert coded(await post(api, telegram_payload(auth_date=auth_date))) == (401, "telegram_expired")
    for auth_date in (now - 280, now + 40):
        assert (await post(api, telegram_payload(auth_date=auth_date))).status_code == 200


async def test_the_second_factor_counts_here_too(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    await ada.call("POST", "/me/identities/telegram", json=telegram_payload(), status=201)
    secret, _ = await with_totp(ada)
    await later(admin)
    now = int(time.time())
    payload = telegram_payload(auth_date=now - 5)
    sessions = await admin.fetchval("select count(*) from sessions")
    assert coded(await post(api, payload)) == (401, "totp_required")
    assert coded(await post(api, {**payload, "totp": "000000"})) == (401, "totp_failed")
    assert await admin.fetchval("select count(*) from sessions") == sessions
    # Asking for the code has not used the payload up.
    assert (await post(api, {**payload, "totp": code_of(secret)})).status_code == 200
    await later(admin)
    assert coded(await post(api, {**payload, "totp": code_of(secret)})) == (401, "proof_spent")


async def test_linking_and_unlinking(api: Api, admin: asyncpg.Connection) -> None:
    ada, eve = await api.person("ada"), await api.person("eve")
    now = int(time.time())
    made = await ada.call("POST", "/me/identities/telegram", json=telegram_payload(auth_date=now - 1), status=201)
    assert (made["provider"], made["label"], made["last_used_at"]) == ("telegram", "@ada_l", None)
    same = await ada.call("POST", "/me/identities/telegram", json=telegram_payload(auth_date=now - 2), status=201)
    assert same["id"] == made["id"]
    taken = await eve.call("POST", "/me/identities/telegram", json=telegram_payload(auth_date=now - 3), status=409)
    assert taken["code"] == "identity_taken"
    assert ada.email not in str(taken)
    assert str(ada.user_id) not in str(taken)
    by_telegram = person_of(api, await post(api, telegram_payload(auth_date=now - 4)))
    assert by_telegram.user_id == str(ada.user_id)
    assert (await eve.call("GET", "/me/identities"))["items"] == []
    await eve.call("DELETE", f"/me/identities/{made['id']}", status=404)
    await ada.call("DELETE", f"/me/identities/{made['id']}", status=204)
    assert (await by_telegram.call("GET", "/me"))["code"] == "unauthenticated"
    await ada.call("DELETE", f"/me/identities/{made['id']}", status=404)
    newcomer = person_of(api, await post(api, telegram_payload(auth_date=now - 6)))
    assert newcomer.user_id != str(ada.user_id)


async def test_the_last_way_in_stays(api: Api, admin: asyncpg.Connection) -> None:
    ada = person_of(api, await post(api, telegram_payload()))
    [first] = (await ada.call("GET", "/me/identities"))["items"]
    assert (await ada.call("DELETE", f"/me/identities/{first['id']}", status=409))["code"] == "last_way_in"
    second = await ada.call("POST", "/me/identities/telegram", json=telegram_payload(id=4712), status=201)
    paths = [f"/me/identities/{identity['id']}" for identity in (first, second)]
    # Two at once take one, never both.
    answers = await asyncio.gather(*(ada.call("DELETE", path) for path in paths))
    assert sorted(answer["code"] if answer else "" for answer in answers) == ["", "last_way_in"]
    assert await admin.fetchval("select count(*) from auth_identities") == 1
    page = await ada.call("GET", "/me/identities?limit=1", status=200)
    assert (len(page["items"]), page["next_cursor"]) == (1, None)


async def test_a_way_in_is_opened_by_who_has_just_signed_in(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    made = await ada.call("POST", "/me/identities/telegram", json=telegram_payload(), status=201)
    await admin.execute("update sessions set created_at = now() - interval '6 minutes'")
    linked = await ada.call("POST", "/me/identities/telegram", json=telegram_payload(id=4712), status=403)
    unlinked = await ada.call("DELETE", f"/me/identities/{made['id']}", status=403)
    assert {linked["code"], unlinked["code"]} == {"reauthentication_needed"}


async def test_a_closed_account_stays_closed(api: Api, admin: asyncpg.Connection) -> None:
    ada = person_of(api, await post(api, telegram_payload()))
    await admin.execute("update users set status = 'suspended'")
    answer = await post(api, telegram_payload(auth_date=int(time.time()) - 1))
    assert coded(answer) == (401, "sign_in_failed")
    assert (await ada.call("GET", "/me"))["code"] == "unauthenticated"


async def test_attempts_of_one_network_are_limited(api: Api) -> None:
    answers = await asyncio.gather(*(post(api, telegram_payload(id=n + 1, bot="x")) for n in range(34)))
    assert sorted({answer.status_code for answer in answers}) == [401, 429]
    assert sum(answer.status_code == 429 for answer in answers) >= 3


async def test_where_no_bot_is_set(settings: Settings, urls: Urls, vault: Vault) -> None:
    bare = msgspec.structs.replace(settings, telegram_bot_token=None)
    async with running_api(bare, urls, vault) as api:
        ada = await api.person()
        assert coded(await post(api, telegram_payload())) == (404, "telegram_not_configured")
        told = await ada.call("POST", "/me/identities/telegram", json=telegram_payload(), status=404)
        assert told["code"] == "telegram_not_configured"
    # The key that follows from the token is enough.
    key = hashlib.sha256(TELEGRAM_BOT.encode()).hexdigest()
    loaded = load_settings({"TRADEWISE_TELEGRAM_LOGIN_KEY": key.upper()})
    derived = msgspec.structs.replace(bare, telegram_login_key=loaded.telegram_login_key)
    async with running_api(derived, urls, vault) as api:
        assert (await post(api, telegram_payload())).status_code == 200


@pytest.mark.parametrize("key", ["abc", "g" * 64, "0" * 63, "0" * 65])
def test_a_key_that_is_none_stops_the_start(key: str) -> None:
    with pytest.raises(SettingsError, match="TRADEWISE_TELEGRAM_LOGIN_KEY") as told:
        load_settings({"TRADEWISE_TELEGRAM_LOGIN_KEY": key})
    assert key not in str(told.value)


async def test_a_sign_in_page_of_ones_own_learns_what_there_is(settings: Settings, urls: Urls, vault: Vault) -> None:
    named = msgspec.structs.replace(settings, telegram_bot_name="tw_bot", oidc_name="Acme")
    for given, expected in (
        (named, {"telegram_bot_name": "tw_bot", "oidc_name": None}),
        (
            msgspec.structs.replace(
                named,
                telegram_bot_token=None,
                oidc_issuer="https://id.example.com",
                oidc_client_id="tw",
                public_url="https://tw.example.com",
            ),
            {"telegram_bot_name": None, "oidc_name": "Acme"},
        ),
    ):
        async with running_api(given, urls, vault) as api:
            assert (await api.client.get("/api/v1/auth/providers")).json() == expected
