"""What a hosted freqtrade bot is handed."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

import pytest

from agents.freqtrade_bot.handover import parse
from agents.launcher.families import FAMILIES
from agents.launcher.freqtrade_document import configuration, document, ready_state
from agents.launcher.handover import Opened, SecretUnreadable, redacted
from agents.launcher.launch import limits_of
from control_plane.bots.freqtrade_config import OURS, plain_words
from control_plane.bots.models import HOSTED_ENGINES
from control_plane.plans import LEAST_MEMORY_BYTES, Plan
from control_plane.security.credentials import FreqtradeCredential, TradewiseCredential

BOT = UUID(int=7)
STRATEGY = "class Eager:\n    planted_threshold = 0.123456\n    x = 1\n"
OWN: dict[str, Any] = {
    "exchange": {"name": "binance", "key": "planted-key", "pair_whitelist": ["BTC/USDT"]},
    "stake_currency": "USDT",
    "strategy": "Eager",
    "strategy_source": STRATEGY,
}
FLOWS = [{"id": "1", "amount": "1000.50", "at": ""}, {"id": "2", "amount": "-200.25", "at": ""}]


def opened(**more: Any) -> Opened:
    fields: dict[str, Any] = {
        "credential": FreqtradeCredential(username="ada", password="planted-password"),
        "template": {},
        "parameters": {},
        "template_config": {},
        "own_config": OWN,
    }
    return Opened(**{**fields, **more})


def test_every_engine_that_may_be_hosted_has_a_family() -> None:
    assert set(FAMILIES) == set(HOSTED_ENGINES)


def test_the_document_is_one_line_that_the_program_in_the_image_takes() -> None:
    written = document(BOT, opened(), [])
    assert written.count(b"\n") == 1
    taken = parse(written)
    assert (taken.bot_id, taken.username, taken.password) == (str(BOT), "ada", "planted-password")
    assert (taken.strategy, taken.strategy_source, taken.port) == ("Eager", STRATEGY, 8080)
    assert "strategy_source" not in taken.config
    assert taken.config["exchange"] == OWN["exchange"]


def test_a_bot_trades_in_simulation_and_at_once_where_nobody_says_otherwise() -> None:
    config = configuration(opened())
    assert (config["dry_run"], config["initial_state"], config["dry_run_wallet"]) == (True, "running", 10_000)
    assert "available_capital" not in config
    assert ready_state(opened()) == "running"
    assert ready_state(opened(own_config={"initial_state": "stopped"})) == "stopped"


@pytest.mark.parametrize(
    ("said", "simulated"), [(False, False), (True, True), (None, True), (0, True), ("false", True), ({}, True)]
)
def test_only_a_plain_false_trades_with_money(said: Any, simulated: bool) -> None:
    config = configuration(opened(own_config={**OWN, "dry_run": said}))
    assert config["dry_run"] is simulated


def test_a_subscribers_money_is_the_capital_and_whatever_the_configuration_says_gives_way() -> None:
    config = configuration(opened(own_config={**OWN, "available_capital": 1_000_000, "dry_run_wallet": 50}), FLOWS)
    assert (config["available_capital"], config["dry_run_wallet"]) == (800.25, 800.25)
    taken_out = [*FLOWS, {"id": "3", "amount": "-900", "at": ""}]
    assert configuration(opened(), taken_out)["available_capital"] == 0
    live = configuration(opened(own_config={**OWN, "dry_run": False}), FLOWS)
    assert (live["available_capital"], "dry_run_wallet" in live) == (800.25, False)


@pytest.mark.parametrize(
    ("wallet", "capital", "expected"),
    [
        (None, 300, 300),
        (5000, 300, 5000),
        (100, 300, 300),
        ({"USDT": 100, "BTC": 1}, 300, {"USDT": 300, "BTC": 1}),
        ({"BTC": 1}, 300, {"BTC": 1, "USDT": 300}),
        (5000, None, 5000),
    ],
)
def test_a_simulated_account_holds_the_capital_at_least(wallet: Any, capital: Any, expected: Any) -> None:
    said = {"dry_run_wallet": wallet, "available_capital": capital}
    own = {**OWN, **{name: value for name, value in said.items() if value is not None}}
    assert configuration(opened(own_config=own))["dry_run_wallet"] == expected


def test_what_is_ours_never_reaches_the_bot_whoever_said_it() -> None:
    said = dict.fromkeys(OURS, "planted")
    config = configuration(opened(parameters=said, template_config=said, own_config={**OWN, **said}))
    assert not set(config) & set(OURS)


def test_the_templates_currency_stands_where_nobody_names_one() -> None:
    own = {name: value for name, value in OWN.items() if name != "stake_currency"}
    assert configuration(opened(template={"currency": "USDC", "strategy": {"type": "grid"}}, own_config=own))[
        "stake_currency"
    ] == ("USDC")


def test_credentials_of_another_family_start_nothing() -> None:
    with pytest.raises(SecretUnreadable):
        document(BOT, opened(credential=TradewiseCredential(token="planted-token")), [])


def test_no_line_of_the_strategy_and_no_key_comes_back_and_freqtrades_own_words_do() -> None:
    words = frozenset(plain_words(OWN, own=True))
    said = [
        "exchange binance with planted-key for ada:planted-password",
        "    planted_threshold = 0.123456",
        "ValueError in Eager, BTC/USDT by StaticPairList, state running",
        json.dumps({"source": STRATEGY}),
    ]
    assert redacted(said, opened(plain_words=words)) == (
        "exchange binance with (redacted) for ada:(redacted)",
        "    (redacted)",
        "ValueError in Eager, BTC/USDT by StaticPairList, state running",
        '{"source": "(redacted)"}',
    )


def test_a_creators_market_and_strategy_stay_theirs() -> None:
    template = {**OWN, "exchange": {"name": "binance", "pair_whitelist": ["PEPE/USDT"]}, "strategy": "SecretSauce"}
    private = opened(template_config=template, own_config={}, plain_words=frozenset(plain_words(template, own=False)))
    assert redacted(["binance PEPE/USDT SecretSauce"], private) == ("binance (redacted) (redacted)",)


def test_a_family_gets_the_memory_that_it_needs_and_no_less_than_its_plan() -> None:
    needed = LEAST_MEMORY_BYTES["freqtrade"]
    assert limits_of(Plan(memory_mib=16), "freqtrade").memory_bytes == needed
    assert limits_of(Plan(memory_mib=2048), "freqtrade").memory_bytes == 2048 * 1024 * 1024 > needed
    assert limits_of(Plan(memory_mib=256), "tradewise").memory_bytes == 256 * 1024 * 1024
