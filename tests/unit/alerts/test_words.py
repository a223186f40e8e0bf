"""What messages say, and that nobody's text becomes markup, a header or a broken message."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.notifier.retry import MESSAGE_DELAYS_S, message_delay
from control_plane.alerts.kinds import KINDS, OPENED, REOPENED, RESOLVED, SUMMARY, TEST
from control_plane.alerts.words import back_title, chat_text, document, letter_of, text_of, title_of

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
    assert text.startswith("grid is down\nNothing answers at its address.\nSince 10 Jan 2027, 10:25 UTC.\n\n")
    assert "https://tw.example.com/alerts\n" in text


def test_an_end_says_how_long() -> None:
    over = incident(title="Back again: grid", closed_at=NOW)
    _, text = letter_of(document(RESOLVED, NOW, {"incident": over}), None)
    assert text.startswith("Back again: grid\nIt lasted 95 min.\n")


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
