"""Amounts never carry an exponent into an answer."""

from __future__ import annotations

import re
from decimal import Decimal

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from control_plane.amounts import Figures, encode_other


class Shown(Figures, frozen=True):
    amount: Decimal | None
    name: str


@given(st.decimals(allow_nan=False, allow_infinity=False, places=8, min_value=-(10**15), max_value=10**15))
def test_every_amount_is_shown_plainly_and_exactly(amount: Decimal) -> None:
    text = msgspec.json.decode(msgspec.json.encode(Shown(amount, "1E-8"), enc_hook=encode_other))
    assert re.fullmatch(r"-?\d+(\.\d+)?", text["amount"])
    assert Decimal(text["amount"]) == amount
    assert text["name"] == "1E-8"


def test_unknown_stays_null() -> None:
    assert msgspec.json.encode(Shown(None, "x"), enc_hook=encode_other) == b'{"amount":null,"name":"x"}'
