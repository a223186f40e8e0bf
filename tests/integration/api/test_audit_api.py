"""The audit log over HTTP: whose it is, what may be asked of it, and what a change answers that cannot be told."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from tests.api import Api, Person
from tests.audit import actions, tampering
from tests.world import external_body, template_body


async def busy(api: Api) -> Person:
    """Somebody who has done a few things."""
    person = await api.person()
    made = await person.call("POST", "/bots", json=external_body(), status=201)
    await person.call("PATCH", f"/bots/{made['id']}", json={"name": "renamed"}, status=200)
    await person.call("POST", "/templates", json=template_body(), status=201)
    await person.call("DELETE", f"/bots/{made['id']}", status=204)
    return person


async def listed(person: Person, **query: Any) -> list[dict[str, Any]]:
    page = await person.call("GET", "/audit", params=query, status=200)
    items: list[dict[str, Any]] = page["items"]
    return items


async def test_what_was_done_is_told_newest_first(api: Api) -> None:
    person = await busy(api)
    told = await listed(person)
    assert [item["seq"] for item in told] == list(range(len(told), 0, -1))
    names = [item["action"] for item in told][::-1]
    assert names[:3] == ["tenant.created", "member.added", "session.opened"]
    assert [name for name in names if name.startswith("bot.")] == [
        "bot.created",
        "bot.credentials_set",
        "bot.changed",
        "bot.deleted",
        "bot.credentials_removed",
    ]
    [renamed] = [item for item in told if item["action"] == "bot.changed"]
    assert renamed["changes"] == {"name": {"before": "elsewhere", "after": "renamed"}}
    assert renamed["actor"] == {"kind": "user", "id": str(person.user_id), "user_id": str(person.user_id)}
    assert renamed["request_id"] is not None
    assert told[0]["prev_hash"] == told[1]["hash"]


async def test_pages_end_where_the_next_begins(api: Api) -> None:
    person = await busy(api)
    everything = await listed(person, limit=200)
    found, cursor = [], None
    while True:
        query = {"limit": 2, **({"cursor": cursor} if cursor else {})}
        page = await person.call("GET", "/audit", params=query, status=200)
        assert len(page["items"]) <= 2
        found += page["items"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == everything


async def test_filters(api: Api) -> None:
    person = await busy(api)
    everything = await listed(person)
    [bot] = {item["resource_id"] for item in everything if item["resource"] == "bot"}
    middle = everything[3]

    def those(**fields: Any) -> list[int]:
        return [item["seq"] for item in everything if all(item[name] == value for name, value in fields.items())]

    for query, expected in (
        ({"action": "bot.created"}, those(action="bot.created")),
        ({"action": "bot.*"}, those(resource="bot")),
        ({"action": "b%.*"}, []),
        ({"action": "bot"}, []),
        ({"resource": "template"}, those(resource="template")),
        ({"resource": f"bot:{bot}"}, those(resource_id=bot)),
        ({"resource": "bot:garbage"}, []),
        ({"actor": "user"}, [item["seq"] for item in everything if item["actor"]["kind"] == "user"]),
        ({"actor": f"user:{person.user_id}", "action": "bot.deleted"}, those(action="bot.deleted")),
        ({"actor": f"user:{bot}"}, []),
        ({"from": middle["at"]}, [item["seq"] for item in everything if item["seq"] >= middle["seq"]]),
        ({"to": middle["at"]}, [item["seq"] for item in everything if item["seq"] < middle["seq"]]),
    ):
        assert [item["seq"] for item in await listed(person, **query)] == expected, query


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"actor": "somebody"}, "actor"),
        ({"from": "2026-01-01T00:00:00"}, "from"),
        ({"to": "yesterday"}, "to"),
        ({"cursor": "garbage"}, "cursor"),
        ({"cursor": "IzE5OTk5OTk5OTk5OTk5OTk5OTk5OTk5"}, "cursor"),
        ({"limit": 0}, "limit"),
    ],
)
async def test_a_question_that_cannot_be_read_names_the_field(api: Api, query: dict[str, Any], field: str) -> None:
    person = await api.person()
    problem = await person.call("GET", "/audit", params=query, status=400)
    assert field in problem["detail"] or problem["errors"][0]["field"] == field


async def test_each_tenant_reads_its_own_log(api: Api) -> None:
    ada, bob = await busy(api), await api.person("bob")
    assert [item["action"] for item in await listed(bob)] == ["session.opened", "member.added", "tenant.created"]
    [bot] = {item["resource_id"] for item in await listed(ada) if item["resource"] == "bot"}
    assert await listed(bob, resource=f"bot:{bot}") == []


async def test_verification_tells_the_first_fault(api: Api, admin: asyncpg.Connection) -> None:
    person = await busy(api)
    assert await api.scheduler.sign_heads() >= 1
    verdict = await person.call("GET", "/audit/verify", status=200)
    told = await listed(person)
    assert (verdict["ok"], verdict["fault"], verdict["checkpoints"]) == (True, None, 1)
    assert (verdict["events"], verdict["first_seq"], verdict["last_seq"]) == (len(told), 1, len(told))
    assert verdict["head_hash"] == told[0]["hash"]
    async with tampering(admin):
        await admin.execute("update audit_checkpoints set signature = sha256('x')")
    verdict = await person.call("GET", "/audit/verify", status=200)
    assert (verdict["ok"], verdict["fault"]["kind"]) == (False, "signature_invalid")
    async with tampering(admin):
        await admin.execute(
            "update audit_events set outcome = 'denied' where tenant_id = $1 and seq = 4", person.tenant_id
        )
    verdict = await person.call("GET", "/audit/verify", status=200)
    assert (verdict["ok"], verdict["fault"]["seq"], verdict["fault"]["kind"]) == (False, 4, "altered")


async def make_bot(person: Person, status: int) -> dict[str, Any]:
    body = {"bot_type": "platform", "engine": "tradewise", "name": "ours"}
    answer: dict[str, Any] = await person.call("POST", "/bots", json=body, status=status)
    return answer


async def test_a_change_that_finds_no_place_in_the_log_is_not_made(api: Api, admin: asyncpg.Connection) -> None:
    """COMMIT fails: the answer says so without a word of the database, and nothing was done."""
    person = await api.person()
    await admin.execute(
        "create function fault() returns trigger language plpgsql as $$ begin raise exception 'secret words'; end $$;"
        "create constraint trigger fault after insert on audit_pending deferrable initially deferred"
        " for each row execute function fault()"
    )
    problem = await make_bot(person, 500)
    assert problem["code"] == "internal"
    assert "secret words" not in str(problem)
    assert await actions(admin, person.tenant_id) == ["tenant.created", "member.added", "session.opened"]
    await admin.execute("drop trigger fault on audit_pending")
    month = await admin.fetchval("select 'audit_events_' || to_char(now() at time zone 'utc', 'YYYY_MM')")
    await admin.execute(f"alter table audit_events detach partition {month}")
    problem = await make_bot(person, 503)
    assert problem["code"] == "database_unavailable"
    assert "audit" not in str(problem)
    assert await person.call("GET", "/bots") == {"items": [], "next_cursor": None}


@pytest.fixture
async def impatient(admin: asyncpg.Connection) -> None:
    """The web tier waits briefly for a row that somebody holds. What is said of a role counts from its next session."""
    name = await admin.fetchval("select current_database()")
    await admin.execute(f"alter role tradewise_api in database {name} set lock_timeout = '200ms'")


@pytest.mark.usefixtures("impatient")
async def test_a_head_that_is_held_too_long_answers_try_again(api: Api, admin: asyncpg.Connection) -> None:
    person = await api.person()
    async with admin.transaction():
        await admin.execute("select from audit_chains where tenant_id = $1 for update", person.tenant_id)
        assert (await make_bot(person, 503))["code"] == "database_unavailable"
    before = await actions(admin, person.tenant_id)
    assert before == ["tenant.created", "member.added", "session.opened"]
    await make_bot(person, 201)
    assert len(await actions(admin, person.tenant_id)) > len(before)
