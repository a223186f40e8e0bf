"""What messages say, and that nobody's text becomes markup, a header or a broken message."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.notifier.retry import MESSAGE_DELAYS_S, message_delay
from control_plane.alerts.kinds import KINDS, OPENED, REOPENED, RESOLVED, SUMMARY, TEST
from control_plane.alerts.words import (
    aside,
    back_title,
    chat_text,
    document,
    drawdown_text,
    letter_of,
    over_text,
    text_of,
    title_of,
)
from tests.unit.test_dashboard_wording import codes_of_agents

NOW = datetime(2027, 1, 10, 12, tzinfo=UTC)


def incident(**changes: Any) -> dict[str, Any]:
    return {
        "id": "1",
        "title": "grid is down",
        "text": text_of("unreachable"),
        "since": NOW - timedelta(minutes=95),
        "closed_at": None,
        "bots_met": 1,
        "bots_over": None,
        "bot_names": ["grid"],
        **changes,
    }


def test_a_mail_says_what_why_and_since_when() -> None:
    subject, text = letter_of(document(OPENED, NOW, {"incident": incident()}), "https://tw.example.com/")
    assert subject == "[TradeWise] grid is down"
    assert text.startswith("grid is down\nNothing answered at the bot's address. Check that the bot is running, ")
    assert "open to us.\nSince 10 Jan 2027, 10:25 UTC.\n\n" in text
    assert "https://tw.example.com/alerts\n" in text


def test_an_end_says_how_long_and_nothing_of_the_trouble() -> None:
    ended = over_text(NOW - timedelta(minutes=95), NOW)
    assert ended == "It lasted 95 min."
    over = incident(title="Back again: grid", closed_at=NOW, text=ended)
    _, text = letter_of(document(RESOLVED, NOW, {"incident": over}), None)
    assert text.startswith("Back again: grid\nIt lasted 95 min.\n\n")


def test_several_are_counted_and_named() -> None:
    title = title_of("bot_down", "host", "host:hb.example.com", ["a", "b"], 30)
    assert title == "30 bots on hb.example.com are down"
    text = chat_text(document(OPENED, NOW, {"incident": incident(title=title, bots_met=30, bot_names=["a", "b"])}))
    assert "Bots: a, b and 28 more" in text


def test_a_summary_is_a_line_an_incident() -> None:
    over = incident(title="Back again: x", closed_at=NOW)
    body = document(SUMMARY, NOW, {"incidents": [over, incident()]})
    assert chat_text(body).splitlines() == [
        "<b>While it was quiet: 2 incidents</b>",
        "- Back again: x, from 10 Jan 2027, 10:25 UTC, over after 95 min",
        "- grid is down, since 10 Jan 2027, 10:25 UTC, not over yet",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_words(kind: str) -> None:
    assert title_of(kind, "bot", "bot:1", ["grid"], 1).startswith("grid ")
    assert title_of(kind, "many", "many", ["a"], 3).startswith("3 bots ")
    assert back_title(kind, ["grid"], 1, "back").endswith("grid")
    assert back_title(kind, ["grid"], 2, "withdrawn") == "No longer watched: 2 bots"
    assert back_title(kind, ["grid"], 3, "back", 1).endswith(": grid")
    assert back_title(kind, ["a", "b"], 3, "back", 2).endswith(": 2 of 3 bots")


@pytest.mark.parametrize(
    "reason", sorted(codes_of_agents() | {"engine_lost", "not_checked_lately", "stopped", "paused"})
)
def test_every_reason_that_can_be_stored_is_told_in_words(reason: str) -> None:
    text = text_of(reason)
    assert text is not None
    assert text[0].isupper()
    assert text.endswith(".")
    assert "below" not in text  # a mail has no page under it


@pytest.mark.parametrize(
    ("reason", "one", "several", "back"),
    [
        (
            "exchange_unreachable",
            "grid is cut off from its exchange",
            "2 bots on h are cut off from their exchange",
            "Well again: grid",
        ),
        (
            "loop_stalled",
            "grid's trading loop stands still",
            "The trading loops of 2 bots on h stand still",
            "Well again: grid",
        ),
        (
            "secret_unreadable",
            "grid cannot be looked after",
            "2 bots on h cannot be looked after",
            "Looked after again: grid",
        ),
        ("unreachable", "grid is down", "2 bots on h are down", "Back again: grid"),
    ],
)
def test_a_bot_that_answers_is_not_told_to_be_down(reason: str, one: str, several: str, back: str) -> None:
    assert title_of("bot_down", "bot", "bot:1", ["grid"], 1, reason) == one
    cause = f"host:h{aside(reason)}/2"
    assert title_of("bot_down", "host", cause, ["a", "b"], 2, reason) == several
    assert back_title("bot_down", ["grid"], 1, "back", reason=reason) == back


def test_a_drawdown_tells_the_fall_and_the_limit() -> None:
    told = "It is 20.5 % below the highest value that it has had; the limit is 20 %."
    assert drawdown_text(Decimal("0.20496"), Decimal("20.00")) == told


@given(st.text(max_size=5000), st.sampled_from([OPENED, REOPENED]))
def test_what_somebody_typed_is_never_markup_and_never_too_long(name: str, kind: str) -> None:
    body = document(kind, NOW, {"incident": incident(title=f"{name} is down", bots_met=2, bot_names=[name, name])})
    text = chat_text(body)
    assert len(text) <= 4096
    bare = text.replace("<b>", "", 1).replace("</b>", "", 1)
    assert "<" not in bare
    assert ">" not in bare
    subject, _ = letter_of(body, None)
    assert "\n" not in subject
    assert "\r" not in subject


def test_a_test_says_so() -> None:
    assert chat_text(document(TEST, NOW, {"channel_id": "x"})).startswith("<b>This is a test</b>")


def test_a_message_is_tried_for_about_a_day() -> None:
    assert 22 * 3600 < sum(MESSAGE_DELAYS_S) < 25 * 3600
    waits = [message_delay(attempt, 0.5) for attempt in range(1, len(MESSAGE_DELAYS_S) + 2)]
    assert waits == [*MESSAGE_DELAYS_S, None]
    assert message_delay(1, 0.0) == pytest.approx(4)
    assert message_delay(1, 1.0) == pytest.approx(6)
