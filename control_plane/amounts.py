"""Amounts in answers: decimal strings without an exponent, so that no client has to understand ``0E-8``."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import msgspec


class PlainDecimal(Decimal):
    """A Decimal that JSON shows as ``0.00000000``. The encoder knows ``Decimal`` itself and would write ``0E-8``."""

    __slots__ = ()


class Figures(msgspec.Struct, frozen=True):
    """The base of every view that holds a Decimal: what is built in becomes plain."""

    def __post_init__(self) -> None:
        for name in self.__struct_fields__:
            value = getattr(self, name)
            if type(value) is Decimal:
                msgspec.structs.force_setattr(self, name, PlainDecimal(value))


def encode_plain(value: PlainDecimal) -> str:
    """The JSON form of a plain amount."""
    return format(value, "f")


def encode_other(value: Any) -> Any:
    """What the encoder is to do with types that it does not know (msgspec's ``enc_hook``)."""
    if isinstance(value, PlainDecimal):
        return encode_plain(value)
    raise TypeError(f"{type(value).__name__} has no JSON form")
