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


@given(st.integers(0, 68), st.characters(codec="ascii"))
def test_one_wrong_character_is_always_noticed(place: int, character: str) -> None:
    key = new_api_key().text
    place += len(API_KEY_MARK) - 1
    mistyped = key[:place] + character + key[place + 1 :]
    assert (api_key_prefix(mistyped) is None) == (mistyped != key)


def test_letters_that_are_swapped_or_left_out_are_noticed() -> None:
    key = new_api_key().text
    for place in range(len(API_KEY_MARK), len(key) - 1):
        swapped = key[:place] + key[place + 1] + key[place] + key[place + 2 :]
        assert (api_key_prefix(swapped) is None) == (swapped != key)
        assert api_key_prefix(key[:place] + key[place + 1 :]) is None


def test_a_key_from_before_the_checksum_is_one() -> None:
    older = new_api_key().text[:-6]
    assert api_key_prefix(older) == older[8:20]


@given(st.text())
def test_any_text_is_read_without_failing(text: str) -> None:
    for token in (text, API_KEY_MARK + text):
        prefix = api_key_prefix(token)
        assert prefix is None or token.startswith(f"{API_KEY_MARK}{prefix}_")


def test_half_a_key_is_none() -> None:
    for token in ("", "tw_live_", "tw_live_abc", "tw_live_abc_", "tw_live__secret", "tw_test_abc_secret"):
        assert api_key_prefix(token) is None
