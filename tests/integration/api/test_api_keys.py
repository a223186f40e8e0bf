"""API keys: from where they work, how they are replaced, and that they never go beyond who made them."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import httpx
import msgspec
import pytest
import structlog
from uuid_utils.compat import uuid7

from control_plane.http import hygiene
from control_plane.identity.permissions import ROLE_SCOPES, SCOPES
from control_plane.security.tokens import checksum_of, digest_of, new_api_key
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import Api, Person, running_api
from tests.factories import Urls
from tests.integration.api.test_contract import OPERATIONS
from tests.world import external_body

SOON = (datetime.now(UTC) + timedelta(days=2)).isoformat()
LATER = (datetime.now(UTC) + timedelta(days=30)).isoformat()
HOME = "127.0.0.1"  # where the tests' client calls from


async def made(person: Person, *scopes: str, status: int = 201, **more: Any) -> dict[str, Any]:
    body = {"name": "ci", "scopes": list(scopes), **more}
    answer: dict[str, Any] = await person.call("POST", "/api-keys", json=body, status=status)
    return answer


def holding(person: Person, key: dict[str, Any]) -> Person:
    return msgspec.structs.replace(person, token=key["key"])


async def listed(person: Person) -> dict[str, dict[str, Any]]:
    return {item["id"]: item for item in (await person.call("GET", "/api-keys", status=200))["items"]}


async def status_of(person: Person, path: str = "/me") -> int:
    answer = await person.client.get(f"/api/v1{path}", headers={"Authorization": f"Bearer {person.token}"})
    return answer.status_code


async def test_a_list_shows_everything_but_the_key(api: Api) -> None:
    ada = await api.person()
    bot = (await ada.call("POST", "/bots", json=external_body(), status=201))["id"]
    addresses = ["203.0.113.7", "198.51.100.0/24", "2001:DB8::/32", "::ffff:192.0.2.1", "203.0.113.7/32"]
    key = await made(ada, "bots:read", expires_at=LATER, bot_ids=[bot, bot], allowed_addresses=addresses)
    assert key["allowed_addresses"] == ["192.0.2.1", "198.51.100.0/24", "203.0.113.7", "2001:db8::/32"]
    assert key["bot_ids"] == [bot]
    assert UUID(key["created_by"]) == ada.user_id
    assert (await listed(ada))[key["id"]] == {**key, "key": None}
    assert [key[name] for name in ("last_used_at", "last_used_from", "revoked_at", "replaced_by")] == [None] * 4


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("nowhere", "must be an IP address"),
        ("", "must be an IP address"),
        ("10.0.0.0/33", "must be an IP address"),
        ("10.0.0.1/8", "write 10.0.0.0/8"),
        ("fe80::1%eth0", "must be"),
        ("10.0.0.1 or true", "must be an IP address"),
    ],
)
async def test_addresses_that_are_none(api: Api, address: str, words: str) -> None:
    ada = await api.person()
    problem = await made(ada, "bots:read", status=422, allowed_addresses=["10.0.0.1", address])
    assert problem["errors"][0]["field"] == "allowed_addresses.1"
    assert words in problem["detail"]


async def test_a_key_works_from_its_addresses_alone(settings: Settings, urls: Urls, vault: Vault) -> None:
    trusting = msgspec.structs.replace(settings, trusted_proxies=settings.egress_allow)
    async with running_api(trusting, urls, vault) as api:
        ada = await api.person()
        key = holding(ada, await made(ada, "bots:read", allowed_addresses=["203.0.113.0/24", "2001:db8::1"]))
        for address, status in (
            ("203.0.113.9", 200),
            ("203.0.114.9", 403),
            ("2001:db8::1", 200),
            ("2001:db8::2", 403),
            ("::ffff:203.0.113.1", 200),
            ("203.0.113.9, 8.8.8.8", 403),  # the left is what anybody can write
            ("garbage", 403),
        ):
            headers = {"X-Forwarded-For": address}
            problem = await key.call("GET", "/bots", headers=headers, status=status)
            if status == 403:
                assert problem["code"] == "address_not_allowed"
        (shown,) = (await listed(ada)).values()
        assert shown["last_used_from"] == "203.0.113.9"  # once a minute at most
        assert shown["last_used_at"] is not None


async def test_a_use_that_is_refused_is_none(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    away = await made(ada, "bots:read", allowed_addresses=["203.0.113.0/24"])
    home = await made(ada, "bots:read", allowed_addresses=[f"{HOME}/32"])
    assert await status_of(holding(ada, away)) == 403
    assert await status_of(holding(ada, home)) == 200
    shown = await listed(ada)
    assert (shown[away["id"]]["last_used_at"], shown[away["id"]]["last_used_from"]) == (None, None)
    assert shown[home["id"]]["last_used_from"] == HOME
    await admin.execute("update api_keys set last_used_at = now() - interval '59 seconds', last_used_from = '::1'")
    await status_of(holding(ada, home))
    assert (await listed(ada))[home["id"]]["last_used_from"] == "::1"
    await admin.execute("update api_keys set last_used_at = now() - interval '61 seconds'")
    await status_of(holding(ada, home))
    assert (await listed(ada))[home["id"]]["last_used_from"] == HOME


async def test_a_mistyped_key_is_told_so_and_an_older_one_still_works(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    key = (await made(ada, "bots:read"))["key"]

    async def said(token: str) -> str:
        answer = await api.client.get("/api/v1/me", headers={"Authorization": f"Bearer {token}"})
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
        return str(answer.json()["detail"])

    other = new_api_key().text
    whole = key[:21] + other[21:-6]
    for token in (key[:-1], key[:30] + ("x" if key[30] != "x" else "y") + key[31:], key + "a", "tw_live_"):
        assert "mistyped" in await said(token), token
    assert "mistyped" not in await said(whole + checksum_of(whole))
    assert await admin.fetchval("select last_used_at from api_keys") is None
    older = new_api_key().text[:-6]  # as keys were before they had a checksum
    await admin.execute("update api_keys set key_hash = $1, prefix = $2", digest_of(older), older[8:20])
    assert await status_of(msgspec.structs.replace(ada, token=older)) == 200


@pytest.mark.parametrize("role", ROLE_SCOPES)
async def test_a_key_does_what_its_makers_role_is_now(api: Api, admin: asyncpg.Connection, role: str) -> None:
    """Over every operation: a key with every scope is let in exactly where its maker is."""
    ada = await api.person()
    key = holding(ada, await made(ada, *SCOPES))
    assert set((await key.call("GET", "/me", status=200))["scopes"]) == set(SCOPES)
    await admin.execute("update memberships set role = $1", role)
    assert set((await key.call("GET", "/me", status=200))["scopes"]) == ROLE_SCOPES[role]
    tried = 0
    for verb, path, operation in OPERATIONS:
        [needed] = operation["security"][0]["bearer"] or [None] if "security" in operation else [None]
        if needed is None or path == "/api/v1/events":
            continue
        at = path.replace("{tenant_id}", str(ada.tenant_id))
        while "{" in at:
            at = at[: at.index("{")] + str(uuid7()) + at[at.index("}") + 1 :]
        answer = await api.client.request(verb, at, headers={"Authorization": f"Bearer {key.token}"}, content=b"{")
        refused = (answer.status_code, answer.json().get("code")) == (403, "missing_scope")
        assert refused == (needed not in ROLE_SCOPES[role]), (verb, path, answer.text)
        tried += 1
    assert tried > 20


@pytest.mark.parametrize(
    "change",
    [
        "delete from memberships",
        "update users set status = 'suspended'",
        "update users set status = 'deleted', deleted_at = now()",
        "update tenants set status = 'suspended'",
        "update api_keys set revoked_at = now()",
        "update api_keys set expires_at = now()",
    ],
)
async def test_a_key_ends_with_what_it_stands_on(api: Api, admin: asyncpg.Connection, change: str) -> None:
    ada = await api.person()
    key = holding(ada, await made(ada, "bots:read"))
    assert await status_of(key, "/bots") == 200
    await admin.execute(change)
    assert await status_of(key, "/bots") == 401


async def test_a_key_makes_none_that_goes_beyond_it(api: Api) -> None:
    ada = await api.person()
    maker = holding(
        ada, await made(ada, "keys:write", "bots:read", expires_at=SOON, allowed_addresses=[HOME, "10.0.0.0/8"])
    )
    good: dict[str, Any] = {"expires_at": SOON, "allowed_addresses": ["10.1.0.0/16", "10.2.3.4"]}
    await made(maker, "bots:read", **good)
    beyond: list[tuple[list[str], dict[str, Any], str, str]] = [
        (["bots:read", "bots:write"], {}, "scopes", "scope_not_held"),
        (["bots:read"], {"expires_at": None}, "expires_at", "outlives_maker"),
        (["bots:read"], {"expires_at": LATER}, "expires_at", "outlives_maker"),
        (["bots:read"], {"allowed_addresses": None}, "allowed_addresses", "addresses_not_held"),
        (["bots:read"], {"allowed_addresses": ["10.0.0.0/7"]}, "allowed_addresses", "addresses_not_held"),
        (["bots:read"], {"allowed_addresses": [HOME, "8.8.8.8"]}, "allowed_addresses", "addresses_not_held"),
        (["bots:read"], {"allowed_addresses": ["::/0"]}, "allowed_addresses", "addresses_not_held"),
    ]
    for scopes, change, field, code in beyond:
        problem = await made(maker, *scopes, status=422, **{**good, **change})
        assert (problem["code"], problem["errors"][0]["field"]) == (code, field), change


async def rotate(person: Person, key: dict[str, Any], status: int = 201, **body: Any) -> dict[str, Any]:
    answer: dict[str, Any] = await person.call("POST", f"/api-keys/{key['id']}/rotate", json=body, status=status)
    return answer


async def test_a_rotated_key_has_a_successor_like_itself(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    bot = (await ada.call("POST", "/bots", json=external_body(), status=201))["id"]
    old = await made(ada, "bots:read", expires_at=LATER, bot_ids=[bot], allowed_addresses=[HOME])
    new = await rotate(ada, old)
    same = ("name", "scopes", "expires_at", "bot_ids", "allowed_addresses", "created_by")
    assert {name: new[name] for name in same} == {name: old[name] for name in same}
    assert new["key"].startswith(f"tw_live_{new['prefix']}_")
    assert new["key"] != old["key"]
    shown = await listed(ada)
    assert shown[old["id"]]["replaced_by"] == new["id"]
    ends = datetime.fromisoformat(shown[old["id"]]["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=23, minutes=59) < ends <= timedelta(hours=24)
    assert shown[new["id"]] == {**new, "key": None}
    for key in (old, new):  # both, during the overlap
        assert await status_of(holding(ada, key), f"/bots/{bot}") == 200
    assert (await rotate(ada, old, 409))["code"] == "already_rotated"
    await admin.execute("update api_keys set expires_at = now() where id = $1", UUID(old["id"]))
    assert await status_of(holding(ada, old)) == 401
    assert await status_of(holding(ada, new)) == 200
    newest = await rotate(ada, new, overlap_seconds=0)
    assert await status_of(holding(ada, new)) == 401
    await ada.call("POST", f"/api-keys/{newest['id']}/rotate", status=201)  # no body at all: a day
    assert await status_of(holding(ada, newest)) == 200


async def test_an_overlap_never_lengthens_a_key(api: Api) -> None:
    ada = await api.person()
    soon = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    old = await made(ada, "bots:read", expires_at=soon)
    await rotate(ada, old, overlap_seconds=7 * 24 * 3600)
    assert (await listed(ada))[old["id"]]["expires_at"] == old["expires_at"]
    for wrong in (-1, 7 * 24 * 3600 + 1, "a day", 1.5, None):
        await rotate(ada, old, 400, overlap_seconds=wrong)


async def test_what_has_ended_is_not_rotated(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    gone, late = await made(ada, "bots:read"), await made(ada, "bots:read", expires_at=SOON)
    await ada.call("DELETE", f"/api-keys/{gone['id']}", status=204)
    await admin.execute("update api_keys set expires_at = now() where id = $1", UUID(late["id"]))
    for key in (gone, late):
        assert (await rotate(ada, key, 409))["code"] == "key_ended"
    assert (await rotate(ada, {"id": uuid4()}, 404))["code"] == "not_found"
    assert await admin.fetchval("select count(*) from api_keys") == 2


async def test_only_who_could_make_such_a_key_rotates_it(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    great, small, endless = (
        await made(ada, "tenant:delete"),
        await made(ada, "bots:read", expires_at=SOON),
        await made(ada, "bots:read"),
    )
    program = holding(ada, await made(ada, "keys:write", "bots:read", expires_at=SOON))
    assert (await rotate(program, great, 403))["code"] == "scope_not_held"
    assert (await rotate(program, endless, 403))["code"] == "outlives_maker"
    await rotate(program, small)
    for role, status in (("admin", 403), ("trader", 403), ("viewer", 403), ("owner", 201)):
        await admin.execute("update memberships set role = $1", role)
        problem = await rotate(ada, great, status)
        if status == 403:
            assert problem["code"] == ("scope_not_held" if role == "admin" else "missing_scope")


async def test_many_rotations_at_once_make_one_successor(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    old = await made(ada, "bots:read")
    path = f"/api/v1/api-keys/{old['id']}/rotate"

    async def send(key: str | None) -> httpx.Response:
        headers = {"Authorization": f"Bearer {ada.token}", **({"Idempotency-Key": key} if key else {})}
        return await api.client.post(path, headers=headers, json={})

    answers = await asyncio.gather(*(send(None) for _ in range(4)))
    assert sorted(answer.status_code for answer in answers) == [201, 409, 409, 409]
    assert await admin.fetchval("select count(*) from api_keys") == 2
    [new] = [answer.json() for answer in answers if answer.status_code == 201]
    path = f"/api/v1/api-keys/{new['id']}/rotate"
    answers = await asyncio.gather(*(send("once") for _ in range(4)))
    assert [answer.status_code for answer in answers] == [201] * 4
    assert len({answer.json()["id"] for answer in answers}) == 1
    [key] = [answer.json()["key"] for answer in answers if answer.json()["key"] is not None]
    kept = await admin.fetchval("select string_agg(r::text, ' ') from idempotency_records r")
    assert key not in kept
    assert key.rsplit("_", 1)[1] not in kept


async def test_what_a_key_made_goes_with_it_but_not_with_its_rotation(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    parent = await made(ada, "keys:write", "bots:read")
    child = await made(holding(ada, parent), "keys:write", "bots:read")
    grandchild = await made(holding(ada, child), "bots:read")
    beside = await made(ada, "bots:read")
    taken = await rotate(holding(ada, parent), beside)  # who leaks a key leaks what it has its hands on
    heir = await rotate(holding(ada, parent), parent, overlap_seconds=0)
    for key in (heir, child, grandchild, taken):
        assert await status_of(holding(ada, key)) == 200
    await ada.call("DELETE", f"/api-keys/{parent['id']}", status=204)
    assert await status_of(holding(ada, heir)) == 200
    await ada.call("DELETE", f"/api-keys/{heir['id']}", status=204)
    for key in (heir, child, grandchild, taken):
        assert await status_of(holding(ada, key)) == 401
    assert await status_of(holding(ada, beside)) == 200
    assert await admin.fetchval("select count(*) from api_keys where revoked_at is null") == 1


async def test_no_key_is_made_past_the_end_of_its_maker(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    for _ in range(5):
        parent = await made(ada, "keys:write", "bots:read")
        maker = holding(ada, parent)
        body = {"name": "late", "scopes": ["bots:read"]}
        await asyncio.gather(
            *(maker.call("POST", "/api-keys", json=body) for _ in range(4)),
            ada.call("DELETE", f"/api-keys/{parent['id']}", status=204),
        )
    assert await admin.fetchval("select count(*) from api_keys where revoked_at is null") == 0


async def moved(person: Person, bot: str, status: int, **more: Any) -> dict[str, Any]:
    body = {"api_url": "http://127.0.0.1:9090", **more}
    answer: dict[str, Any] = await person.call("PATCH", f"/bots/{bot}", json=body, status=status)
    return answer


@pytest.mark.parametrize(
    ("role", "status", "code"),
    [
        ("owner", 200, None),
        ("admin", 200, None),
        ("trader", 422, "credentials_required"),
        ("viewer", 403, "missing_scope"),
    ],
)
async def test_stored_credentials_go_elsewhere_only_for_who_may_have_them(
    api: Api, admin: asyncpg.Connection, role: str, status: int, code: str | None
) -> None:
    ada = await api.person()
    bot = (await ada.call("POST", "/bots", json=external_body(), status=201))["id"]
    keys = {
        "wide": holding(ada, await made(ada, "bots:read", "bots:write", "bots:redirect")),
        "bound": holding(ada, await made(ada, "bots:write", "bots:redirect", bot_ids=[bot])),
    }
    narrow = holding(ada, await made(ada, "bots:read", "bots:write"))
    await admin.execute("update memberships set role = $1", role)
    sealed = await admin.fetchval("select sealed from bot_secrets")
    for caller in (ada, *keys.values()):
        problem = await moved(caller, bot, status)
        assert problem.get("code") == code
        if code == "credentials_required":
            assert problem["errors"][0]["field"] == "credentials"
            assert "same request" in problem["detail"]
        await admin.execute("update bots set api_url = 'http://127.0.0.1:8080'")
    if status != 403:
        for there in ("https://127.0.0.1:8080", "http://127.0.0.1:8081", "http://127.0.0.2:8080"):
            assert (await moved(narrow, bot, 422, api_url=there))["code"] == "credentials_required", there
        assert await admin.fetchval("select api_url from bots") == "http://127.0.0.1:8080"
        await moved(narrow, bot, 200, api_url="HTTP://127.0.0.1:8080/deeper/")  # the same scheme, host and port
        assert await admin.fetchval("select sealed from bot_secrets") == sealed
        await moved(narrow, bot, 200, credentials={"token": "a-new-token-of-their-own"})
        assert await admin.fetchval("select sealed from bot_secrets") != sealed


async def test_every_answer_names_its_request(api: Api) -> None:
    ada = await api.person()
    seen = set()
    for path in ("/api/v1/me", "/api/v1/nowhere", "/nowhere", "/health/live", "/sign-in", "/api/v1/bots/x"):
        headers = {"Authorization": f"Bearer {ada.token}", "X-Request-ID": "forged"}
        answer = await api.client.get(path, headers=headers)
        seen.add(UUID(answer.headers["x-request-id"]))
    assert len(seen) == 6
    assert {identity.version for identity in seen} == {7}


async def test_the_access_line_carries_the_same_id(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[dict[str, Any]] = []

    class Recorder:
        """What the configured processors would merge into the line."""

        def info(self, event: str, **values: Any) -> None:
            lines.append({"event": event, **structlog.contextvars.get_contextvars(), **values})

    monkeypatch.setattr(hygiene, "_log", Recorder())
    answers = [await api.client.get(path) for path in ("/api/v1/me", "/api/v1/nowhere")]
    assert [line["event"] for line in lines] == ["request", "request"]
    assert [line["request_id"] for line in lines] == [answer.headers["x-request-id"] for answer in answers]
    assert "request_id" not in structlog.contextvars.get_contextvars()
