"""The hand-over document, and what of it may come back."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID

from agents.launcher.handover import Opened, document, redacted
from agents.paper_bot.config import parse
from control_plane.bots.layers import merged
from control_plane.security.credentials import TradewiseCredential

TOKEN = 'tok"en-0123456789abcdef'
BOT = UUID(int=7)
PUBLIC = {"currency": "USDT", "strategy": {"type": "dca", "symbol": "BTC/USDT"}}
PRIVATE = {"strategy": {"amount": "123.4567"}, "market": {"kind": "seeded", "seed": 1, "start_price": "50000.5"}}
FLOW = {"id": "deposit-1", "amount": "1000.00000000", "at": "2026-03-01T12:00:00+00:00"}


def opened(**more: Any) -> Opened:
    fields: dict[str, Any] = {"template": {}, "parameters": PUBLIC, "template_config": PRIVATE, "own_config": {}}
    return Opened(**{"credential": TradewiseCredential(token=TOKEN), **fields, **more})


def test_private_values_win_over_public_ones_and_a_bots_own_over_its_templates() -> None:
    assert merged({"a": 1, "b": {"c": 1, "d": 1}}, {"b": {"c": 2}}, {"b": {"d": 3}, "e": [1]}) == {
        "a": 1,
        "b": {"c": 2, "d": 3},
        "e": [1],
    }


def test_merging_takes_lists_and_changes_of_kind_whole() -> None:
    assert merged({"a": [1, 2], "b": {"c": 1}}, {"a": [3], "b": "none"}) == {"a": [3], "b": "none"}


def test_the_document_is_one_line_that_our_bot_accepts() -> None:
    written = document(BOT, opened(), [FLOW])
    assert written.count(b"\n") == 1
    assert written.endswith(b"\n")
    config = parse(written.decode())
    assert (config.bot_id, config.port, str(config.data_dir)) == (str(BOT), 8080, "/data")
    assert [(flow.id, str(flow.amount)) for flow in config.cash_flows] == [("deposit-1", "1000.00000000")]


def test_opened_values_are_not_shown() -> None:
    assert TOKEN not in repr(opened())
    assert "123.4567" not in repr([opened()])


def test_neither_the_token_nor_the_creators_configuration_comes_back_in_the_last_lines() -> None:
    said = [f"started with {TOKEN}", json.dumps({"token": TOKEN}), "amount 123.4567 of BTC/USDT in USDT", "bye"]
    assert redacted(said, opened()) == (
        "started with (redacted)",
        '{"token": "(redacted)"}',
        "amount (redacted) of BTC/USDT in USDT",
        "bye",
    )


def test_a_long_line_is_cut_after_it_was_cleaned() -> None:
    [line] = redacted(["x" * 990 + TOKEN], opened())
    assert line == "x" * 990 + "(redacted)"
    [longer] = redacted(["x" * 995 + TOKEN], opened())
    assert longer == "x" * 995 + "(reda"


def test_without_the_secrets_no_line_is_kept() -> None:
    assert redacted(["harmless?"], None) == ()


def test_what_a_template_says_of_itself_is_what_nobody_else_says() -> None:
    template = {"currency": "USDC", "strategy": {"type": "grid"}}
    bare = opened(template=template, parameters={}, template_config={"exchange_key": "planted"}, own_config={})
    config = parse(document(BOT, bare, []).decode())
    assert (config.currency, config.strategy_type) == ("USDC", "grid")
    assert [str(flow.amount) for flow in config.cash_flows] == ["10000.00000000"]
