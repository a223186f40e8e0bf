"""Invitations: mailed, bound to an address, good once and for a week, and for no more than their maker may grant."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import asyncpg
import msgspec
import pytest

from control_plane.security.vault import Vault
from control_plane.tenants import invitations
from tests.api import Api, Person
from tests.members import code_for, invited, joined, letters


def accepting(token: str) -> dict[str, Any]:
    return {"json": {"token": token}}


def listed_at(owner: Person) -> str:
    return f"/tenants/{owner.tenant_id}/invitations"


async def test_a_known_and_an_unknown_address_are_answered_alike(
    api: Api, admin: asyncpg.Connection, vault: Vault
) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    answers = [await invited(ada, email, "trader", status=201) for email in (bob.email, "nobody@example.com")]
    for answer, email in zip(answers, (bob.email, "nobody@example.com"), strict=True):
        assert answer.keys() == answers[0].keys()
        assert (answer["email"], answer["role"], answer["invited_by"]) == (email, "trader", str(ada.user_id))
        [letter] = [found for found in await letters(admin, vault, email) if found.kind == "invitation"]
        assert "Ada" in letter.body
        token = await code_for(admin, vault, email)
        assert len(token) >= 43
        assert token not in str(answer)
    listed = (await ada.call("GET", listed_at(ada), status=200))["items"]
    assert listed == answers[::-1]
    assert await admin.fetchval("select min(expires_at - created_at) > interval '6 days 23 hours' from invitations")


async def test_accepting_makes_a_member_and_verifies_the_address(
    api: Api, admin: asyncpg.Connection, vault: Vault
) -> None:
    ada = await api.person("ada")
    bob = await api.person("bob")
    verified = "select email_verified_at is not null from users where id = $1"
    await invited(ada, bob.email.upper(), "trader", status=201)
    token = await code_for(admin, vault, bob.email.upper())
    assert not await admin.fetchval(verified, bob.user_id)
    tenant = await bob.call("POST", "/invitations/accept", **accepting(token), status=200)
    assert (tenant["id"], tenant["role"], tenant["status"]) == (str(ada.tenant_id), "trader", "active")
    assert await admin.fetchval(verified, bob.user_id)
    assert [item["id"] for item in (await bob.call("GET", "/me"))["tenants"]] == [str(bob.tenant_id), tenant["id"]]
    assert (await bob.call("POST", "/invitations/accept", **accepting(token), status=404))["code"] == "not_found"
    assert (await ada.call("GET", listed_at(ada)))["items"] == []


async def test_the_code_is_worth_nothing_to_anybody_else(api: Api, admin: asyncpg.Connection, vault: Vault) -> None:
    ada, bob, eve = [await api.person(name) for name in ("ada", "bob", "eve")]
    await invited(ada, bob.email, "admin", status=201)
    token = await code_for(admin, vault, bob.email)
    assert (await eve.call("POST", "/invitations/accept", **accepting(token), status=403))[
        "code"
    ] == "invited_address_differs"
    await admin.execute("update users set email_verified_at = now() where id = $1", eve.user_id)
    await eve.call("POST", "/invitations/accept", **accepting(token), status=403)
    answer = await api.client.post("/api/v1/invitations/accept", json={"token": token})
    assert answer.status_code == 401
    for wrong in (token[:-1] + ("A" if token[-1] != "A" else "B"), "x", "\x00", token + " "):
        assert (await bob.call("POST", "/invitations/accept", **accepting(wrong), status=404))["code"] == "not_found"
    await bob.call("POST", "/invitations/accept", **accepting(token), status=200)


async def test_expired_replaced_and_taken_back(api: Api, admin: asyncpg.Connection, vault: Vault) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    await invited(ada, bob.email, "admin", status=201)
    first = await code_for(admin, vault, bob.email)
    second = await invited(ada, bob.email, "viewer", status=201)
    await bob.call("POST", "/invitations/accept", **accepting(first), status=404)
    assert [item["id"] for item in (await ada.call("GET", listed_at(ada)))["items"]] == [second["id"]]
    token = await code_for(admin, vault, bob.email)
    await admin.execute("update invitations set expires_at = now() where revoked_at is null")
    await bob.call("POST", "/invitations/accept", **accepting(token), status=404)
    third = await invited(ada, bob.email, "viewer", status=201)
    token = await code_for(admin, vault, bob.email)
    await ada.call("DELETE", f"{listed_at(ada)}/{third['id']}", status=204)
    for identity in (third["id"], second["id"], uuid4()):
        await ada.call("DELETE", f"{listed_at(ada)}/{identity}", status=404)
    await bob.call("POST", "/invitations/accept", **accepting(token), status=404)


async def test_a_code_works_once_even_twice_at_once(api: Api, admin: asyncpg.Connection, vault: Vault) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    await invited(ada, bob.email, "trader", status=201)
    token = await code_for(admin, vault, bob.email)
    head = {"Authorization": f"Bearer {bob.token}"}
    answers = await asyncio.gather(
        *(api.client.post("/api/v1/invitations/accept", headers=head, json={"token": token}) for _ in range(4))
    )
    assert sorted(answer.status_code for answer in answers) == [200, 404, 404, 404]
    assert await admin.fetchval("select count(*) from memberships where user_id = $1", bob.user_id) == 2


async def test_an_invitation_is_worth_what_its_maker_may_grant(
    api: Api, admin: asyncpg.Connection, vault: Vault
) -> None:
    ada = await api.person("ada")
    bob = await joined(api, admin, vault, ada, "admin", "bob")
    cas, dan = await api.person("cas"), await api.person("dan")
    there = msgspec.structs.replace(bob, tenant_id=ada.tenant_id)
    assert (await invited(there, cas.email, "owner", status=403))["code"] == "above_your_role"
    for person in (cas, dan):
        await invited(there, person.email, "admin", status=201)
    codes = {person.email: await code_for(admin, vault, person.email) for person in (cas, dan)}
    at = f"/tenants/{ada.tenant_id}/members/{bob.user_id}"
    await ada.call("PATCH", at, json={"role": "trader"}, status=200)
    await cas.call("POST", "/invitations/accept", **accepting(codes[cas.email]), status=404)
    await ada.call("PATCH", at, json={"role": "admin"}, status=200)
    await cas.call("POST", "/invitations/accept", **accepting(codes[cas.email]), status=200)
    await ada.call("DELETE", at, status=204)
    await dan.call("POST", "/invitations/accept", **accepting(codes[dan.email]), status=404)
    owner = await invited(ada, "boss@example.com", "owner", status=201)
    path = f"{listed_at(ada)}/{owner['id']}"
    assert (await cas.call("DELETE", path, status=403))["code"] == "above_your_role"


async def test_who_may_not_invite_and_who_need_not_be(api: Api, admin: asyncpg.Connection, vault: Vault) -> None:
    ada = await api.person("ada")
    bob = await joined(api, admin, vault, ada, "trader", "bob")
    there = msgspec.structs.replace(bob, tenant_id=ada.tenant_id)
    assert (await invited(there, "x@example.com", "viewer", status=403))["code"] == "missing_scope"
    assert (await invited(ada, bob.email.upper(), "admin", status=409))["code"] == "already_a_member"
    for body in ({"email": "no address", "role": "viewer"}, {"email": "a@b.cd", "role": "king"}, {"email": "a@b.cd"}):
        await ada.call("POST", listed_at(ada), json=body, status=400)
    assert await admin.fetchval("select count(*) from invitations where accepted_at is null") == 0


async def test_a_replay_mails_once(api: Api, admin: asyncpg.Connection, vault: Vault) -> None:
    ada = await api.person("ada")
    head = {"Idempotency-Key": "once"}
    first = await invited(ada, "x@example.com", "viewer", headers=head, status=201)
    assert await invited(ada, "x@example.com", "viewer", headers=head, status=201) == first
    assert len(await letters(admin, vault, "x@example.com")) == 1


async def test_invitations_are_limited_an_hour_and_in_all(
    api: Api, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    ada = await api.person("ada")
    monkeypatch.setattr(invitations, "MOST_OPEN", 3)
    for number in range(3):
        await invited(ada, f"{number}@example.com", "viewer", status=201)
    assert (await invited(ada, "4@example.com", "viewer", status=409))["code"] == "too_many_invitations"
    await invited(ada, "2@example.com", "trader", status=201)  # in the place of an earlier one
    bob = await api.person("bob")
    for _ in range(30):
        await invited(bob, "x@example.com", "viewer", status=201)
    answer = await bob.client.post(
        f"/api/v1{listed_at(bob)}",
        headers={"Authorization": f"Bearer {bob.token}"},
        json={"email": "y@example.com", "role": "viewer"},
    )
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_attempts")
    assert int(answer.headers["retry-after"]) > 60
    # One person with many tenants mails no more.
    other = await bob.call("POST", "/tenants", json={"name": "another"}, status=201)
    path = f"/tenants/{other['id']}/invitations"
    await bob.call("POST", path, json={"email": "y@example.com", "role": "viewer"}, status=429)


async def test_a_member_who_is_invited_again_in_between_keeps_the_role(
    api: Api, admin: asyncpg.Connection, vault: Vault
) -> None:
    """Two owners' tenants cannot meet here, but an address can change: the invitation then fits a member."""
    ada = await api.person("ada")
    bob = await joined(api, admin, vault, ada, "trader", "bob")
    await invited(ada, "new@example.com", "viewer", status=201)
    token = await code_for(admin, vault, "new@example.com")
    await admin.execute("update users set email = 'new@example.com' where id = $1", bob.user_id)
    tenant = await bob.call("POST", "/invitations/accept", **accepting(token), status=200)
    assert tenant["role"] == "trader"
