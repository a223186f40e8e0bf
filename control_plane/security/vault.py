"""The agents' half: makes tenants' key pairs, opens what the web tier sealed. The web tier never imports this."""

from __future__ import annotations

from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from control_plane.security.keyproviders import KeyProvider, KeyProviderError
from control_plane.security.models import SUITE_X25519_SHA256_AES256GCM
from control_plane.security.sealing import Place, Sealed, UnknownSuiteError, info_for, suite
from control_plane.security.secret import Secret


class OpenError(RuntimeError):
    """A sealed value does not open at this place: altered, moved, or sealed for a key that is gone."""

    code = "cannot_open"


class KeyPair(msgspec.Struct, frozen=True):
    """A row of ``tenant_keys``, or of ``platform_keys`` with the installation in the place of a tenant."""

    tenant_id: UUID
    version: int
    suite: int
    public_key: bytes
    wrapped_private_key: bytes | None
    kek_id: str


class Vault:
    """Opens sealed values with the key-encryption key of its provider. Keeps unwrapped private keys nowhere."""

    def __init__(self, provider: KeyProvider) -> None:
        self._provider = provider

    @property
    def provider(self) -> KeyProvider:
        """Where its key-encryption key comes from."""
        return self._provider

    async def generate(self, tenant_id: UUID, version: int) -> KeyPair:
        """A fresh key pair for a tenant (or the installation), its private half wrapped."""
        private = X25519PrivateKey.generate()
        raw = private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
        return KeyPair(
            tenant_id=tenant_id,
            version=version,
            suite=SUITE_X25519_SHA256_AES256GCM,
            public_key=private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw),
            wrapped_private_key=await self._provider.wrap(raw, _wrap_context(tenant_id, version)),
            kek_id=self._provider.current_id,
        )

    async def open(self, sealed: Sealed, pair: KeyPair, place: Place) -> Secret:
        """Open ``sealed`` at ``place``. Raises :class:`OpenError`, whose message tells nothing of the value."""
        if pair.wrapped_private_key is None:
            raise OpenError("the key of this tenant was destroyed; what it sealed cannot be opened again")
        if (pair.tenant_id, pair.version) != (place.tenant_id, sealed.key_version):
            raise OpenError("this key is not the one that the value was sealed for")
        try:
            raw = await self._provider.unwrap(
                pair.wrapped_private_key, pair.kek_id, _wrap_context(pair.tenant_id, pair.version)
            )
            private = X25519PrivateKey.from_private_bytes(raw)
            return Secret(suite(sealed.suite).decrypt(sealed.value, private, info=info_for(place, sealed.key_version)))
        except KeyProviderError as error:
            raise OpenError(str(error)) from None
        except (InvalidTag, ValueError, UnknownSuiteError):
            raise OpenError("a sealed value does not open at this place: it was altered or moved") from None


def _wrap_context(tenant_id: UUID, version: int) -> bytes:
    return b"tradewise-wrap-v1" + tenant_id.bytes + version.to_bytes(4, "big")
