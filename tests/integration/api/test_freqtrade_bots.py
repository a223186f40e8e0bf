"""Hosted freqtrade bots over HTTP: what they must say, what they may not, and what becomes of their credentials."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from agents.agent import make_pool
from agents.secrets import open_bot_secret
from control_plane.security.credentials import FreqtradeCredential, decode_credentials
from control_plane.security.vault import Vault
from tests.api import Api
from tests.factories import Urls
from tests.world import template_body

CONFIG: dict[str, Any] = {
    "exchange": {"name": "binance", "key": "planted-key", "pair_whitelist": ["BTC/USDT"]},
    "stake_currency": "USDT",
    "strategy": "Eager",
    "strategy_source": "class Eager(IStrategy): pass",
}
BOT = {"bot_type": "platform", "engine": "freqtrade", "name": "eager", "config": CONFIG}


async def test_a_bot_gets_credentials_that_nobody_reads(
    api: Api, admin: asyncpg.Connection, urls: Urls, vault: Vault
) -> None:
    ada = await api.person()
    first = await ada.call("POST", "/bots", json=BOT, status=201)
    second = await ada.call("POST", "/bots", json=BOT, status=201)
    assert (first["credentials"]["set"], first["credentials"]["last4"]) == (True, None)
    assert (first["status"], first["engine"], first["api_url"]) == ("inactive", "freqtrade", None)
    assert "planted" not in json.dumps(first)
    pool = await make_pool(urls["agent_launcher"], "launcher", size=1)
    try:
        made = []
        for bot in (first, second):
            secret = await open_bot_secret(pool, vault, ada.tenant_id, UUID(bot["id"]), "credentials")
            assert secret is not None
            credential = decode_credentials("freqtrade", secret.reveal())
            assert isinstance(credential, FreqtradeCredential)
            made.append(credential)
    finally:
        await pool.close()
    assert all(len(credential.password) >= 40 for credential in made)
    assert made[0].password != made[1].password


async def test_given_credentials_guard_a_published_port(api: Api) -> None:
    ada = await api.person()
    short = {**BOT, "credentials": {"username": "ada", "password": "short"}}
    problem = await ada.call("POST", "/bots", json=short, status=422)
    assert [item["field"] for item in problem["errors"]] == ["credentials.password"]
    await ada.call(
        "POST", "/bots", json={**BOT, "credentials": {"username": "ada", "password": "long enough"}}, status=201
    )


async def test_what_cannot_work_or_is_not_theirs_is_told_by_field(api: Api, subtests: pytest.Subtests) -> None:
    ada = await api.person()
    bot = await ada.call("POST", "/bots", json=BOT, status=201)
    for change, code, field in (
        ({"api_server": {"listen_ip_address": "0.0.0.0"}}, "config_not_allowed", "config.api_server"),
        ({"db_url": "sqlite://"}, "config_not_allowed", "config.db_url"),
        ({"add_config_files": ["/etc/passwd"]}, "config_not_allowed", "config.add_config_files"),
        ({"strategy_path": "/"}, "config_not_allowed", "config.strategy_path"),
        ({"exchange": {}}, "config_invalid", "config.exchange.name"),
        ({"strategy_source": "class Other: pass"}, "config_invalid", "config.strategy_source"),
        ({"initial_state": "on"}, "config_invalid", "config.initial_state"),
    ):
        with subtests.test(field):
            wrong = {**CONFIG, **change}
            for method, path, body in (
                ("POST", "/bots", {**BOT, "config": wrong}),
                ("PATCH", f"/bots/{bot['id']}", {"config": wrong}),
            ):
                problem = await ada.call(method, path, json=body, status=422)
                assert (problem["code"], [item["field"] for item in problem["errors"]]) == (code, [field])
                assert "planted" not in json.dumps(problem)
    without = {name: value for name, value in BOT.items() if name != "config"}
    problem = await ada.call("POST", "/bots", json=without, status=422)
    assert [item["field"] for item in problem["errors"]] == ["config"]


async def test_a_configuration_may_be_replaced_by_another_whole_one(api: Api) -> None:
    ada = await api.person()
    bot = await ada.call("POST", "/bots", json=BOT, status=201)
    await ada.call("PATCH", f"/bots/{bot['id']}", json={"config": {**CONFIG, "max_open_trades": 1}}, status=200)


async def test_a_template_says_the_rest(api: Api) -> None:
    ada = await api.person()
    body = template_body(engine="freqtrade", parameters={"max_open_trades": 2}, config=CONFIG, currency="USDT")
    template = await ada.call("POST", "/templates", json=body, status=201)
    bot = {"bot_type": "platform", "engine": "freqtrade", "name": "mine", "template_id": template["id"]}
    made = await ada.call("POST", "/bots", json={**bot, "config": {"exchange": {"key": "mine"}}}, status=201)
    await ada.call("POST", "/bots", json=bot, status=201)
    await ada.call("PATCH", f"/bots/{made['id']}", json={"config": {"available_capital": 100}}, status=200)
    problem = await ada.call("POST", "/bots", json={**bot, "config": {"db_url": "x"}}, status=422)
    assert problem["code"] == "config_not_allowed"


async def test_templates_are_held_to_the_same(api: Api, subtests: pytest.Subtests) -> None:
    ada = await api.person()
    fine = template_body(engine="freqtrade", parameters={}, config=CONFIG, currency="USDT")
    template = await ada.call("POST", "/templates", json=fine, status=201)
    for change, field in (
        ({"parameters": {"api_server": {}}}, "parameters.api_server"),
        ({"config": {**CONFIG, "logfile": "x"}}, "config.logfile"),
        ({"config": {**CONFIG, "stake_currency": "EUR"}}, "config.stake_currency"),
        ({"parameters": {"stake_currency": "EUR"}}, "parameters.stake_currency"),
        ({"config": {name: value for name, value in CONFIG.items() if name != "strategy"}}, "config.strategy"),
    ):
        with subtests.test(field):
            problem = await ada.call("POST", "/templates", json={**fine, **change}, status=422)
            assert [item["field"] for item in problem["errors"]] == [field]
            version = {"parameters": {}, "config": CONFIG, **change}
            path = f"/templates/{template['id']}/versions"
            problem = await ada.call("POST", path, json=version, status=422)
            assert [item["field"] for item in problem["errors"]] == [field]
    # The currency is the template's, and an image may bring the strategy.
    bare = {name: value for name, value in CONFIG.items() if name not in {"stake_currency", "strategy_source"}}
    await ada.call("POST", "/templates", json={**fine, "config": bare, "image": "tradewise/mine:1"}, status=201)
