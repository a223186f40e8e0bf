"""The mail of an invitation: the code is there, and what strangers wrote makes no link."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from control_plane.tenants.letters import invitation, plain

FIELDS: dict[str, Any] = {
    "to": "bob@example.com",
    "tenant": "Ada's bots",
    "inviter": "Ada",
    "role": "trader",
    "token": "the-token",
    "expires_at": datetime(2026, 3, 8, 12, 0, tzinfo=UTC),
    "public_url": "https://trade.example/",
}


def test_the_code_is_there_and_the_link_leads_to_us_without_telling_servers() -> None:
    letter = invitation(**FIELDS)
    assert (letter.kind, letter.to) == ("invitation", "bob@example.com")
    assert "\nCode: the-token\n" in letter.body
    assert "https://trade.example/invitations#the-token" in letter.body  # what follows a # is not sent to a server
    assert "2026-03-08 12:00 UTC" in letter.body
    assert "the-token" not in repr(letter) + letter.subject
    assert "https://" not in invitation(**{**FIELDS, "public_url": None}).body


def test_names_make_no_link() -> None:
    bad = "Your bank: log in at https://evil.example/now or mail me@evil.example"
    letter = invitation(**{**FIELDS, "tenant": bad, "inviter": bad, "public_url": None})
    for text in (letter.subject, letter.body.replace(FIELDS["to"], "")):
        for mark in ("https://", "evil.example", "me@"):
            assert mark not in text


@given(st.text())
def test_a_name_is_one_short_line(name: str) -> None:
    assert len(plain(name)) <= 60
    assert not set(plain(name)) & set("\r\n/\\:@<>.")
