"""A tenant's life: several a person, suspended, ended; and a person who is in none."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import asyncpg
import msgspec
import pytest
from uuid_utils.compat import uuid7

from agents.agent import make_pool
from agents.scheduler.agent import Scheduler
from agents.secrets import open_bot_secret, open_template_config
from control_plane.security.vault import OpenError, Vault
from control_plane.settings import Settings
from control_plane.tenants import operator
from tests.api import Api, Person
from tests.factories import Urls
from tests.members import code_for, invited, join, joined, there
from tests.world import external_body, full_tenant, published, shared, subscribe, two_tenants


async def name_of(person: Person) -> str:
    return str((await person.call("GET", f"/tenants/{person.tenant_id}", status=200))["name"])


async def end(person: Person, *, status: int = 204, **more: Any) -> Any:
    body = {"confirm": await name_of(person), **more}
    return await person.call("DELETE", f"/tenants/{person.tenant_id}", json=body, status=status)


async def test_a_further_tenant(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person("ada")
    made = await ada.call("POST", "/tenants", json={"name": " Second "}, status=201)
    assert (made["name"], made["role"], made["status"], made["plan"]) == ("Second", "owner", "active", "free")
    listed = (await ada.call("GET", "/tenants", status=200))["items"]
    assert [item["id"] for item in listed] == [made["id"], str(ada.tenant_id)]
    second = msgspec.structs.replace(ada, tenant_id=UUID(made["id"]))
    bot = await ada.call("POST", "/bots", json=external_body(), **there(second), status=201)
    assert (await ada.call("GET", "/bots"))["items"] == []
    assert [item["id"] for item in (await ada.call("GET", "/bots", **there(second)))["items"]] == [bot["id"]]
    first = await ada.call("GET", "/tenants?limit=1", status=200)
    rest = await ada.call("GET", f"/tenants?limit=1&cursor={first['next_cursor']}", status=200)
    assert [item["id"] for item in first["items"] + rest["items"]] == [made["id"], str(ada.tenant_id)]
    for body in ({}, {"name": ""}, {"name": "a\nb"}, {"name": "x" * 101}, {"name": "x", "plan": "gold"}):
        await ada.call("POST", "/tenants", json=body, status=400)


async def test_making_one_twice_with_one_key_makes_one(api: Api) -> None:
    ada = await api.person("ada")
    head = {"Idempotency-Key": "once"}
    made = await ada.call("POST", "/tenants", json={"name": "Second"}, headers=head, status=201)
    assert await ada.call("POST", "/tenants", json={"name": "Second"}, headers=head, status=201) == made
    await ada.call("POST", "/tenants", json={"name": "Third"}, headers=head, status=422)
    assert len((await ada.call("GET", "/tenants"))["items"]) == 2


async def test_a_person_makes_ten_tenants_and_then_waits(api: Api) -> None:
    ada = await api.person("ada")
    for number in range(10):
        await ada.call("POST", "/tenants", json={"name": f"number {number}"}, status=201)
    assert (await ada.call("POST", "/tenants", json={"name": "more"}, status=429))["code"] == "too_many_attempts"


async def test_renaming_shows_in_the_marketplace(api: Api, admin: asyncpg.Connection, vault: Vault) -> None:
    ada = await api.person("ada")
    bob = await joined(api, admin, vault, ada, "trader", "bob")
    template = await published(ada)
    path = f"/tenants/{ada.tenant_id}"
    assert (await bob.call("PATCH", path, json={"name": "Mine"}, status=403))["code"] == "missing_scope"
    assert (await ada.call("PATCH", path, json={"name": " Ada & Co "}, status=200))["name"] == "Ada & Co"
    assert (await bob.call("GET", f"/marketplace/{template}", status=200))["creator"] == "Ada & Co"


async def test_a_suspended_tenant_is_read_and_not_changed(api: Api, admin: asyncpg.Connection, vault: Vault) -> None:
    tenant = await full_tenant(api, admin, "ada")
    ada = tenant.person
    bob = await joined(api, admin, vault, ada, "admin", "bob")
    path = f"/tenants/{ada.tenant_id}"
    assert (await bob.call("POST", f"{path}/suspend", status=403))["code"] == "missing_scope"
    for _ in range(2):
        told = await ada.call("POST", f"{path}/suspend", status=200)
        assert (told["status"], told["suspended_by"]) == ("suspended", "owner")
    assert (await ada.call("GET", "/me"))["tenant"]["status"] == "suspended"
    desired = await admin.fetch("select id, desired, generation from bots order by id")
    for read in ("/bots", f"/bots/{tenant.hosted}", "/templates", "/api-keys", path, f"{path}/members", "/marketplace"):
        await ada.call("GET", read, status=200)
    guest = {"email": "x@example.com", "role": "viewer"}
    for method, at, body in (
        ("POST", "/bots", external_body(api_url="http://127.0.0.1:9")),
        ("POST", f"/bots/{tenant.hosted}/start", None),
        ("DELETE", f"/bots/{tenant.external}", None),
        ("POST", f"/templates/{tenant.template}/unpublish", None),
        ("POST", "/api-keys", {"name": "x", "scopes": ["bots:read"]}),
        ("PATCH", path, {"name": "other"}),
        ("PATCH", f"{path}/members/{bob.user_id}", {"role": "viewer"}),
        ("DELETE", f"{path}/members/{bob.user_id}", None),
        ("DELETE", f"{path}/members/{ada.user_id}", None),
        ("POST", f"{path}/invitations", guest),
        ("DELETE", f"{path}/invitations/{tenant.invitation}", None),
        ("POST", f"{path}/owner", {"user_id": str(bob.user_id)}),
    ):
        assert (await ada.call(method, at, json=body, status=403))["code"] == "tenant_suspended", (method, at)
    # Keys rest altogether: whoever runs programs is to notice.
    keyed = msgspec.structs.replace(ada, token=tenant.key)
    await keyed.call("GET", "/bots", status=401)
    assert await admin.fetch("select id, desired, generation from bots order by id") == desired
    for _ in range(2):
        told = await ada.call("POST", f"{path}/resume", status=200)
        assert (told["status"], told["suspended_by"], told["suspended_at"]) == ("active", None, None)
    await keyed.call("GET", "/bots", status=200)
    await ada.call("POST", f"/bots/{tenant.hosted}/start", status=202)


async def test_nobody_joins_a_suspended_tenant(api: Api, admin: asyncpg.Connection, vault: Vault) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    await invited(ada, bob.email, "viewer", status=201)
    token = {"token": await code_for(admin, vault, bob.email)}
    await ada.call("POST", f"/tenants/{ada.tenant_id}/suspend", status=200)
    assert (await bob.call("POST", "/invitations/accept", json=token, status=403))["code"] == "tenant_suspended"
    await ada.call("POST", f"/tenants/{ada.tenant_id}/resume", status=200)
    await bob.call("POST", "/invitations/accept", json=token, status=200)


async def test_what_others_follow_of_a_suspended_tenant_is_old_and_not_wrong(
    api: Api, admin: asyncpg.Connection
) -> None:
    ada, bob = await two_tenants(api, admin)
    follow = f"/subscriptions/{bob.follow}"
    before = await bob.person.call("GET", follow, status=200)
    await ada.person.call("POST", f"/tenants/{ada.id}/suspend", status=200)
    after = await bob.person.call("GET", follow, status=200)
    for field in ("status", "equity", "profit", "as_of", "allocation_amount"):
        assert after[field] == before[field], field
    # Its offers are not there for others while it rests; its own members see them.
    for template in (ada.template, ada.shared_template):
        await bob.person.call("GET", f"/marketplace/{template}", status=404)
        body = {"template_id": str(template), "allocation_amount": "1000"}
        cas = await api.person("cas")
        await cas.call("POST", "/subscriptions", json=body, status=404)
    assert len((await ada.person.call("GET", "/marketplace"))["items"]) == 4
    await ada.person.call("POST", f"/tenants/{ada.id}/resume", status=200)
    await bob.person.call("GET", f"/marketplace/{ada.template}", status=200)


async def test_what_the_operator_suspends_no_owner_resumes(api: Api, urls: Urls, admin: asyncpg.Connection) -> None:
    ada = await api.person("ada")
    path = f"/tenants/{ada.tenant_id}"
    await ada.call("POST", f"{path}/suspend", status=200)
    await operator.suspend(urls.admin, ada.tenant_id, "unpaid")
    told = await ada.call("GET", path, status=200)
    assert (told["status"], told["suspended_by"], told["suspended_reason"]) == ("suspended", "operator", "unpaid")
    assert (await ada.call("POST", f"{path}/resume", status=403))["code"] == "suspended_by_operator"
    assert (await end(ada, status=403))["code"] == "tenant_suspended"
    [line] = await operator.all_tenants(urls.admin)
    assert str(ada.tenant_id) in line
    assert "suspended by the operator" in line
    assert "(unpaid)" in line
    await operator.resume(urls.admin, ada.tenant_id)
    assert (await ada.call("GET", path))["status"] == "active"
    for unknown in (operator.suspend(urls.admin, uuid4(), None), operator.resume(urls.admin, ada.tenant_id)):
        with pytest.raises(operator.UnknownTenantError, match="tradewise tenants list"):
            await unknown


async def test_deleting_asks_for_the_name_and_for_an_owner(api: Api, admin: asyncpg.Connection, vault: Vault) -> None:
    ada = await api.person("ada")
    bob = await joined(api, admin, vault, ada, "admin", "bob")
    path = f"/tenants/{ada.tenant_id}"
    name = await name_of(ada)
    for wrong in ("", name.upper(), name + " ", "x"):
        problem = await ada.call("DELETE", path, json={"confirm": wrong}, status=422)
        assert (problem["code"], problem["errors"][0]["field"]) == ("not_confirmed", "confirm")
    for body in ({}, {"end_subscriptions": True}, {"confirm": name, "sure": True}):
        await ada.call("DELETE", path, json=body, status=400)
    assert (await bob.call("DELETE", path, json={"confirm": name}, status=403))["code"] == "missing_scope"
    assert await admin.fetchval("select status from tenants where id = $1", ada.tenant_id) == "active"


async def test_a_deleted_tenant_leaves_nothing_that_runs_or_opens(
    api: Api, admin: asyncpg.Connection, urls: Urls, vault: Vault, settings: Settings
) -> None:
    tenant = await full_tenant(api, admin, "ada")
    ada = tenant.person
    bob = await joined(api, admin, vault, ada, "admin", "bob")
    await invited(ada, "late@example.com", "viewer", status=201)
    own = await subscribe(ada, tenant.template)
    secrets = await admin.fetch("select * from bot_secrets where bot_id = $1", tenant.hosted)
    assert secrets
    version = await admin.fetchval("select id from template_versions where template_id = $1", tenant.template)
    pool = await make_pool(urls["agent_launcher"], "launcher", size=1)
    await open_template_config(pool, vault, tenant.id, version)
    await end(ada)

    assert await admin.fetchval("select status from tenants where id = $1 and deleted_at is not null", tenant.id)
    for nothing in (
        "select count(*) from bots where tenant_id = $1 and (deleted_at is null or desired = 'running')",
        "select count(*) from bot_secrets where tenant_id = $1",
        "select count(*) from api_keys where tenant_id = $1 and revoked_at is null",
        "select count(*) from memberships where tenant_id = $1",
        "select count(*) from invitations where tenant_id = $1 and accepted_at is null and revoked_at is null",
        "select count(*) from marketplace_listings where creator_tenant_id = $1",
        "select count(*) from bot_templates where tenant_id = $1 and deleted_at is null",
        "select count(*) from subscriptions where tenant_id = $1 and status <> 'cancelled'",
        "select count(*) from tenant_keys where tenant_id = $1 and (wrapped_private_key is not null"
        " or destroyed_at is null)",
    ):
        assert await admin.fetchval(nothing, tenant.id) == 0, nothing
    # What is still there sealed (and would be in a backup of these tables) opens no more, with every agent's key.
    assert await admin.fetchval("select config_sealed is not null from template_versions where id = $1", version)
    with pytest.raises(OpenError, match="destroyed"):
        await open_template_config(pool, vault, tenant.id, version)
    names = ", ".join(secrets[0].keys())
    places = ", ".join(f"${number + 1}" for number in range(len(secrets[0])))
    await admin.execute(f"insert into bot_secrets ({names}) values ({places})", *secrets[0].values())
    with pytest.raises(OpenError, match="destroyed"):
        await open_bot_secret(pool, vault, tenant.id, secrets[0]["bot_id"], secrets[0]["kind"])
    await pool.close()

    keyed = msgspec.structs.replace(ada, token=tenant.key)
    await keyed.call("GET", "/bots", status=401)
    for person in (ada, bob):
        await person.call("GET", f"/tenants/{tenant.id}", status=404)
        await person.call("GET", "/bots", **there(ada), status=403)
    await bob.call("GET", "/bots", status=200)
    assert own["id"]

    # The scheduler makes no key for it again, even one that read of it a moment before.
    scheduling = await make_pool(urls["agent_scheduler"], "scheduler", size=1)
    await admin.execute("delete from tenant_keys where tenant_id = $1", tenant.id)
    await Scheduler(settings, scheduling, vault).provision_keys()
    late = await vault.generate(tenant.id, 9)
    await scheduling.execute(
        "insert into tenant_keys (id, tenant_id, version, suite, public_key, wrapped_private_key, kek_id)"
        " values ($1, $2, $3, $4, $5, $6, $7)",
        uuid7(),
        late.tenant_id,
        late.version,
        late.suite,
        late.public_key,
        late.wrapped_private_key,
        late.kek_id,
    )
    await scheduling.close()
    assert await admin.fetchval("select count(*) from tenant_keys where tenant_id = $1", tenant.id) == 0


async def test_a_destroyed_key_stays_destroyed(api: Api, admin: asyncpg.Connection, urls: Urls) -> None:
    """An agent that wraps keys anew, and read this one a moment before, must not bring it back."""
    ada = await api.person("ada")
    await ada.call("POST", "/bots", json=external_body(), status=201)
    wrapped = await admin.fetchval("select wrapped_private_key from tenant_keys where tenant_id = $1", ada.tenant_id)
    await end(ada)
    rotating = await asyncpg.connect(urls["agent_scheduler"])
    with pytest.raises(asyncpg.CheckViolationError):
        await rotating.execute(
            "update tenant_keys set wrapped_private_key = $1 where tenant_id = $2", wrapped, ada.tenant_id
        )
    await rotating.close()


async def test_others_who_subscribe_are_in_the_way_until_it_is_meant(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await two_tenants(api, admin)
    problem = await end(ada.person, status=409)
    assert problem["code"] == "has_subscribers"
    assert problem["detail"].startswith("2 subscriptions of others")
    for told in (bob.person.email, str(bob.id), "bob"):
        assert told not in str(problem).lower()
    assert await admin.fetchval("select count(*) from bots where tenant_id = $1 and deleted_at is null", ada.id)
    before = await bob.person.call("GET", f"/subscriptions/{bob.follow}", status=200)
    await end(ada.person, end_subscriptions=True)
    # Others' subscriptions stand with their last figures, and can be cancelled.
    after = await bob.person.call("GET", f"/subscriptions/{bob.follow}", status=200)
    for field in ("status", "equity", "profit", "as_of"):
        assert after[field] == before[field], field
    for subscription in (bob.follow, bob.subscription):
        await bob.person.call("DELETE", f"/subscriptions/{subscription}", status=200)
    # What it followed itself counts no more for the other's offers.
    listed = await bob.person.call("GET", f"/marketplace/{bob.template}", status=200)
    assert listed["subscribers_count"] == 0


async def test_a_tenant_that_rests_can_be_deleted_without_waking_it(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person("ada")
    await ada.call("POST", f"/tenants/{ada.tenant_id}/suspend", status=200)
    await end(ada)
    assert await admin.fetchval("select status from tenants") == "deleted"


async def test_a_person_without_a_tenant_starts_anew(api: Api, admin: asyncpg.Connection, vault: Vault) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    await end(ada)
    signed = await api.client.post(
        "/api/v1/auth/sign-in", json={"email": ada.email, "password": "a long enough password"}
    )
    assert (signed.status_code, signed.json()["tenants"]) == (200, [])
    me = await ada.call("GET", "/me", status=200)
    assert (me["user"]["email"], me["tenant"], me["tenants"], me["scopes"]) == (ada.email, None, [], [])
    await ada.call("PATCH", "/me", json={"full_name": "Ada L."}, status=200)
    assert (await ada.call("GET", "/tenants", status=200))["items"] == []
    for method, path in (("GET", "/bots"), ("POST", "/bots"), ("GET", "/events"), ("GET", "/marketplace")):
        problem = await ada.call(method, path, json=external_body(), status=403)
        assert problem["code"] == "not_a_member"
        assert "POST /tenants" in problem["detail"]
    head = {"Idempotency-Key": "anew"}
    made = await ada.call("POST", "/tenants", json={"name": "Anew"}, headers=head, status=201)
    assert await ada.call("POST", "/tenants", json={"name": "Anew"}, headers=head, status=201) == made
    await ada.call("POST", "/bots", json=external_body(), status=201)
    # A second one, brought to nothing and then let in by an invitation.
    await end(bob)
    await join(admin, vault, msgspec.structs.replace(ada, tenant_id=UUID(made["id"])), bob, "trader")
    await bob.call("GET", "/bots", status=200)
    await bob.call("DELETE", f"/tenants/{made['id']}/members/{bob.user_id}", status=204)
    assert (await bob.call("GET", "/me", status=200))["tenant"] is None
    await bob.call("POST", "/auth/sign-out", status=204)


async def test_bots_made_at_the_same_moment_end_too(api: Api, admin: asyncpg.Connection) -> None:
    """A request under way is either before the end, and swept up, or after it, and refused."""
    for _ in range(3):
        ada = await api.person("ada")
        await ada.call("POST", "/bots", json=external_body(), status=201)
        body = {"confirm": await name_of(ada)}
        head = {"Authorization": f"Bearer {ada.token}"}

        async def make(number: int, head: dict[str, str] = head) -> int:
            body = external_body(api_url=f"http://127.0.0.1:{9000 + number}")
            return (await api.client.post("/api/v1/bots", headers=head, json=body)).status_code

        async def delete(tenant: UUID = ada.tenant_id, head: dict[str, str] = head, body: Any = body) -> int:
            answer = await api.client.request("DELETE", f"/api/v1/tenants/{tenant}", headers=head, json=body)
            return answer.status_code

        statuses = await asyncio.gather(make(1), make(2), delete(), make(3), make(4))
        assert statuses[2] == 204
        assert set(statuses) - {204} <= {201, 403, 503}
        # Nothing that came late is sealed for a key that is left.
        assert not await admin.fetchval(
            "select count(*) from tenant_keys where tenant_id = $1 and wrapped_private_key is not null", ada.tenant_id
        )


async def test_a_shared_bot_of_a_deleted_tenant_is_followed_no_further(api: Api, admin: asyncpg.Connection) -> None:
    ada, bob = await api.person("ada"), await api.person("bob")
    template, _ = await shared(ada, admin)
    follow = await subscribe(bob, template)
    await end(ada, end_subscriptions=True)
    path = f"/subscriptions/{follow['id']}"
    await bob.call("GET", f"{path}/performance", status=200)
    await bob.call("GET", f"/marketplace/{template}", status=404)
    assert (await bob.call("DELETE", path, status=200))["status"] == "cancelled"
