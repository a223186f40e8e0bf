"""What pages say about a bot's trading."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.dashboard.steering import reason_label, trading_actions, trading_words

ALL = ["pause", "start", "stop"]


def bot(
    status: str = "connected", *, simulated: bool | None = None, state: str | None = None, **trading: Any
) -> dict[str, Any]:
    nothing = dict.fromkeys(("wanted", "state", "requested_at", "confirmed_at", "problem", "problem_detail", "remedy"))
    health = {"simulated": simulated, "trading_state": state}
    return {"status": status, "health": health, "trading": {"actions": ALL, **nothing, **trading}}


@pytest.mark.parametrize("status", ["connected", "running"])
def test_what_costs_money_is_asked_twice(status: str) -> None:
    found = {action: sentence for action, _, sentence in trading_actions(bot(status))}
    assert list(found) == ["start", "pause", "stop"]
    assert found["pause"] is None
    assert found["start"]
    assert found["stop"]
    # Pretended money is no reason to hesitate; unknown money is.
    assert {action: sentence for action, _, sentence in trading_actions(bot(status, simulated=True))}["start"] is None


@pytest.mark.parametrize("status", ["inactive", "starting", "stopping", "error"])
def test_a_bot_that_cannot_be_asked_has_no_buttons(status: str) -> None:
    assert trading_actions(bot(status)) == ()


@pytest.mark.parametrize(("state", "left_out"), [("running", "start"), ("paused", "pause"), ("stopped", "stop")])
def test_what_it_does_already_is_not_offered_unless_something_else_was_just_wished(state: str, left_out: str) -> None:
    def offered(**wish: Any) -> set[str]:
        return {action for action, _, _ in trading_actions(bot(state=state, **wish))}

    assert offered() == set(ALL) - {left_out}
    assert offered(wanted="stopped", confirmed_at="2026-11-26T00:00:00Z") == set(ALL) - {left_out}
    assert offered(wanted="stopped", problem="not_confirmed") == set(ALL) - {left_out}
    assert offered(wanted="stopped") == set(ALL)


def test_a_family_that_can_be_told_less_offers_less() -> None:
    assert [action for action, _, _ in trading_actions(bot(actions=["stop"]))] == ["stop"]
    assert trading_actions(bot(actions=[])) == ()


@pytest.mark.parametrize(
    ("trading", "label", "tone"),
    [
        ({"wanted": "stopped"}, "To stop its trading: under way", "busy"),
        ({"wanted": "running", "problem": "control_refused"}, "To start its trading: not confirmed", "bad"),
        ({"wanted": "paused", "problem": "not_confirmed"}, "To pause its trading: not confirmed", "bad"),
    ],
)
def test_a_wish_in_words(trading: dict[str, Any], label: str, tone: str) -> None:
    words = trading_words(bot(**trading))
    assert words is not None
    assert (words.label, words.tone) == (label, tone)
    assert words.text


@pytest.mark.parametrize("trading", [{}, {"wanted": "stopped", "confirmed_at": "2026-05-01T12:00:00Z"}])
def test_nothing_is_said_where_the_state_shows_it(trading: dict[str, Any]) -> None:
    assert trading_words(bot(**trading)) is None


def test_a_reason_has_a_short_name() -> None:
    assert reason_label("same_process") == "Registered twice"
    assert reason_label("moon_phase") == "Moon phase"
