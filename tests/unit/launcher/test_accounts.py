"""What names an exchange account, and that its fingerprint tells nothing of it."""

from __future__ import annotations

from typing import Any

import pytest

from agents.launcher.accounts import Unnamed, named_at


@pytest.mark.parametrize(
    ("path", "documents", "named"),
    [
        ("exchange.key", [{"exchange": {"key": "k-1"}}], "k-1"),
        ("exchange.key", [{"exchange": {"key": " k-1\n"}}], "k-1"),
        ("key", [{"key": 12}], "12"),
        ("token", [{"exchange": {}}, {"token": "t"}], "t"),
        ("key", [{"key": "first"}, {"key": "second"}], "first"),
        ("key", [{"key": ""}, {"key": "second"}], "second"),
    ],
)
def test_an_account_is_named_by_the_first_that_has_it(path: str, documents: list[dict[str, Any]], named: str) -> None:
    assert named_at(path, *documents) == named


@pytest.mark.parametrize("value", [None, "", "  ", True, {"key": "planted"}, ["planted"], 1.5])
def test_what_names_no_account_is_told_by_its_place_alone(value: Any) -> None:
    with pytest.raises(Unnamed, match=r"exchange\.key") as refused:
        named_at("exchange.key", {"exchange": {"key": value}}, {})
    assert "planted" not in str(refused.value)
