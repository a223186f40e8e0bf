"""The agents' signature on heads of audit chains: Ed25519, the private half wrapped like tenants' keys.

The web tier never imports this: it verifies by public halves (control_plane/audit/checkpoints.py).
"""

from __future__ import annotations

from uuid import UUID

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from control_plane.security.keyproviders import KeyProvider, KeyProviderError, KeyProviderUnavailableError
from control_plane.security.vault import wrap_context

#: A version that no key pair has: a wrapped signing key can never stand in for one, nor the other way round.
_NO_PAIR = 0


class SigningKey(msgspec.Struct, frozen=True):
    """A row of ``audit_keys``."""

    id: UUID
    version: int
    public_key: bytes
    wrapped_private_key: bytes | None
    kek_id: str


class SigningKeyError(RuntimeError):
    """A signing key does not open, or is not the one whose public half stands beside it."""

    code = "signing_key"


async def generate_signing_key(provider: KeyProvider, key_id: UUID, version: int) -> SigningKey:
    """A fresh key pair for the row ``key_id``, its private half wrapped."""
    private = Ed25519PrivateKey.generate()
    raw = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    wrapped = await provider.wrap(raw, wrap_context(key_id, _NO_PAIR))
    return SigningKey(
        id=key_id,
        version=version,
        public_key=_public(private),
        wrapped_private_key=wrapped.value,
        kek_id=wrapped.kek_id,
    )


class Signer:
    """Signs with one key for the length of one pass. Has no repr of what it holds."""

    def __init__(self, key: SigningKey, private: Ed25519PrivateKey) -> None:
        self.version = key.version
        self._private = private

    def sign(self, message: bytes) -> bytes:
        """The signature of ``message``, 64 bytes."""
        return self._private.sign(message)


async def open_signer(provider: KeyProvider, key: SigningKey) -> Signer:
    """Unwrap ``key``, and see that its public half is this private one's. Raises :class:`SigningKeyError`."""
    if key.wrapped_private_key is None:
        raise SigningKeyError(f"signing key {key.version} has no private half")
    try:
        raw = await provider.unwrap(key.wrapped_private_key, key.kek_id, wrap_context(key.id, _NO_PAIR))
        private = Ed25519PrivateKey.from_private_bytes(raw)
    except KeyProviderUnavailableError:
        raise
    except (KeyProviderError, ValueError) as error:
        raise SigningKeyError(f"signing key {key.version} does not open: {error}") from None
    if _public(private) != key.public_key:
        raise SigningKeyError(f"signing key {key.version} has the public half of another key")
    return Signer(key, private)


def _public(private: Ed25519PrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
