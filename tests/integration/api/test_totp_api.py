"""Second factors: set up, asked for, used once, taken away; and what happens to who guesses."""

from __future__ import annotations

import asyncio
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest

from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import PASSWORD, Api, Person, running_api
from tests.factories import Urls
from tests.second_ways import code_of, later, with_totp


async def sign_in(api: Api, person: Person, **more: Any) -> httpx.Response:
    body = {"email": person.email, "password": PASSWORD, **more}
    return await api.client.post("/api/v1/auth/sign-in", json=body)


async def count_sessions(admin: asyncpg.Connection, person: Person) -> int:
    found: int = await admin.fetchval("select count(*) from sessions where user_id = $1", person.user_id)
    return found


def coded(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("code")


async def test_a_second_factor_from_beginning_to_end(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    other = await api.sign_in(ada.email)
    assert (await ada.call("GET", "/me/totp", status=200)) == {
        "enabled": False,
        "enabled_at": None,
        "recovery_codes_left": 0,
    }
    begun = await ada.call("POST", "/me/totp", json={"password": PASSWORD}, status=201)
    assert begun["secret"] in begun["otpauth_uri"]
    # Until it is confirmed nothing has changed.
    assert (await sign_in(api, ada)).status_code == 200
    assert (await ada.call("GET", "/me"))["user"]["totp_enabled"] is False
    wrong = await ada.call("POST", "/me/totp/confirm", json={"code": code_of(begun["secret"], 5)}, status=422)
    assert (wrong["code"], wrong["errors"][0]["field"]) == ("totp_failed", "code")
    confirmed = await ada.call("POST", "/me/totp/confirm", json={"code": code_of(begun["secret"])}, status=200)
    assert len(set(confirmed["recovery_codes"])) == 10
    assert (await ada.call("GET", "/me"))["user"]["totp_enabled"] is True
    assert (await other.call("GET", "/me"))["code"] == "unauthenticated"  # other sessions have ended
    assert (await ada.call("POST", "/me/totp", json={}, status=409))["code"] == "totp_on"
    code = {"code": code_of(begun["secret"])}
    assert (await ada.call("POST", "/me/totp/confirm", json=code, status=409))["code"] == "totp_on"

    before = await count_sessions(admin, ada)
    assert coded(await sign_in(api, ada)) == (401, "totp_required")
    assert coded(await sign_in(api, ada, totp="000000")) == (401, "totp_failed")
    assert await count_sessions(admin, ada) == before  # no session before the second factor
    await later(admin)
    answer = await sign_in(api, ada, totp=code_of(begun["secret"]))
    assert answer.status_code == 200
    assert answer.json()["user"]["totp_enabled"] is True
    again = msgspec.structs.replace(ada, token=answer.json()["access_token"])

    assert (await again.call("DELETE", "/me/totp", json={"code": "000000"}, status=422))["code"] == "totp_failed"
    await later(admin)
    await again.call("DELETE", "/me/totp", json={"code": code_of(begun["secret"])}, status=204)
    assert (await ada.call("GET", "/me"))["code"] == "unauthenticated"
    assert (await sign_in(api, ada)).status_code == 200
    assert (await again.call("DELETE", "/me/totp", json={"code": "000000"}, status=409))["code"] == "totp_off"
    assert await admin.fetchval("select count(*) from totp_factors") == 0
    assert await admin.fetchval("select count(*) from recovery_codes") == 0


async def test_the_password_comes_before_the_second_factor(api: Api) -> None:
    ada = await api.person()
    secret, codes = await with_totp(ada)
    for totp in (None, code_of(secret, 1), codes[0], "000000"):
        body = {"email": ada.email, "password": "not the password", "totp": totp}
        answer = await api.client.post("/api/v1/auth/sign-in", json=body)
        assert coded(answer) == (401, "sign_in_failed")
    # Nothing of it was used up.
    assert (await sign_in(api, ada, totp=codes[0])).status_code == 200


async def test_a_code_is_accepted_once(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    secret, _ = await with_totp(ada)
    # The code that confirmed it has been used; so have those before it.
    for ahead in (0, -1):
        assert coded(await sign_in(api, ada, totp=code_of(secret, ahead))) == (401, "totp_failed")
    await later(admin)
    code = code_of(secret)
    # As many as five guesses leave, should the right one be the last that is judged.
    answers = await asyncio.gather(*(sign_in(api, ada, totp=code) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401]
    assert {coded(answer)[1] for answer in answers if answer.status_code == 401} == {"totp_failed"}


async def test_the_database_itself_refuses_a_step_again(api: Api, admin: asyncpg.Connection, urls: Urls) -> None:
    ada = await api.person()
    await with_totp(ada)
    factor = await admin.fetchrow("select id, last_step from totp_factors")
    web = [await asyncpg.connect(urls["api"]) for _ in range(8)]

    async def spend(connection: asyncpg.Connection) -> bool:
        async with connection.transaction():
            await connection.execute("select set_config('app.user_id', $1, true)", str(ada.user_id))
            spent: bool = await connection.fetchval("select totp_spend($1, $2)", factor["id"], factor["last_step"] + 1)
            return spent

    try:
        assert sorted(await asyncio.gather(*map(spend, web))) == [False] * 7 + [True]
    finally:
        for connection in web:
            await connection.close()


async def test_recovery_codes_work_once_each(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    _, codes = await with_totp(ada)
    _, bobs = await with_totp(bob)
    answers = await asyncio.gather(*(sign_in(api, ada, totp=codes[0].upper()) for _ in range(3)))
    assert sorted(answer.status_code for answer in answers) == [200, 401, 401]
    assert coded(await sign_in(api, ada, totp=bobs[0])) == (401, "totp_failed")  # somebody else's
    assert (await ada.call("GET", "/me/totp"))["recovery_codes_left"] == 9
    fresh = await ada.call("POST", "/me/totp/recovery-codes", json={"code": codes[1]}, status=200)
    assert not set(fresh["recovery_codes"]) & set(codes)
    assert coded(await sign_in(api, ada, totp=codes[2])) == (401, "totp_failed")  # the old set is worthless
    assert (await sign_in(api, ada, totp=fresh["recovery_codes"][0].replace("-", ""))).status_code == 200
    await ada.call("DELETE", "/me/totp", json={"code": fresh["recovery_codes"][1]}, status=204)
    stored = await admin.fetch("select code_hash from recovery_codes")
    assert len(stored) == 10  # bob's
    assert all(len(row["code_hash"]) == 32 for row in stored)


async def test_guessing_ends_after_five(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    secret, codes = await with_totp(ada)
    answers = await asyncio.gather(*(sign_in(api, ada, totp=f"{number:06}") for number in range(12)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [401] * 5 + [429] * 7
    late = next(answer for answer in answers if answer.status_code == 429)
    assert 0 < int(late.headers["retry-after"]) <= 900
    await later(admin)
    # The right code, and a recovery code, wait as well.
    for totp in (code_of(secret), codes[0]):
        assert coded(await sign_in(api, ada, totp=totp)) == (429, "too_many_attempts")
    assert coded(await sign_in(api, ada)) == (401, "totp_required")
    # Setting up, renewing and taking away are guesses at the same thing.
    for method, path in (("POST", "/me/totp/recovery-codes"), ("DELETE", "/me/totp")):
        await ada.call(method, path, json={"code": "000000"}, status=429)
    await admin.execute("delete from attempt_limits")
    assert (await sign_in(api, ada, totp=code_of(secret))).status_code == 200


async def test_success_gives_the_attempts_back(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    secret, _ = await with_totp(ada)
    for _ in range(3):
        for _ in range(3):
            assert (await sign_in(api, ada, totp="000000")).status_code == 401
        await later(admin)
        assert (await sign_in(api, ada, totp=code_of(secret))).status_code == 200


async def test_it_must_still_be_them(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    assert (await ada.call("POST", "/me/totp", json={"password": "wrong"}, status=403))["code"] == "wrong_password"
    await admin.execute("update sessions set created_at = now() - interval '6 minutes'")
    assert (await ada.call("POST", "/me/totp", json={}, status=403))["code"] == "reauthentication_needed"
    first = await ada.call("POST", "/me/totp", json={"password": PASSWORD}, status=201)
    second = await ada.call("POST", "/me/totp", json={"password": PASSWORD}, status=201)
    assert first["secret"] != second["secret"]
    code = {"code": code_of(first["secret"])}
    assert (await ada.call("POST", "/me/totp/confirm", json=code, status=422))["code"] == "totp_failed"
    await ada.call("POST", "/me/totp/confirm", json={"code": code_of(second["secret"])}, status=200)
    for _ in range(5):
        await ada.call("POST", "/me/totp", json={"password": "wrong"}, status=403)
    await ada.call("POST", "/me/totp", json={"password": "wrong"}, status=429)


async def test_two_confirmations_at_once_make_one_set_of_codes(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    begun = await ada.call("POST", "/me/totp", json={}, status=201)
    body = {"code": code_of(begun["secret"])}
    answers = await asyncio.gather(*(ada.call("POST", "/me/totp/confirm", json=body) for _ in range(3)))
    won = [answer for answer in answers if "recovery_codes" in answer]
    assert len(won) == 1
    assert {answer.get("code") for answer in answers} == {None, "totp_on"}
    assert (await sign_in(api, ada, totp=won[0]["recovery_codes"][9])).status_code == 200


async def test_a_key_has_no_business_with_factors(api: Api) -> None:
    ada = await api.person()
    key = await ada.call("POST", "/api-keys", json={"name": "k", "scopes": ["bots:read"]}, status=201)
    program = msgspec.structs.replace(ada, token=key["key"])
    for method, path, body in (
        ("POST", "/me/totp", {"password": PASSWORD}),
        ("POST", "/me/totp/confirm", {"code": "000000"}),
        ("POST", "/me/totp/recovery-codes", {"code": "000000"}),
        ("DELETE", "/me/totp", {"code": "000000"}),
        ("GET", "/me/identities", None),
    ):
        assert (await program.call(method, path, json=body, status=403))["code"] == "person_required"


async def test_without_a_data_key_all_but_factors_works(
    settings: Settings, urls: Urls, vault: Vault, admin: asyncpg.Connection
) -> None:
    async with running_api(settings, urls, vault) as api:
        ada = await api.person()
        _, codes = await with_totp(ada)
    bare = msgspec.structs.replace(settings, data_key=None)
    async with running_api(bare, urls, vault) as api:
        bob = await api.person("bob")
        refused = await bob.call("POST", "/me/totp", json={}, status=503)
        assert refused["code"] == "data_key_missing"
        assert "TRADEWISE_DATA_KEY_FILE" in refused["detail"]
        await bob.call("GET", "/bots", status=200)
        # Somebody with a factor is not let in without it; their recovery codes need no key.
        assert coded(await sign_in(api, ada)) == (401, "totp_required")
        assert coded(await sign_in(api, ada, totp="123456")) == (503, "data_key_missing")
        assert (await sign_in(api, ada, totp=codes[0])).status_code == 200


async def test_a_seed_that_was_moved_does_not_open(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    await with_totp(ada)
    secret, _ = await with_totp(bob)
    await later(admin)
    await admin.execute(
        "update totp_factors set secret = (select secret from totp_factors where user_id = $1) where user_id = $2",
        bob.user_id,
        ada.user_id,
    )
    assert coded(await sign_in(api, ada, totp=code_of(secret))) == (503, "totp_unreadable")
    assert (await sign_in(api, bob, totp=code_of(secret))).status_code == 200


@pytest.mark.parametrize("totp", ["", "12345", "x" * 41, 123456, ["123456"]])
async def test_what_is_no_code_at_all(api: Api, totp: Any) -> None:
    ada = await api.person()
    assert coded(await sign_in(api, ada, totp=totp)) == (400, "invalid_fields")
