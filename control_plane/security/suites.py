"""The cipher suites that values may be sealed in, and how the public halves of their keys are stored.

HPKE (RFC 9180) in base mode. A suite's number is stored with each key and each value, so that several live side by side
and a rotation moves values from one to the next. Suite 2 holds against an adversary who keeps what is sealed today for
a quantum computer of tomorrow: its key agreement is X25519 and ML-KEM-768 (FIPS 203) in one, and breaks only where both
do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import msgspec
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PublicKey
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, MLKEM768X25519PublicKey, Suite

X25519_SHA256_AES256GCM: Final = 1
MLKEM768_X25519_SHA256_AES256GCM: Final = 2

_MLKEM768_PUBLIC_BYTES = 1184


class UnknownSuiteError(ValueError):
    """A sealed value or key names a cipher suite that this program does not have."""

    code = "unknown_suite"


class CipherSuite(msgspec.Struct, frozen=True):
    """An HPKE suite and the way from a stored public key to one that it takes."""

    name: str
    hpke: Suite
    public_key: Callable[[bytes], Any]


def _hybrid_public_key(raw: bytes) -> MLKEM768X25519PublicKey:
    """ML-KEM's encapsulation key, then X25519's public key."""
    return MLKEM768X25519PublicKey(
        MLKEM768PublicKey.from_public_bytes(raw[:_MLKEM768_PUBLIC_BYTES]),
        X25519PublicKey.from_public_bytes(raw[_MLKEM768_PUBLIC_BYTES:]),
    )


SUITES: Final[dict[int, CipherSuite]] = {
    X25519_SHA256_AES256GCM: CipherSuite(
        "x25519", Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM), X25519PublicKey.from_public_bytes
    ),
    MLKEM768_X25519_SHA256_AES256GCM: CipherSuite(
        "mlkem768-x25519", Suite(KEM.MLKEM768_X25519, KDF.HKDF_SHA256, AEAD.AES_256_GCM), _hybrid_public_key
    ),
}


def suite(number: int) -> CipherSuite:
    """The suite stored as ``number``. Raises :class:`UnknownSuiteError`."""
    try:
        return SUITES[number]
    except KeyError:
        raise UnknownSuiteError(
            f"cipher suite {number} is not known to this version of tradewise; upgrade it"
        ) from None


def suite_number(name: str) -> int:
    """The number of the suite called ``name``, as in ``TRADEWISE_KEY_SUITE``."""
    return next(number for number, each in SUITES.items() if each.name == name)
