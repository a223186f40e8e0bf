"""Addresses that a browser may be led to."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.dashboard.session import Visitor, local_path


@pytest.mark.parametrize("path", ["/", "/bots/1?range=day", "/marketplace?q=%2F%2Fevil", "/a//b", "/é"])
def test_paths_of_our_own_are_kept(path: str) -> None:
    assert local_path(path) == path


@pytest.mark.parametrize(
    "address",
    [None, "", "bots", "//evil", "///evil", "/\\evil", "\\/evil", "https://evil", "/\t/evil", "/\x00", " /", "/ /evil"],
)
def test_what_could_lead_elsewhere_is_not(address: str | None) -> None:
    assert local_path(address) is None


@given(st.text(alphabet="/\\ \t\r\n.:@evil?#%", max_size=12))
def test_no_address_leads_elsewhere_once_a_browser_has_cleaned_it(address: str) -> None:
    kept = local_path(address)
    if kept is not None:
        # What browsers do to an address before they read it: drop tabs and line ends, take \ for /.
        cleaned = kept.translate(dict.fromkeys(map(ord, "\t\r\n"))).strip().replace("\\", "/")
        assert cleaned.startswith("/")
        assert not cleaned.startswith("//")


def test_a_visitor_never_shows_the_secret() -> None:
    visitor = Visitor(secret="a-secret-of-the-cookie")
    assert "a-secret" not in repr(visitor)
    assert visitor.csrf_token != Visitor(secret="another").csrf_token
    assert visitor.csrf_token == Visitor(secret="a-secret-of-the-cookie").csrf_token
