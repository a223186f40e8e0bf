"""Opaque tokens."""

from __future__ import annotations

import hashlib

from hypothesis import given
from hypothesis import strategies as st

from control_plane.security.tokens import API_KEY_MARK, api_key_prefix, digest_of, new_api_key, new_token


def test_tokens_are_long_and_never_twice_the_same() -> None:
    made = [new_token() for _ in range(200)]
    assert len({token.text for token in made}) == 200
    for token in made:
        assert len(token.text) >= 43  # 256 bits
        assert token.digest == digest_of(token.text) == hashlib.sha256(token.text.encode()).digest()
        assert api_key_prefix(token.text) is None


def test_an_api_key_carries_the_prefix_that_finds_it() -> None:
    made = [new_api_key() for _ in range(200)]
    assert len({key.prefix for key in made}) == 200
    for key in made:
        assert key.text.startswith(f"{API_KEY_MARK}{key.prefix}_")
        assert api_key_prefix(key.text) == key.prefix
        assert key.digest == digest_of(key.text)
        assert len(key.text.removeprefix(f"{API_KEY_MARK}{key.prefix}_")) >= 43


@given(st.text())
def test_any_text_is_read_without_failing(text: str) -> None:
    for token in (text, API_KEY_MARK + text):
        prefix = api_key_prefix(token)
        assert prefix is None or token.startswith(f"{API_KEY_MARK}{prefix}_")


def test_half_a_key_is_none() -> None:
    for token in ("", "tw_live_", "tw_live_abc", "tw_live_abc_", "tw_live__secret", "tw_test_abc_secret"):
        assert api_key_prefix(token) is None
