"""Codes by mail: what each does, and that no answer tells who is here."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx
import msgspec
import pytest

from control_plane.identity.codes import hash_of, new_code
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import PASSWORD, Api, Person, running_api
from tests.factories import Urls
from tests.mailbox import Mailbox

ADDRESS = "Ada.Lovelace@Example.com"
NEW = "another long password"
#: Everything that is asked by address, with a body that fits everybody's.
BY_ADDRESS: dict[str, dict[str, Any]] = {
    "/auth/sign-up": {"password": PASSWORD},
    "/auth/sign-in": {"password": PASSWORD + "!"},
    "/auth/verify-email": {"code": new_code()},
    "/auth/verify-email/resend": {},
    "/auth/password/forgot": {},
    "/auth/password/reset": {"code": new_code(), "new_password": NEW},
}


@pytest.fixture
def mailbox(admin: asyncpg.Connection, vault: Vault) -> Mailbox:
    return Mailbox(admin, vault)


@pytest.fixture
async def strict(settings: Settings, urls: Urls, vault: Vault) -> AsyncIterator[Api]:
    """An installation where addresses are confirmed before anybody signs in."""
    changed = msgspec.structs.replace(settings, require_verified_email=True, public_url="https://tradewise.example.com")
    async with running_api(changed, urls, vault) as running:
        yield running


async def post(api: Api, path: str, **body: Any) -> httpx.Response:
    return await api.client.post(f"/api/v1{path}", json=body)


async def verified(person: Person) -> bool:
    return bool((await person.call("GET", "/me", status=200))["user"]["email_verified"])


def told(answer: httpx.Response) -> tuple[Any, ...]:
    changing = {"date", "x-request-id"}
    return answer.status_code, answer.json(), {k: v for k, v in answer.headers.items() if k not in changing}


async def test_a_new_address_gets_a_code_and_a_known_one_a_word(
    api: Api, mailbox: Mailbox, admin: asyncpg.Connection
) -> None:
    first = await post(api, "/auth/sign-up", email=ADDRESS, password=PASSWORD)
    again = await post(api, "/auth/sign-up", email=ADDRESS.upper(), password=NEW)
    assert told(first) == told(again)
    assert [letter.kind for letter in await mailbox.letters()] == ["verify_email", "already_registered"]
    [welcome] = await mailbox.of(ADDRESS)
    assert "http" not in welcome.body
    code = await mailbox.code(ADDRESS, "verify_email")  # the second sign-up did not take the first one's code away
    assert (await post(api, "/auth/verify-email", email=ADDRESS.lower(), code=code)).status_code == 200
    assert await admin.fetchval("select count(*) from users where email_verified_at is not null") == 1
    assert await admin.fetchval("select count(*) from tenants") == 1


async def test_a_code_is_read_however_it_is_typed(api: Api, mailbox: Mailbox) -> None:
    ada = await api.person()
    assert not await verified(ada)
    code = await mailbox.code(ada.email, "verify_email")
    typed = f" {code.lower().replace('-', ' ')} ".replace("0", "o").replace("1", "l")
    assert (await post(api, "/auth/verify-email", email=ada.email, code=typed)).status_code == 200
    assert await verified(ada)


async def test_a_code_is_good_once_for_one_purpose_at_one_address(
    api: Api, mailbox: Mailbox, admin: asyncpg.Connection
) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    await post(api, "/auth/password/forgot", email=ada.email)
    verify, reset = [await mailbox.code(ada.email, kind) for kind in ("verify_email", "reset_password")]
    wrong = [
        ("/auth/verify-email", {"email": ada.email, "code": reset}),
        ("/auth/verify-email", {"email": bob.email, "code": verify}),
        ("/auth/password/reset", {"email": ada.email, "code": verify, "new_password": NEW}),
        ("/auth/password/reset", {"email": bob.email, "code": reset, "new_password": NEW}),
    ]
    for path, body in wrong:
        answer = await post(api, path, **body)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_code")
        assert answer.json()["errors"][0]["field"] == "code"
    good = {"email": ada.email, "code": verify}
    assert (await post(api, "/auth/verify-email", **good)).status_code == 200
    assert (await post(api, "/auth/verify-email", **good)).status_code == 422
    assert not await verified(bob)
    assert await admin.fetchval("select count(*) from verification_codes where used_at is not null") == 1


async def test_a_newer_code_ends_an_older_one_and_so_does_time(
    api: Api, mailbox: Mailbox, admin: asyncpg.Connection
) -> None:
    ada = await api.person()
    old = await mailbox.code(ada.email, "verify_email")
    await post(api, "/auth/verify-email/resend", email=ada.email)
    new = await mailbox.code(ada.email, "verify_email")
    assert old != new
    assert (await post(api, "/auth/verify-email", email=ada.email, code=old)).status_code == 422
    await admin.execute("update verification_codes set expires_at = now()")
    assert (await post(api, "/auth/verify-email", email=ada.email, code=new)).status_code == 422
    await post(api, "/auth/password/forgot", email=ada.email)
    within = await admin.fetch("select purpose, expires_at - created_at as life from verification_codes order by 1")
    hours = {row["purpose"]: row["life"].total_seconds() / 3600 for row in within if row["purpose"] == "reset_password"}
    assert hours == {"reset_password": 1.0}


async def test_a_code_wears_out(api: Api, mailbox: Mailbox) -> None:
    ada = await api.person()
    code = await mailbox.code(ada.email, "verify_email")
    answers = await asyncio.gather(
        *(post(api, "/auth/verify-email", email=ada.email, code=new_code()) for _ in range(5))
    )
    assert {answer.status_code for answer in answers} == {422}
    assert (await post(api, "/auth/verify-email", email=ada.email, code=code)).status_code == 422
    assert not await verified(ada)


async def test_one_code_used_by_many_at_once_is_used_by_one(api: Api, mailbox: Mailbox) -> None:
    ada = await api.person()
    await post(api, "/auth/password/forgot", email=ada.email)
    code = await mailbox.code(ada.email, "reset_password")
    passwords = [f"password number {number}" for number in range(4)]
    answers = await asyncio.gather(
        *(
            post(api, "/auth/password/reset", email=ada.email, code=code, new_password=password)
            for password in passwords
        )
    )
    assert sorted(answer.status_code for answer in answers) == [200, 422, 422, 422]


async def test_codes_are_kept_as_hashes_and_mails_sealed(api: Api, mailbox: Mailbox, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    await post(api, "/auth/password/forgot", email=ada.email)
    codes = [await mailbox.code(ada.email, kind) for kind in ("verify_email", "reset_password")]
    kept = str(await admin.fetch("select * from verification_codes")) + str(await admin.fetch("select * from mails"))
    for code in codes:
        assert code not in kept
        assert code.replace("-", "") not in kept
    assert ada.email not in kept
    assert {hash_of(code) for code in codes} <= {
        row["code_hash"] for row in await admin.fetch("select code_hash from verification_codes")
    }


async def test_a_reset_ends_every_session_and_tells_the_owner(
    api: Api, mailbox: Mailbox, admin: asyncpg.Connection
) -> None:
    ada = await api.person()
    other = await api.sign_in(ada.email)
    for _ in range(5):
        await post(api, "/auth/sign-in", email=ada.email, password="x")
    assert (await post(api, "/auth/sign-in", email=ada.email, password=PASSWORD)).status_code == 429
    await post(api, "/auth/password/forgot", email=ada.email)
    code = await mailbox.code(ada.email, "reset_password")
    for body, status in (({"new_password": "short"}, 400), ({}, 400), ({"new_password": NEW}, 200)):
        answer = await post(api, "/auth/password/reset", email=ada.email, code=code, **body)
        assert answer.status_code == status, answer.text
    for person in (ada, other):
        await person.call("GET", "/me", status=401)
    assert (await post(api, "/auth/sign-in", email=ada.email, password=PASSWORD)).status_code == 401
    signed_in = await post(api, "/auth/sign-in", email=ada.email, password=NEW)  # and the lock is gone
    assert signed_in.status_code == 200
    assert signed_in.json()["user"]["email_verified"] is True
    assert [letter.kind for letter in await mailbox.of(ada.email)][-1] == "password_changed"
    await admin.execute("update users set status = 'suspended'")
    await post(api, "/auth/password/forgot", email=ada.email)
    assert [letter.kind for letter in await mailbox.of(ada.email)][-1] == "password_changed"  # none to the suspended


async def test_an_address_must_be_confirmed_where_the_operator_says_so(strict: Api, mailbox: Mailbox) -> None:
    assert (await post(strict, "/auth/sign-up", email=ADDRESS, password=PASSWORD)).status_code == 202
    first = await mailbox.code(ADDRESS, "verify_email")
    refused = await post(strict, "/auth/sign-in", email=ADDRESS, password=PASSWORD)
    assert (refused.status_code, refused.json()["code"]) == (403, "email_not_verified")
    wrong = await post(strict, "/auth/sign-in", email=ADDRESS, password=PASSWORD + "x")
    assert wrong.status_code == 401  # only who knows the password is told
    code = await mailbox.code(ADDRESS, "verify_email")
    assert code != first
    [letter] = (await mailbox.of(ADDRESS))[1:]
    assert "https://tradewise.example.com/verify-email?email=Ada.Lovelace@Example.com" in letter.body
    assert (await post(strict, "/auth/verify-email", email=ADDRESS, code=code)).status_code == 200
    entered = await post(strict, "/auth/sign-in", email=ADDRESS, password=PASSWORD)
    assert entered.status_code == 200
    assert entered.json()["user"]["email_verified"] is True


async def test_the_right_password_of_an_unconfirmed_address_mails_no_more_than_is_good(
    strict: Api, mailbox: Mailbox
) -> None:
    await post(strict, "/auth/sign-up", email=ADDRESS, password=PASSWORD)
    for _ in range(14):
        assert (await post(strict, "/auth/sign-in", email=ADDRESS, password=PASSWORD)).status_code == 403
    assert len(await mailbox.of(ADDRESS)) == 1 + 10


@pytest.mark.parametrize("path", BY_ADDRESS)
async def test_no_answer_tells_whether_an_address_is_known(
    api: Api, mailbox: Mailbox, admin: asyncpg.Connection, path: str
) -> None:
    """Nor does the outbox, counted from outside: one mail or none, in both cases."""
    ada, gone = await api.person("ada"), await api.person("gone")
    confirmed = await api.person("confirmed")
    await admin.execute("update users set status = 'deleted', deleted_at = now() where id = $1", gone.user_id)
    await admin.execute("update users set email_verified_at = now() where id = $1", confirmed.user_id)
    seen = []
    for email in (ada.email, gone.email, confirmed.email, "nobody@example.com"):
        before = await admin.fetch("select kind from mails")
        answer = await post(api, path, email=email, **BY_ADDRESS[path])
        after = await admin.fetch("select kind from mails")
        seen.append((told(answer), len(after) - len(before)))
    assert all(item == seen[0] for item in seen), seen
    written = {letter.to for letter in await mailbox.letters()}
    assert ("nobody@example.com" in written) == (path == "/auth/sign-up")


async def test_a_stranger_can_annoy_an_owner_only_so_often(api: Api, mailbox: Mailbox) -> None:
    ada = await api.person()
    answers = [await post(api, "/auth/sign-up", email=ada.email, password=PASSWORD) for _ in range(8)]
    assert all(told(answer) == told(answers[0]) for answer in answers)
    kinds = [letter.kind for letter in await mailbox.of(ada.email)]
    assert kinds == ["verify_email", *["already_registered"] * 4]  # her own sign-up was the first of five
    answers = [await post(api, "/auth/password/forgot", email=ada.email) for _ in range(11)]
    assert [answer.status_code for answer in answers] == [202] * 10 + [429]
    assert answers[-1].json()["code"] == "too_many_attempts"
    assert 290 <= int(answers[-1].headers["retry-after"]) <= 300
    unknown = [await post(api, "/auth/password/forgot", email="nobody@example.com") for _ in range(11)]
    assert [answer.status_code for answer in unknown] == [202] * 10 + [429]
    assert told(unknown[0]) == told(answers[0])
    assert unknown[-1].headers.keys() == answers[-1].headers.keys()
