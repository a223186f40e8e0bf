"""What people say of a bot's stop over HTTP: what becomes of its positions, and which stop must not wait."""

from __future__ import annotations

from uuid import UUID

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from tests.api import Api, Person
from tests.integration.api.test_bots_api import FREQTRADE, HOSTED, bot_of, events
from tests.world import template_body

STOP = "/stop?force=true"


async def hosted(person: Person, **more: object) -> str:
    found: str = (await bot_of(person, {**HOSTED, **more}))["id"]
    return found


async def running(admin: asyncpg.Connection, bot: str, state: str = "running") -> None:
    """As if a launcher had made a copy of the bot."""
    await admin.execute(
        "insert into bot_instances (id, tenant_id, bot_id, generation, runtime, image, state)"
        " select $2, tenant_id, id, 1, 'docker', 'x', $3 from bots where id = $1",
        UUID(bot),
        uuid7(),
        state,
    )
    await admin.execute("update bots set status = 'running', observed_generation = generation where id = $1", UUID(bot))


async def row(admin: asyncpg.Connection, bot: str) -> asyncpg.Record:
    return await admin.fetchrow("select * from bots where id = $1", UUID(bot))


async def test_positions_are_kept_unless_the_owner_says_otherwise(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    bot = await hosted(ada)
    assert (await ada.call("GET", f"/bots/{bot}"))["on_stop"] == "keep"
    generation = (await row(admin, bot))["generation"]
    changed = await ada.call("PATCH", f"/bots/{bot}", json={"on_stop": "close"}, status=200)
    assert changed["on_stop"] == "close"
    # Nothing that runs is touched by it: it counts at the next stop.
    assert (await row(admin, bot))["generation"] == generation
    assert ("changed", "person", "on_stop") in await events(ada, bot)
    assert (await bot_of(ada, {**HOSTED, "on_stop": "close"}))["on_stop"] == "close"


@pytest.mark.parametrize("value", ["sell", "", None, 1])
async def test_another_wish_is_refused(api: Api, value: object) -> None:
    ada = await api.person()
    bot = await hosted(ada)
    problem = await ada.call("PATCH", f"/bots/{bot}", json={"on_stop": value}, status=400)
    assert "on_stop" in str(problem)


async def test_a_bot_that_runs_elsewhere_is_stopped_elsewhere(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    problem = await ada.call("POST", "/bots", json={**FREQTRADE, "on_stop": "close"}, status=422)
    assert "on_stop" in str(problem)
    bot = (await bot_of(ada, FREQTRADE))["id"]
    assert "on_stop" in str(await ada.call("PATCH", f"/bots/{bot}", json={"on_stop": "close"}, status=422))
    await ada.call("POST", f"/bots/{bot}{STOP}", status=202)
    assert (await row(admin, bot))["desired"] == "stopped"


async def test_only_who_says_so_ends_a_bot_at_once(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    bot = await hosted(ada)
    await ada.call("POST", f"/bots/{bot}/start", status=202)
    await running(admin, bot)
    await ada.call("POST", f"/bots/{bot}/stop", status=202)
    first = await row(admin, bot)
    assert first["forced_generation"] is None
    # A client that repeats itself is in no hurry.
    await ada.call("POST", f"/bots/{bot}/stop", status=202)
    assert (await row(admin, bot))["generation"] == first["generation"]
    await ada.call("POST", f"/bots/{bot}{STOP}", status=202)
    second = await row(admin, bot)
    assert (second["desired"], second["forced_generation"]) == ("stopped", second["generation"])
    assert second["generation"] == first["generation"] + 1
    assert [event for event in await events(ada, bot) if event[0] == "stop"] == [
        ("stop", "person", None),
        ("stop", "person", "force"),
    ]
    # The next wish is no emergency.
    await ada.call("POST", f"/bots/{bot}/start", status=202)
    assert (await row(admin, bot))["forced_generation"] is None


async def test_a_restart_and_a_removal_can_be_at_once_as_well(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    bot = await hosted(ada)
    await ada.call("POST", f"/bots/{bot}/start", status=202)
    await running(admin, bot)
    await ada.call("POST", f"/bots/{bot}/restart?force=true", status=202)
    found = await row(admin, bot)
    assert (found["desired"], found["forced_generation"]) == ("running", found["generation"])
    await ada.call("DELETE", f"/bots/{bot}?force=true", status=204)
    found = await row(admin, bot)
    assert (found["desired"], found["forced_generation"]) == ("stopped", found["generation"])


async def test_a_bot_at_rest_is_not_stopped_again(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    bot = await hosted(ada)
    before = await row(admin, bot)
    await ada.call("POST", f"/bots/{bot}{STOP}", status=202)
    assert (await row(admin, bot))["generation"] == before["generation"]


@pytest.mark.parametrize(
    ("state", "kept"), [("running", ["credentials"]), ("creating", []), ("exited", []), (None, [])]
)
async def test_the_credentials_of_a_bot_that_trades_stay_until_it_is_drained(
    api: Api, admin: asyncpg.Connection, state: str | None, kept: list[str]
) -> None:
    ada = await api.person()
    bot = await hosted(ada)
    if state is not None:
        await running(admin, bot, state)
    await ada.call("DELETE", f"/bots/{bot}", status=204)
    rows = await admin.fetch("select kind from bot_secrets where bot_id = $1", UUID(bot))
    assert [row["kind"] for row in rows] == kept
    await ada.call("GET", f"/bots/{bot}", status=404)


@pytest.mark.parametrize(
    ("status", "said", "shown"),
    [
        ("inactive", True, True),
        ("inactive", False, False),
        ("inactive", None, None),
        ("error", True, True),
        ("running", True, None),
        ("stopping", False, None),
    ],
)
async def test_what_was_not_confirmed_is_shown_of_a_bot_that_has_ended(
    api: Api, admin: asyncpg.Connection, status: str, said: bool | None, shown: bool | None
) -> None:
    ada = await api.person()
    bot = await hosted(ada)
    await admin.execute("update bots set status = $2, orders_unconfirmed = $3 where id = $1", UUID(bot), status, said)
    await admin.execute("update bots set observed_generation = generation where id = $1", UUID(bot))
    assert (await ada.call("GET", f"/bots/{bot}"))["orders_unconfirmed"] is shown


async def test_a_template_says_what_names_the_account(api: Api, admin: asyncpg.Connection) -> None:
    ada = await api.person()
    made = await ada.call("POST", "/templates", json=template_body(account_field="exchange.key"), status=201)
    assert made["version"]["account_field"] == "exchange.key"
    version: dict[str, object] = {"parameters": {}, "config": {}}
    path = f"/templates/{made['id']}"
    assert (await ada.call("POST", f"{path}/versions", json=version, status=201))["version"]["account_field"] is None
    again = await ada.call("POST", f"{path}/versions", json={**version, "account_field": "key"}, status=201)
    assert again["version"]["account_field"] == "key"
    stored = await admin.fetch("select account_field from template_versions order by version")
    assert [row["account_field"] for row in stored] == ["exchange.key", None, "key"]


@pytest.mark.parametrize("path", ["", ".", "exchange.", ".key", "a..b", "a b", "a\n", "$['key']", "x" * 121])
async def test_a_path_that_names_nothing_is_refused(api: Api, path: str) -> None:
    ada = await api.person()
    problem = await ada.call("POST", "/templates", json=template_body(account_field=path), status=400)
    assert "account_field" in str(problem)
