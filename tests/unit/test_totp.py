"""One-time passwords against the vectors of the RFCs, and codes as people type them."""

from __future__ import annotations

import base64
import re
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.identity import totp

#: RFC 4226, appendix D, and RFC 6238, appendix B (SHA-1), of the same seed.
SEED = b"12345678901234567890"
HOTP = ["755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"]
TOTP = {
    59: "94287082",
    1111111109: "07081804",
    1111111111: "14050471",
    1234567890: "89005924",
    2000000000: "69279037",
    20000000000: "65353130",
}


def test_the_vectors_of_rfc_4226() -> None:
    assert [totp.hotp(SEED, counter) for counter in range(10)] == HOTP


@pytest.mark.parametrize(("at", "code"), TOTP.items())
def test_the_vectors_of_rfc_6238(at: int, code: str) -> None:
    assert totp.hotp(SEED, totp.step_at(at), digits=8) == code
    assert totp.matching_step(SEED, code[2:], at) == totp.step_at(at)


@given(st.binary(min_size=20, max_size=20), st.integers(min_value=600, max_value=2**40), st.integers(-5, 5))
def test_one_step_of_drift_and_no_more(seed: bytes, at: int, drift: int) -> None:
    step = totp.step_at(at) + drift
    found = totp.matching_step(seed, totp.hotp(seed, step), at)
    if abs(drift) <= 1:
        assert found is not None
    # Another step's code may be the same by chance, but then it is a neighbour's own.
    assert found is None or abs(found - totp.step_at(at)) <= 1


@given(st.text(max_size=12))
def test_only_six_digits_match(text: str) -> None:
    if totp.totp_form(text) is None:
        assert totp.matching_step(SEED, text, 59) is None
    assert totp.totp_form("٢٨٧٠٨٢") is None  # digits, but not ours


def test_codes_as_people_type_them() -> None:
    assert totp.totp_form(" 287 082 ") == totp.totp_form("287-082") == "287082"
    assert totp.totp_form("28708") is None
    for code in totp.new_recovery_codes():
        plain = code.replace("-", "")
        assert (
            totp.recovery_form(code) == totp.recovery_form(plain.upper()) == totp.recovery_form(f" {plain} ") == plain
        )
        assert totp.totp_form(code) is None
    assert totp.recovery_form("abcd-efgh") is None


def test_recovery_codes_are_many_and_long() -> None:
    codes = totp.new_recovery_codes()
    assert len(set(codes)) == 10
    assert all(re.fullmatch("[a-z2-7]{4}(-[a-z2-7]{4}){3}", code) for code in codes)  # 80 bits each
    user = bytes(16)
    assert totp.recovery_digest(user, codes[0]) != totp.recovery_digest(bytes([1] * 16), codes[0])


def test_the_seed_reaches_an_authenticator() -> None:
    seed = totp.new_seed()
    assert len(seed) == 20
    uri = totp.otpauth_uri(seed, "ada & co@example.com")
    parts = urlsplit(uri)
    query = parse_qs(parts.query)
    assert (parts.scheme, parts.netloc) == ("otpauth", "totp")
    assert parts.path == "/TradeWise:ada%20%26%20co@example.com"
    assert base64.b32decode(query["secret"][0]) == seed
    assert (query["issuer"], query["digits"], query["period"]) == (["TradeWise"], ["6"], ["30"])
    drawn = ET.fromstring(totp.qr_svg(uri))
    assert drawn.tag == "{http://www.w3.org/2000/svg}svg"
    assert {child.tag.rpartition("}")[2] for child in drawn.iter()} <= {"svg", "path", "g"}
    assert "style" not in totp.qr_svg(uri)
