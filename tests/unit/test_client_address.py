"""Whose address a request has: what proxies of ours say, and nothing that a client can make up."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from litestar.datastructures import Headers

from control_plane.http.address import client_address
from control_plane.settings import load_settings

PROXIES = "10.0.0.0/8,fd00::/8"


def told(peer: str | None, *forwarded: str, proxies: str = PROXIES) -> str | None:
    """The address of a request from ``peer`` with these X-Forwarded-For headers."""
    settings = load_settings({"TRADEWISE_TRUSTED_PROXIES": proxies})
    connection = SimpleNamespace(
        app=SimpleNamespace(state=SimpleNamespace(settings=settings)),
        client=SimpleNamespace(host=peer) if peer is not None else None,
        headers=Headers([(b"x-forwarded-for", value.encode()) for value in forwarded]),
    )
    return client_address(cast("Any", connection))


@pytest.mark.parametrize(
    ("peer", "forwarded", "expected"),
    [
        (None, (), None),
        ("unix", (), None),
        ("192.0.2.1", (), "192.0.2.1"),
        ("192.0.2.1", ("198.51.100.1",), "192.0.2.1"),
        ("10.0.0.1", (), "10.0.0.1"),
        ("10.0.0.1", ("198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("203.0.113.9, 198.51.100.1",), "198.51.100.1"),
        ("10.0.0.1", ("203.0.113.9", "198.51.100.1, 10.2.3.4"), "198.51.100.1"),
        ("10.0.0.1", ("10.9.9.9, 10.2.3.4",), "10.9.9.9"),
        ("10.0.0.1", ("198.51.100.1, rubbish",), "10.0.0.1"),
        ("10.0.0.1", ("",), "10.0.0.1"),
        ("::ffff:10.0.0.1", ("::ffff:198.51.100.1",), "198.51.100.1"),
        ("fd00::1", ("2001:DB8::0001",), "2001:db8::1"),
        ("fe80::1%eth0", (), "fe80::1"),
        ("::1%lo", (), "::1"),
    ],
)
def test_the_first_address_that_is_no_proxy_counts(
    peer: str | None, forwarded: tuple[str, ...], expected: str | None
) -> None:
    assert told(peer, *forwarded) == expected


@given(st.lists(st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=30), max_size=4))
def test_what_a_client_writes_never_counts_without_a_proxy(forwarded: list[str]) -> None:
    assert told("192.0.2.1", *forwarded) == told("192.0.2.1", *forwarded, proxies="") == "192.0.2.1"


@given(st.text(st.characters(codec="ascii", exclude_characters="\r\n"), max_size=60))
def test_what_a_client_writes_never_counts_behind_a_proxy(written: str) -> None:
    assert told("10.0.0.1", f"{written}, 198.51.100.1") == "198.51.100.1"
