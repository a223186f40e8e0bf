"""Typed credentials: what fits, what does not, and that no value ever comes back."""

import traceback
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.engines import engine_for
from control_plane.security.credentials import (
    ENGINES,
    CredentialError,
    FreqtradeCredential,
    TradewiseCredential,
    decode_credentials,
    encode_credentials,
)

SECRET = "planted-s3cret"


@pytest.mark.parametrize(
    ("engine", "raw", "expected"),
    [
        ("freqtrade", {"username": "u", "password": "p w:ö"}, FreqtradeCredential("u", "p w:ö")),
        ("tradewise", {"token": "abc.DEF-1"}, TradewiseCredential("abc.DEF-1")),
        ("tradewise", b'{"token": "abc"}', TradewiseCredential("abc")),
    ],
)
def test_what_fits_is_typed_and_survives_sealing(engine: str, raw: Any, expected: object) -> None:
    credential = decode_credentials(engine, raw)
    assert credential == expected
    assert decode_credentials(engine, encode_credentials(credential)) == credential


@pytest.mark.parametrize(
    ("engine", "raw", "field"),
    [
        ("freqtrade", {"username": SECRET}, "password"),
        ("freqtrade", {"password": SECRET}, "username"),
        ("freqtrade", {}, "username"),
        ("freqtrade", {"username": "a:" + SECRET, "password": "p"}, "username"),
        ("freqtrade", {"username": "u", "password": ""}, "password"),
        ("freqtrade", {"username": "u", "password": SECRET + "\r\nX: y"}, "password"),
        ("freqtrade", {"username": "u", "password": SECRET + "\n"}, "password"),
        ("freqtrade", {"username": "u", "password": SECRET + "\x85"}, "password"),
        ("freqtrade", {"username": "u", "password": SECRET + "\ud800"}, "password"),
        ("freqtrade", {"username": "u", "password": SECRET * 100}, "password"),
        ("freqtrade", {"username": "u", "password": [SECRET]}, "password"),
        ("freqtrade", {"username": "u", "password": None}, "password"),
        ("freqtrade", {"username": "u", "password": "p", "token": SECRET}, "token"),
        ("freqtrade", {"username": "u", "password": "p", SECRET: "x"}, "credentials"),
        ("tradewise", {"token": SECRET + " "}, "token"),
        ("tradewise", {"token": SECRET + "\n"}, "token"),
        ("tradewise", {"token": SECRET + "ä"}, "token"),
        ("tradewise", {"token": 7}, "token"),
        ("tradewise", {"token": SECRET * 1000}, "token"),
        ("tradewise", b'{"token": "' + SECRET.encode(), "credentials"),
        ("tradewise", b'{"token": "\xff' + SECRET.encode() + b'"}', "credentials"),
        ("tradewise", b'"' + SECRET.encode() + b'"', "credentials"),
        ("tradewise", b"[" * 10_000, "credentials"),
        ("tradewise", b" " * 20_000, "credentials"),
    ],
)
def test_what_does_not_fit_is_named_by_field_and_never_repeated(engine: str, raw: Any, field: str) -> None:
    with pytest.raises(CredentialError) as caught:
        decode_credentials(engine, raw)
    assert (caught.value.code, caught.value.field) == ("credentials_invalid", field)
    told = "".join(line for line in traceback.format_exception(caught.value) if "Error" in line)
    assert SECRET not in told + repr(caught.value) + caught.value.message


def test_an_unknown_engine_is_told_apart() -> None:
    with pytest.raises(CredentialError, match="freqtrade, http, hummingbot, octobot, tradewise") as caught:
        decode_credentials("nonesuch", {})
    assert caught.value.code == "engine_unknown"


def test_credentials_show_nothing_of_themselves() -> None:
    for credential in (FreqtradeCredential(SECRET, SECRET), TradewiseCredential(SECRET)):
        for shown in (repr(credential), str(credential), f"{credential}", repr([credential]), repr({"a": credential})):
            assert SECRET not in shown


def test_only_long_tokens_show_their_end() -> None:
    assert TradewiseCredential("0123456789abcdef").last4 == "cdef"
    assert TradewiseCredential("0123456789").last4 is None
    assert FreqtradeCredential("user", "0123456789abcdef").last4 is None


def test_every_engine_reads_with_the_credentials_that_the_api_takes() -> None:
    for name, shape in ENGINES.items():
        assert engine_for(name).family.name == name
        assert engine_for(name).family.credential is shape
    with pytest.raises(LookupError, match="freqtrade, http, hummingbot, octobot, tradewise"):
        engine_for("nonesuch")


_JSONISH = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20), lambda inner: st.lists(inner, max_size=3)
)


@given(st.sampled_from(sorted(ENGINES)), st.dictionaries(st.sampled_from(["username", "password", "token"]), _JSONISH))
def test_any_mapping_fits_or_is_refused(engine: str, raw: dict[str, Any]) -> None:
    try:
        credential = decode_credentials(engine, raw)
    except CredentialError:
        return
    # Where a family takes it or leaves it, null is what leaving it out is.
    given = {name: value for name, value in raw.items() if value is not None}
    assert msgspec.json.decode(encode_credentials(credential)) == given
