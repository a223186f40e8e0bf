"""What the audit log takes in: who, what and before and after, of every change that people make, and no secret."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from tests.api import Api
from tests.audit import actions, bound, events, fault, tell
from tests.factories import Factory, Urls
from tests.security.test_secrets import found_in, plant

LOG = ("audit_events", "audit_checkpoints", "audit_anchors")


async def test_a_change_of_a_row_tells_who_from_where_and_what(
    web: asyncpg.Connection, admin: asyncpg.Connection, factory: Factory
) -> None:
    owner = await factory.owner()
    bot, request = uuid7(), uuid7()
    async with bound(web, owner, address="2001:db8::7", request_id=str(request)):
        await web.execute(
            "insert into bots (id, bot_type, engine, name) values ($1, 'platform', 'tradewise', 'one')", bot
        )
    async with bound(web, owner):
        await web.execute("update bots set name = 'two', description = 'more' where id = $1", bot)
    made, changed = (await events(admin, owner.tenant_id))[-2:]
    assert (made["action"], made["resource"], made["resource_id"], made["outcome"]) == (
        "bot.created",
        "bot",
        bot,
        "success",
    )
    assert (made["actor_kind"], made["actor_id"], made["user_id"]) == ("user", str(owner.user_id), owner.user_id)
    assert (str(made["address"]), made["request_id"]) == ("2001:db8::7", request)
    assert made["changes"]["name"] == {"after": "one"}
    assert changed["action"] == "bot.changed"
    assert changed["changes"] == {
        "name": {"before": "one", "after": "two"},
        "description": {"before": None, "after": "more"},
    }
    assert changed["address"] is None


async def test_a_key_is_told_with_the_person_behind_it(
    web: asyncpg.Connection, admin: asyncpg.Connection, factory: Factory
) -> None:
    owner, key = await factory.owner(), uuid7()
    async with bound(web, owner, actor=f"key:{key}"):
        await web.execute("select audit_note('report.exported', null, null, '{}')")
    told = (await events(admin, owner.tenant_id))[-1]
    assert (told["actor_kind"], told["actor_id"], told["user_id"]) == ("key", str(key), owner.user_id)


@pytest.mark.parametrize("actor", ["", "root", "user:", "user:everybody", "agent:launcher"])
async def test_a_change_by_hand_is_told_as_the_role_that_made_it(
    admin: asyncpg.Connection, factory: Factory, actor: str
) -> None:
    owner = await factory.owner()
    async with admin.transaction():
        await admin.execute("select set_config('app.actor', $1, true)", actor)
        await admin.execute("set local role tradewise_owner")
        await admin.execute("reset role")
        await admin.execute("update tenants set name = 'mine now' where id = $1", owner.tenant_id)
    told = (await events(admin, owner.tenant_id))[-1]
    assert (told["action"], told["actor_kind"], told["actor_id"]) == ("tenant.changed", "role", "postgres")
    assert told["changes"]["name"]["after"] == "mine now"


VERBS: list[tuple[str, list[str]]] = [
    ("update bots set desired = 'stopped', generation = generation + 1", ["bot.stopped"]),
    ("update bots set desired = 'running', generation = 9 where desired = 'running'", ["bot.restarted"]),
    ("update bots set desired = 'stopped', deleted_at = now()", ["bot.deleted"]),
    ("update bots set ping_requested_at = now()", []),
    ("update bots set status = 'error', reason = 'x', observed_generation = 5", []),
    ("update bots set name = name", []),
    ("update bots set image = 'evil'", ["bot.changed"]),
    ("delete from bot_secrets", ["bot.credentials_removed"]),
    ("update bot_secrets set sealed = 'x'", ["bot.changed"]),
    ("delete from bots", ["bot.deleted", "bot.credentials_removed"]),
    ("update memberships set role = 'viewer'", ["member.role_changed"]),
    ("delete from memberships", ["member.removed"]),
    ("update tenants set status = 'suspended'", ["tenant.suspended"]),
    ("truncate subscription_ledger", []),
]


@pytest.mark.parametrize(("change", "told"), VERBS)
async def test_a_change_is_called_what_it_was(
    admin: asyncpg.Connection, factory: Factory, change: str, told: list[str]
) -> None:
    owner = await factory.owner()
    await factory.bot(owner, credentials={"token": "a-token-of-sixteen-or-more"})
    before = await actions(admin, owner.tenant_id)
    assert before == ["tenant.created", "member.added", "bot.created", "bot.credentials_set"]
    await admin.execute(change)
    assert (await actions(admin, owner.tenant_id))[len(before) :] == told
    assert await fault(admin, owner.tenant_id) is None


async def test_an_emptied_table_is_told_in_the_platforms_chain(admin: asyncpg.Connection, factory: Factory) -> None:
    await factory.owner()
    await admin.execute("truncate subscription_ledger")
    platform = await admin.fetchval("select id from installation")
    told = (await events(admin, platform))[-1]
    assert (told["action"], told["detail"]) == ("table.emptied", {"table": "subscription_ledger"})


async def test_a_row_moved_to_another_tenant_is_told_in_both_chains(
    admin: asyncpg.Connection, factory: Factory
) -> None:
    ada, bob = await factory.owner("Ada"), await factory.owner("Bob")
    bot = uuid7()
    await admin.execute(
        "insert into bots (id, tenant_id, bot_type, engine, name) values ($1, $2, 'platform', 'tradewise', 'x')",
        bot,
        ada.tenant_id,
    )
    await admin.execute("update bots set tenant_id = $2 where id = $1", bot, bob.tenant_id)
    for owner in (ada, bob):
        assert (await actions(admin, owner.tenant_id))[-1] == "bot.moved"
        assert await fault(admin, owner.tenant_id) is None


async def test_agents_updates_write_nothing_and_their_notes_do(
    urls: Urls, admin: asyncpg.Connection, factory: Factory
) -> None:
    owner = await factory.owner()
    bot = await factory.bot(owner, bot_type="platform", credentials={"token": "a-token-of-sixteen-or-more"})
    before = await events(admin, owner.tenant_id)
    launcher = await asyncpg.connect(urls["agent_launcher"])
    await launcher.execute("update bots set status = 'running', reason = null, observed_generation = 1")
    await launcher.execute(
        "insert into bot_instances (id, tenant_id, bot_id, generation, runtime, image)"
        " values ($1, $2, $3, 1, 'x', 'x')",
        uuid7(),
        owner.tenant_id,
        bot,
    )
    assert await events(admin, owner.tenant_id) == before
    note = "select audit_agent_note_once($1, 'secret.open_failed', 'bot', $2, $3::jsonb)"
    for row in ("a", "a", "b", "b"):
        await launcher.execute(note, owner.tenant_id, bot, json.dumps({"row": row}))
    await launcher.execute("select audit_agent_note(null, 'keys.rotated', null, null, null)")
    await launcher.close()
    told = (await events(admin, owner.tenant_id))[len(before) :]
    assert [(item["action"], item["detail"]["row"], item["outcome"]) for item in told] == [
        ("secret.open_failed", "a", "failure"),
        ("secret.open_failed", "b", "failure"),
    ]
    assert {(item["actor_kind"], item["actor_id"]) for item in told} == {("agent", "launcher")}
    platform = (await events(admin, await admin.fetchval("select id from installation")))[-1]
    assert (platform["action"], platform["actor_id"]) == ("keys.rotated", "launcher")


async def test_what_a_person_does_is_told_in_each_of_their_tenants_and_of_a_stranger_nothing(
    web: asyncpg.Connection, admin: asyncpg.Connection, factory: Factory
) -> None:
    ada, bob, gone = await factory.owner("Ada"), await factory.owner("Bob"), await factory.owner("Gone")
    for tenant in (bob.tenant_id, gone.tenant_id):
        await admin.execute(
            "insert into memberships (id, tenant_id, user_id, role) values ($1, $2, $3, 'viewer')",
            uuid7(),
            tenant,
            ada.user_id,
        )
    await admin.execute("update tenants set status = 'suspended' where id = $1", gone.tenant_id)
    everything = await admin.fetchval("select count(*) from audit_events")
    for person in (uuid7(), None):
        answer = await web.fetchval("select audit_person_note($1, 'user.sign_in_failed', '{}')", person)
        assert answer in {"", None}
    assert await admin.fetchval("select count(*) from audit_events") == everything
    async with web.transaction():
        await web.execute("select set_config('app.address', '192.0.2.9', true)")
        for action in ("user.signed_in", "user.sign_in_failed"):
            await web.execute("select audit_person_note($1, $2, '{}')", ada.user_id, action)
    for tenant in (ada.tenant_id, bob.tenant_id):
        signed_in, failed = (await events(admin, tenant))[-2:]
        assert (signed_in["actor_kind"], signed_in["user_id"]) == ("user", ada.user_id)
        # Whoever fails to sign in has not shown to be that person.
        assert (failed["actor_kind"], failed["user_id"], failed["outcome"]) == ("role", None, "failure")
        assert (failed["resource"], failed["resource_id"], str(failed["address"])) == ("user", ada.user_id, "192.0.2.9")
    assert (await actions(admin, gone.tenant_id))[-1] == "tenant.suspended"


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({}, "bound to a tenant"),
        ({"app.tenant_id": ""}, "bound to a tenant"),
        ({"app.tenant_id": str(uuid7())}, "bound to a tenant"),
        ({"app.tenant_id": "garbage"}, "invalid input syntax"),
    ],
)
async def test_a_note_outside_of_a_tenant_is_refused(
    web: asyncpg.Connection, settings: dict[str, str], error: str
) -> None:
    async with web.transaction():
        for name, value in settings.items():
            await web.execute("select set_config($1, $2, true)", name, value)
        with pytest.raises(asyncpg.PostgresError, match=error):
            async with web.transaction():
                await web.execute("select audit_note('a.b', null, null, '{}')")


@pytest.mark.parametrize("action", ["", "told", "Bot.Created", "bot.", "bot created", "bot.x\nERROR"])
async def test_an_action_is_a_subject_and_a_verb(web: asyncpg.Connection, factory: Factory, action: str) -> None:
    owner = await factory.owner()
    with pytest.raises(asyncpg.InvalidParameterValueError, match=r"subject\.verbed"):
        await tell(web, owner, action=action)


async def test_no_secret_of_any_request_enters_the_log(api: Api, admin: asyncpg.Connection) -> None:
    person, planted = await plant(api)
    told = await events(admin, person.tenant_id)
    text = "\n".join(str(event) for event in told)
    assert {"bot.credentials_set", "bot.config_set", "template.version_added", "key.created"} <= {
        event["action"] for event in told
    }
    assert found_in(text, planted) == []
    stored: list[Any] = [
        *await admin.fetch("select sealed from bot_secrets"),
        *await admin.fetch("select config_sealed from template_versions"),
        *await admin.fetch("select key_hash from api_keys"),
        *await admin.fetch("select config_digest from template_versions"),
        *await admin.fetch("select token_hash from sessions"),
        *await admin.fetch("select convert_to(password_hash, 'UTF8') from users"),
    ]
    assert len(stored) > 8
    for (value,) in stored:
        assert (value.hex() if isinstance(value, bytes) else value)[:24] not in text
    assert await admin.fetchval("select count(*) from audit_pending") == 0


async def test_a_swapped_digest_is_told_as_changed_and_no_more(api: Api, admin: asyncpg.Connection) -> None:
    person = await api.person()
    key = await person.call("POST", "/api-keys", json={"name": "k", "scopes": ["bots:read"]}, status=201)
    await admin.execute("update api_keys set key_hash = sha256('mine')")
    told = (await events(admin, person.tenant_id))[-1]
    assert (told["action"], told["resource_id"]) == ("key.changed", UUID(key["id"]))
    assert told["changes"] == {"key_hash": "changed"}
    await person.call("DELETE", f"/api-keys/{key['id']}", status=204)
    assert (await actions(admin, person.tenant_id))[-1] == "key.revoked"


async def test_the_log_outlives_its_tenant(admin: asyncpg.Connection, factory: Factory) -> None:
    owner = await factory.owner()
    before = await actions(admin, owner.tenant_id)
    await admin.execute("delete from tenants where id = $1", owner.tenant_id)
    assert (await actions(admin, owner.tenant_id))[: len(before)] == before
    assert set((await actions(admin, owner.tenant_id))[len(before) :]) == {"tenant.deleted", "member.removed"}
    assert await fault(admin, owner.tenant_id) is None
