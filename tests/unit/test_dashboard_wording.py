"""What pages say about bots."""

import re
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from agents.engines.base import Reason
from agents.launcher import reconcile
from agents.launcher.handover import SecretUnreadable
from agents.launcher.runtimes.base import PortTaken, RuntimeFault
from agents.poller import trouble, wish
from agents.poller.decide import CONFIG_INVALID, ENGINE_UNKNOWN, NOT_TRADING, SECRET_UNREADABLE
from control_plane.bots import status, warnings
from control_plane.bots.models import CRASH_POLICIES, DEFAULT_CRASH_POLICY, ON_STOP
from control_plane.dashboard.fleet import summarise
from control_plane.dashboard.reasons import _REASONS, reason_words
from control_plane.dashboard.wording import (
    CRASH_CHOICES,
    REACH_CHOICES,
    STOP_CHOICES,
    bot_actions,
    bot_words,
    choice_words,
    event_words,
    guard_words,
    orders_warning,
    read,
    registration_outcome,
    scope_words,
)
from control_plane.identity.permissions import SCOPES
from control_plane.security.egress import MODES

NOW = datetime(2026, 3, 1, tzinfo=UTC)


def bot(**changes: Any) -> dict[str, Any]:
    """An external bot that is connected and healthy, but for `changes`; those to its health begin with `health_`."""
    health = {"state": "healthy", "reason": None, "detail": None, "trading_state": "running"}
    health |= {name.removeprefix("health_"): value for name, value in changes.items() if name.startswith("health_")}
    plain = {name: value for name, value in changes.items() if not name.startswith("health_")}
    facts = {
        "id": uuid4(),
        "bot_type": "external",
        "status": "connected",
        "desired": "running",
        "reason": None,
        "latest": None,
    }
    return facts | {"reason_detail": None, "health": health} | plain


@pytest.mark.parametrize(
    ("changes", "label", "tone"),
    [
        ({}, "Connected", "good"),
        ({"bot_type": "platform", "status": "running"}, "Running", "good"),
        ({"bot_type": "platform", "status": "inactive"}, "Stopped", "idle"),
        ({"bot_type": "platform", "status": "stopping"}, "Stopping", "busy"),
        ({"bot_type": "platform", "status": "starting"}, "Starting", "busy"),
        ({"bot_type": "platform", "status": "starting", "reason": "restarting"}, "Starting again", "warn"),
        (
            {"bot_type": "platform", "status": "inactive", "reason": "platform_stopped"},
            "Stopped with TradeWise",
            "idle",
        ),
        (
            {"bot_type": "platform", "status": "inactive", "reason": "orders_unconfirmed"},
            "Orders unconfirmed",
            "warn",
        ),
        ({"status": "error", "reason": "auth"}, "Credentials refused", "bad"),
        ({"status": "error", "health_reason": "unreachable"}, "Not reachable", "bad"),
        ({"status": "error"}, "Error", "bad"),
        ({"health_trading_state": "stopped"}, "Trading stopped", "warn"),
        ({"health_trading_state": None}, "Connected", "good"),
        ({"health_state": "stale"}, "Reading is old", "warn"),
        ({"health_state": "unhealthy", "health_reason": "timeout"}, "Checks failing", "warn"),
        ({"health_state": "unknown"}, "Connected", "busy"),
        ({"health_state": "unhealthy", "health_reason": "loop_stalled"}, "Trading stands still", "bad"),
        ({"health_state": "unhealthy", "health_reason": "exchange_unreachable"}, "Cut off from its exchange", "bad"),
        ({"health_state": "unhealthy", "health_reason": "recovering"}, "Well again", "busy"),
        ({"status": "inactive", "health_state": "unknown"}, "Checking", "busy"),
        ({"status": "inactive", "health_reason": "egress_refused"}, "Address not allowed", "bad"),
        ({"status": "inactive", "desired": "stopped"}, "Not watched", "idle"),
    ],
)
def test_a_bot_in_words(changes: dict[str, Any], label: str, tone: str) -> None:
    words = bot_words(bot(**changes))
    assert (words.label, words.tone) == (label, tone)
    assert words.text


def test_what_an_agent_wrote_down_replaces_the_general_sentence() -> None:
    words = bot_words(bot(status="error", reason="http_error", reason_detail="The bot answers with HTTP 500."))
    assert words.text == "The bot answers with HTTP 500."
    assert words.remedy


def codes_of_agents() -> set[str]:
    """Every reason that agents and the control plane write down, read out of their programs."""
    found = {reason.value for reason in Reason} | {SECRET_UNREADABLE, ENGINE_UNKNOWN, CONFIG_INVALID, NOT_TRADING}
    found |= trouble.TROUBLES | {trouble.CLOCK_SKEW, trouble.RECOVERING}
    found |= {wish.NOT_CONFIRMED, wish.CONTROL_REFUSED, wish.SUPERSEDED}
    found |= set(re.findall(r"_warning\(\"(\w+)\"", Path(warnings.__file__).read_text("utf-8")))
    found |= {fault.code for fault in (PortTaken, RuntimeFault, SecretUnreadable)}
    for program in (*Path(reconcile.__file__).parent.glob("*.py"), Path(status.__file__)):
        text = program.read_text("utf-8")
        found |= set(re.findall(r"LaunchFailed\(\s*\"(\w+)\"", text))
        found |= set(re.findall(r"reason=\"(\w+)\"", text))
        found |= set(re.findall(r"_failed\(bot, \"(\w+)\"", text))
        found |= set(re.findall(r"return \"stale\", \"(\w+)\"", text))
        found |= {code for pair in re.findall(r"_again_or_not\(bot, \"(\w+)\", \"(\w+)\"", text) for code in pair}
    return found - {"deleted"}  # nobody sees the page of a bot that is gone


def test_every_reason_that_agents_write_down_has_words() -> None:
    codes = codes_of_agents()
    assert len(codes) > 16
    assert codes == set(_REASONS)


@pytest.mark.parametrize(
    ("event", "label", "tone", "text"),
    [
        ({"kind": "registered"}, "Registered", "good", ""),
        ({"kind": "start"}, "Start asked for", "busy", ""),
        ({"kind": "changed", "reason": "api_url, credentials"}, "Changed", "idle", "Api url, credentials"),
        ({"kind": "moon_walk", "detail": "far"}, "Moon walk", "idle", "Far"),
        ({"kind": "status", "to_status": "running"}, "Running", "good", ""),
        (
            {"kind": "status", "to_status": "connected", "reason": "loop_stalled", "detail": "It has not turned."},
            "Trading stands still",
            "warn",
            "It has not turned.",
        ),
        ({"kind": "trading", "reason": "stop"}, "Asked to stop its trading", "busy", ""),
        ({"kind": "trading_confirmed", "detail": "Its trading is stopped."}, "Trading changed, as wished", "good", ""),
        (
            {"kind": "trading_not_confirmed", "reason": "not_confirmed", "detail": "It was asked once."},
            "Trading not changed, or not confirmed",
            "bad",
            "It was asked once.",
        ),
        ({"kind": "status", "to_status": "error", "reason": "auth"}, "Credentials refused", "bad", "The bot answered"),
        (
            {"kind": "status", "to_status": "starting", "reason": "restarting", "detail": "It ended. Restart 1 of 5."},
            "Starting again",
            "busy",
            "It ended. Restart 1 of 5.",
        ),
    ],
)
def test_an_event_in_words(event: dict[str, str], label: str, tone: str, text: str) -> None:
    words = event_words(event)
    assert (words.label, words.tone) == (label, tone)
    assert words.text.startswith(text)


def test_every_choice_of_a_hosted_bot_has_words_and_the_usual_one_comes_first() -> None:
    assert {value for value, _, _ in CRASH_CHOICES} == set(CRASH_POLICIES)
    assert {value for value, _, _ in STOP_CHOICES} == set(ON_STOP)
    assert {value for value, _, _ in REACH_CHOICES} == set(MODES)
    assert [choices[0][0] for choices in (CRASH_CHOICES, STOP_CHOICES, REACH_CHOICES)] == [
        DEFAULT_CRASH_POLICY, "keep", "public",
    ]  # fmt: skip
    assert choice_words("always", CRASH_CHOICES) == "always"
    assert choice_words("moon_phase", STOP_CHOICES) == "moon phase"


@pytest.mark.parametrize(
    ("changes", "warns"),
    [
        ({"orders_unconfirmed": True}, True),
        ({"orders_unconfirmed": False}, False),
        ({"orders_unconfirmed": None}, False),
        ({"orders_unconfirmed": True, "reason": "orders_unconfirmed"}, False),  # the state itself says it
    ],
)
def test_orders_that_nobody_confirmed_are_warned_of_once(changes: dict[str, Any], *, warns: bool) -> None:
    assert (orders_warning(bot(bot_type="platform", **changes)) is not None) == warns


@pytest.mark.parametrize(
    ("guard", "applied", "label", "tone"),
    [
        ("holds", True, "Enforced", "good"),
        ("holds", False, "Being applied", "busy"),
        ("unknown", False, "Not confirmed", "warn"),
        ("failed", False, "Could not be set up", "bad"),
        ("off", False, "Not enforced", "bad"),
        ("half_open", False, "Half open", "warn"),
    ],
)
def test_whether_rules_are_enforced_in_words(guard: str, *, applied: bool, label: str, tone: str) -> None:
    words = guard_words({"guard": guard, "applied": applied, "note": "As it is."})
    assert (words.label, words.tone) == (label, tone)
    assert (words.text == "As it is.") == (label != "Being applied")


def test_every_scope_has_words() -> None:
    assert all(":" not in scope_words(scope) for scope in SCOPES)
    assert len({scope_words(scope) for scope in SCOPES}) == len(SCOPES)
    assert scope_words("moon:walk") == "Moon walk"


def test_a_reason_without_words_is_shown_readably() -> None:
    words = reason_words("moon_phase")
    assert words is not None
    assert (words.label, words.remedy) == ("Moon phase", None)


@pytest.mark.parametrize(
    ("changes", "pending", "tone"),
    [
        ({}, False, "good"),
        ({"status": "inactive", "health_state": "unknown"}, True, "busy"),
        ({"status": "inactive", "health_reason": "auth"}, False, "bad"),
        ({"status": "error", "reason": "egress_refused"}, False, "bad"),
        ({"bot_type": "platform", "status": "inactive"}, True, "idle"),
        ({"bot_type": "platform", "status": "starting"}, True, "busy"),
        ({"bot_type": "platform", "status": "running"}, False, "good"),
        ({"bot_type": "platform", "status": "inactive", "desired": "stopped"}, False, "good"),
        ({"bot_type": "platform", "status": "error", "reason": "image_missing"}, False, "bad"),
    ],
)
def test_a_registration_is_pending_until_its_outcome_is_known(
    changes: dict[str, Any], *, pending: bool, tone: str
) -> None:
    outcome = registration_outcome(bot(**changes))
    assert (outcome.pending, outcome.words.tone) == (pending, tone)


@pytest.mark.parametrize(
    ("changes", "actions"),
    [
        ({}, ["ping", "stop"]),
        ({"desired": "stopped"}, ["start"]),
        ({"bot_type": "platform", "status": "running"}, ["stop", "restart", "ping"]),
        ({"bot_type": "platform", "status": "error"}, ["restart", "stop"]),
        ({"bot_type": "platform", "desired": "stopped"}, ["start"]),
    ],
)
def test_only_actions_that_make_sense_are_offered(changes: dict[str, Any], actions: list[str]) -> None:
    assert [action for action, _ in bot_actions(bot(**changes))] == actions


class WithReturn:
    """An object as msgspec makes it where a field is named like a keyword."""

    return_ = Decimal("0.5")


def test_fields_are_read_from_objects_and_mappings_alike() -> None:
    assert read(WithReturn(), "return") == Decimal("0.5")
    assert read({"return": Decimal("0.25")}, "return") == Decimal("0.25")
    assert read(None, "return") is None
    assert read({"zero": Decimal(0)}, "zero") == 0


def figures(equity: str | None, minutes_old: int = 0, twins: tuple[int, ...] = (), **changes: Any) -> dict[str, Any]:
    """A bot with these latest figures: old where they are any minutes old; `same_process` as the bots `twins`."""
    latest: dict[str, Any] = {
        "equity": equity,
        "currency": "USDT",
        "simulated": True,
        "realized_profit": "1",
        "open_profit": "0.5",
    }
    latest |= {"observed_at": NOW - timedelta(minutes=minutes_old), "stale": minutes_old > 0}
    own = {name: changes.pop(name) for name in ("id",) if name in changes}
    warned = [{"code": "same_process", "bot_id": other} for other in twins]
    return bot(latest=latest | changes, warnings=warned, **own)


def test_totals_never_mix_currencies_nor_simulated_with_real_money() -> None:
    fleet = [
        figures("100"),
        figures("50"),
        figures("7", simulated=False),
        figures("2", currency="BTC"),
    ]
    totals = {
        (total.currency, total.simulated): (total.equity, total.profit, total.bots) for total in summarise(fleet).totals
    }
    assert totals == {
        ("USDT", True): (Decimal(150), Decimal(3), 2),
        ("USDT", False): (Decimal(7), Decimal("1.5"), 1),
        ("BTC", True): (Decimal(2), Decimal("1.5"), 1),
    }


def test_an_unknown_figure_is_in_no_sum() -> None:
    summary = summarise([figures("100"), figures(None), bot(), figures("1", simulated=None)])
    assert (summary.bots, summary.unknown) == (4, 3)
    assert [total.equity for total in summary.totals] == [Decimal(100)]


def test_a_process_that_is_registered_more_than_once_counts_once_by_its_newest_known_figures() -> None:
    fleet = [
        figures("100", id=1, twins=(2, 3), minutes_old=6),
        figures("110", id=2, twins=(1, 3)),
        figures(None, id=3, twins=(1, 2)),
        figures("50", id=4),
    ]
    summary = summarise(fleet)
    assert (summary.bots, summary.repeated, summary.unknown) == (4, 2, 0)
    assert [(total.equity, total.bots) for total in summary.totals] == [(Decimal(160), 2)]
    assert summary.past == []


def test_many_registrations_of_one_process_are_one_though_each_names_only_some() -> None:
    twins = {number: tuple(other for other in range(9) if other != number)[:5] for number in range(9)}
    summary = summarise([figures("100", id=number, twins=twins[number]) for number in range(9)])
    assert (summary.repeated, [(total.equity, total.bots) for total in summary.totals]) == (8, [(Decimal(100), 1)])


def test_figures_that_are_old_are_told_apart_from_those_of_now() -> None:
    summary = summarise([figures("100"), figures("30", minutes_old=4), figures("20", minutes_old=7)])
    assert [(total.equity, total.bots) for total in summary.totals] == [(Decimal(100), 1)]
    (past,) = summary.past
    assert (past.equity, past.bots, past.oldest) == (Decimal(50), 2, NOW - timedelta(minutes=7))


def test_a_sum_with_an_unknown_part_is_unknown() -> None:
    (total,) = summarise([figures("100"), figures("50", open_profit=None), figures("25")]).totals
    assert (total.equity, total.profit) == (Decimal(175), None)


def test_bots_that_need_attention_are_counted() -> None:
    assert summarise([bot(), bot(status="error", reason="auth"), bot(health_state="stale")]).attention == 2
