"""Families by the API: what is told of them, and that each is registered by its own shapes and no others."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from jsonschema import Draft202012Validator

from control_plane.engines.configs import decode_config
from control_plane.engines.http import HttpConfig
from control_plane.engines.registry import FAMILIES
from tests.api import Api, Person

DOCUMENT = Path(__file__).parents[3] / "docs" / "engines.md"
PLANTED = "planted-s3cret"
USER = {"username": "ada", "password": PLANTED}
DECLARED: dict[str, Any] = {
    "calls": {"state": "/state"},
    "fields": {"equity": {"path": "account.total"}, "currency": {"value": "USDT"}},
    "auth": "header",
    "header": "X-Api-Key",
}
#: A registration of each family that only runs elsewhere.
FITTING: dict[str, dict[str, Any]] = {
    "hummingbot": {"credentials": USER, "engine_config": {"bot_name": "alpha"}},
    "octobot": {"credentials": {}, "engine_config": {"mode": "classic"}},
    "http": {"credentials": {"token": PLANTED}, "engine_config": DECLARED},
}


def registration(engine: str, **changes: Any) -> dict[str, Any]:
    """The body of a bot of ``engine``."""
    return {"bot_type": "external", "engine": engine, "name": "elsewhere", "api_url": "http://127.0.0.1:8000",
            **FITTING[engine], **changes}  # fmt: skip


async def test_every_family_tells_what_it_takes(api: Api) -> None:
    ada = await api.person()
    engines = {item["name"]: item for item in (await ada.call("GET", "/engines"))["items"]}
    assert set(engines) == set(FAMILIES)
    for engine in engines.values():
        for schema in filter(None, (engine["credentials_schema"], engine["config_schema"])):
            Draft202012Validator.check_schema(schema)
        assert engine["provenance"]
    assert engines["freqtrade"]["actions"] == ["pause", "start", "stop"]
    assert (engines["hummingbot"]["actions"], engines["hummingbot"]["hosted"]) == (["start", "stop"], False)
    assert engines["tradewise"]["config_schema"] is None
    for name, body in FITTING.items():
        Draft202012Validator(engines[name]["config_schema"]).validate(body["engine_config"])
        assert not Draft202012Validator(engines[name]["config_schema"]).is_valid({"surplus": 1})


async def test_each_family_is_registered_and_shows_its_configuration(
    api: Api, admin: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    ada = await api.person()
    for number, engine in enumerate(FITTING):
        with subtests.test(engine):
            body = registration(engine, api_url=f"http://127.0.0.1:{8000 + number}")
            bot = await ada.call("POST", "/bots", json=body, status=201)
            assert (await ada.call("GET", f"/bots/{bot['id']}")) == bot
            stored = await admin.fetchval("select engine_config::text from bots where id = $1", bot["id"])
            assert json.loads(stored) == bot["engine_config"]
            assert PLANTED not in json.dumps(bot)
    assert bot["engine_config"] == DECLARED


BAD: list[tuple[str, dict[str, Any], str, str]] = [
    ("hummingbot", {"engine_config": None}, "engine_config.bot_name", "engine_config_invalid"),
    ("hummingbot", {"engine_config": {}}, "engine_config.bot_name", "engine_config_invalid"),
    ("hummingbot", {"engine_config": {"bot_name": "a/b"}}, "engine_config.bot_name", "engine_config_invalid"),
    ("hummingbot", {"engine_config": {"bot_name": ".."}}, "engine_config.bot_name", "engine_config_invalid"),
    ("hummingbot", {"engine_config": {"bot_name": "a", "x": 1}}, "engine_config.x", "engine_config_invalid"),
    ("hummingbot", {"engine_config": {"bot_name": "a", "capital": "-1"}}, "engine_config.capital",
     "engine_config_invalid"),
    ("hummingbot", {"credentials": {"token": PLANTED}}, "credentials.token", "credentials_invalid"),
    ("octobot", {"engine_config": {"mode": "cloud"}}, "engine_config.mode", "engine_config_invalid"),
    ("octobot", {"engine_config": {"mode": "node"}}, "credentials.username", "credentials_invalid"),
    ("octobot", {"credentials": USER}, "credentials.username", "credentials_invalid"),
    ("http", {"engine_config": {**DECLARED, "calls": {}}}, "engine_config.calls", "engine_config_invalid"),
    ("http", {"engine_config": {**DECLARED, "calls": {"a": "state"}}}, "engine_config.calls", "engine_config_invalid"),
    ("http", {"engine_config": {**DECLARED, "calls": {"a": "/../x"}}}, "engine_config.calls.a",
     "engine_config_invalid"),
    ("http", {"engine_config": {**DECLARED, "calls": {"a": f"/x?api_key={PLANTED}"}}}, "engine_config.calls.a",
     "engine_config_invalid"),
    ("http", {"engine_config": {**DECLARED, "header": "Host"}}, "engine_config.header", "engine_config_invalid"),
    ("http", {"engine_config": {**DECLARED, "first": "money"}}, "engine_config.first", "engine_config_invalid"),
    ("http", {"engine_config": {**DECLARED, "fields": {}}}, "engine_config.fields", "engine_config_invalid"),
    ("http", {"engine_config": {**DECLARED, "fields": {"equity": {"path": "a..b"}, "currency": {"value": "X"}}}},
     "engine_config.fields.equity.path", "engine_config_invalid"),
    ("http", {"engine_config": {**DECLARED, "fields": {"equity": {"path": "a"}}}}, "engine_config.fields.currency",
     "engine_config_invalid"),
    ("http", {"engine_config": {**DECLARED, "fields": {"equty": {"path": "a"}}}}, "engine_config.fields.equty",
     "engine_config_invalid"),
    ("http", {"engine_config": {**DECLARED, "fields": {"version": {"path": "a", "call": "b"}}}},
     "engine_config.fields.version.call", "engine_config_invalid"),
    ("http", {"engine_config": {**DECLARED, "fields": {"win_rate": {"path": "a", "scale": "0"}}}},
     "engine_config.fields.win_rate.scale", "engine_config_invalid"),
    ("http", {"engine_config": {**DECLARED, "x": "y" * 20_000}}, "engine_config", "engine_config_invalid"),
    ("http", {"credentials": {}}, "credentials.token", "credentials_invalid"),
    ("http", {"credentials": {"token": PLANTED, "password": PLANTED}}, "credentials.password", "credentials_invalid"),
]  # fmt: skip


async def test_what_does_not_fit_is_named_with_what_to_do(
    api: Api, admin: asyncpg.Connection, subtests: pytest.Subtests
) -> None:
    ada = await api.person()
    for engine, change, field, code in BAD:
        with subtests.test(f"{engine} {field}"):
            problem = await ada.call("POST", "/bots", json=registration(engine, **change), status=422)
            assert (problem["code"], [item["field"] for item in problem["errors"]]) == (code, [field])
            assert problem["errors"][0]["message"]
            assert PLANTED not in json.dumps(problem)
    for engine in ("tradewise", "freqtrade"):
        body = {"bot_type": "platform", "engine": engine, "name": "ours", "engine_config": {}}
        problem = await ada.call("POST", "/bots", json=body, status=422)
        assert [item["field"] for item in problem["errors"]] == ["engine_config"]
    body = {**registration("hummingbot"), "engine": "freqtrade"}
    assert "leave it out" in (await ada.call("POST", "/bots", json=body, status=422))["detail"]
    assert await admin.fetchval("select count(*) from bots") == 0


async def hummingbot(person: Person, name: str, **config: str) -> dict[str, Any]:
    body = registration("hummingbot", engine_config={"bot_name": name, **config})
    made: dict[str, Any] = await person.call("POST", "/bots", json=body)
    return made


async def test_one_api_has_many_bots_and_each_is_registered_once(api: Api) -> None:
    ada = await api.person()
    first = await hummingbot(ada, "alpha")
    second = await hummingbot(ada, "beta")
    part = await hummingbot(ada, "alpha", controller_id="maker")
    assert len({first["id"], second["id"], part["id"]}) == 3
    assert (await hummingbot(ada, "alpha", currency="USDT"))["code"] == "api_url_taken"
    change = {"engine_config": {"bot_name": "alpha"}}
    taken = await ada.call("PATCH", f"/bots/{second['id']}", json=change, status=409)
    assert taken["code"] == "api_url_taken"
    assert (await ada.call("GET", f"/bots/{second['id']}"))["engine_config"] == {"bot_name": "beta"}


async def test_another_configuration_is_taken_up_and_the_same_one_changes_nothing(
    api: Api, admin: asyncpg.Connection
) -> None:
    ada = await api.person()
    bot = await hummingbot(ada, "alpha")
    at = f"/bots/{bot['id']}"

    async def generation() -> Any:
        return await admin.fetchval("select generation from bots where id = $1", bot["id"])

    assert await generation() == 1
    await ada.call("PATCH", at, json={"engine_config": {"bot_name": "alpha"}})
    assert await generation() == 1
    new = {"bot_name": "gamma", "capital": "1000.5", "currency": "USDT"}
    assert (await ada.call("PATCH", at, json={"engine_config": new}))["engine_config"] == new
    assert await generation() == 2
    assert await admin.fetchval("select api_part from bots where id = $1", bot["id"]) == "gamma"
    problem = await ada.call("PATCH", at, json={"engine_config": {"bot_name": 7}}, status=422)
    assert [item["field"] for item in problem["errors"]] == ["engine_config.bot_name"]
    ours = {"bot_type": "platform", "engine": "tradewise", "name": "ours"}
    hosted = await ada.call("POST", "/bots", json=ours, status=201)
    assert hosted["engine_config"] is None
    await ada.call("PATCH", f"/bots/{hosted['id']}", json={"engine_config": {}}, status=422)


def sample() -> dict[str, Any]:
    """The declaration in docs/engines.md."""
    found = re.search(r"<!-- engine_config: http -->\n```json\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert found
    declared: dict[str, Any] = json.loads(found[1])
    return declared


async def test_which_call_is_the_first_outlasts_a_column_that_keeps_no_order(
    api: Api, admin: asyncpg.Connection
) -> None:
    ada, declared = await api.person(), sample()
    bot = await ada.call("POST", "/bots", json=registration("http", engine_config=declared), status=201)
    at, shown = f"/bots/{bot['id']}", bot["engine_config"]
    # Otherwise this shows nothing: as it is kept, another one comes first.
    assert next(iter(declared["calls"])) == "strategy" != next(iter(shown["calls"]))
    assert shown["first"] == "strategy"
    pathed = {name: field for name, field in shown["fields"].items() if "path" in field}
    for name, field in pathed.items():
        assert field["call"] == declared["fields"][name].get("call", "strategy")
    stored = await admin.fetchval("select engine_config::text from bots where id = $1", bot["id"])
    config = decode_config(FAMILIES["http"], stored)
    assert isinstance(config, HttpConfig)
    assert (config.leading, config) == ("strategy", decode_config(FAMILIES["http"], declared))

    async def generation_after(change: dict[str, Any]) -> Any:
        await ada.call("PATCH", at, json={"engine_config": change})
        return await admin.fetchval("select generation from bots where id = $1", bot["id"])

    # What is shown, and what was sent, are the same as what is kept; another first call is not.
    assert [await generation_after(same) for same in (shown, declared)] == [1, 1]
    swapped = declared | {"calls": dict(reversed(declared["calls"].items()))}
    assert await generation_after(swapped) == 2
    assert (await ada.call("GET", at))["engine_config"]["first"] == "account"
    # One that was kept before there was a word for it is mended by sending it again.
    await admin.execute("update bots set engine_config = $2 where id = $1", bot["id"], json.dumps(declared))
    assert await generation_after(declared) == 3
    assert (await ada.call("GET", at))["engine_config"] == shown
    twin = await ada.call("POST", "/bots", json=registration("http", engine_config=declared), status=409)
    assert twin["code"] == "api_url_taken"


async def test_another_kind_of_credential_comes_with_the_configuration_that_wants_it(api: Api) -> None:
    ada = await api.person()
    bot = await ada.call("POST", "/bots", json=registration("octobot"), status=201)
    at, node = f"/bots/{bot['id']}", {"mode": "node"}
    problem = await ada.call("PATCH", at, json={"engine_config": node}, status=422)
    assert problem["code"] == "credentials_required"
    problem = await ada.call("PATCH", at, json={"credentials": USER}, status=422)
    assert [item["field"] for item in problem["errors"]] == ["credentials.username"]
    changed = await ada.call("PATCH", at, json={"credentials": USER, "engine_config": node})
    assert changed["engine_config"] == node
