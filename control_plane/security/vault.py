"""The agents' half: makes tenants' key pairs, opens what the web tier sealed. The web tier never imports this."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.hpke import MLKEM768X25519PrivateKey

from control_plane.security.keyproviders import KeyProvider, KeyProviderError, KeyProviderUnavailableError
from control_plane.security.sealing import Place, Sealed, UnknownSuiteError, info_for
from control_plane.security.secret import Secret
from control_plane.security.suites import MLKEM768_X25519_SHA256_AES256GCM, X25519_SHA256_AES256GCM, suite

#: How long an unwrapped private key may stay in memory, and how many, where unwrapping asks another machine.
CACHE_S: Final = 300.0
CACHE_SIZE: Final = 1024
_MLKEM768_SEED_BYTES: Final = 64


class OpenError(RuntimeError):
    """A sealed value does not open at this place: altered, moved, or sealed for a key that is gone."""

    code = "cannot_open"


class KeyUnusableError(OpenError):
    """The value's key cannot be used here and now; the value itself may be sound."""

    code = "key_unusable"


class KeyPair(msgspec.Struct, frozen=True):
    """A row of ``tenant_keys``, or of ``platform_keys`` with the installation in the place of a tenant."""

    tenant_id: UUID
    version: int
    suite: int
    public_key: bytes
    wrapped_private_key: bytes | None
    kek_id: str


class PrivateKeys(msgspec.Struct, frozen=True):
    """How a suite's key pairs are made (the private half's bytes, the public one's) and loaded again."""

    generate: Callable[[], tuple[bytes, bytes]]
    load: Callable[[bytes], Any]


def _generate_x25519() -> tuple[bytes, bytes]:
    private = X25519PrivateKey.generate()
    return private.private_bytes_raw(), private.public_key().public_bytes_raw()


def _generate_hybrid() -> tuple[bytes, bytes]:
    """ML-KEM's seed, then X25519's private key; their public halves in the same order."""
    mlkem, x25519 = MLKEM768PrivateKey.generate(), X25519PrivateKey.generate()
    return (
        mlkem.private_bytes_raw() + x25519.private_bytes_raw(),
        mlkem.public_key().public_bytes_raw() + x25519.public_key().public_bytes_raw(),
    )


def _load_hybrid(raw: bytes) -> MLKEM768X25519PrivateKey:
    return MLKEM768X25519PrivateKey(
        MLKEM768PrivateKey.from_seed_bytes(raw[:_MLKEM768_SEED_BYTES]),
        X25519PrivateKey.from_private_bytes(raw[_MLKEM768_SEED_BYTES:]),
    )


PRIVATE_KEYS: Final[dict[int, PrivateKeys]] = {
    X25519_SHA256_AES256GCM: PrivateKeys(_generate_x25519, X25519PrivateKey.from_private_bytes),
    MLKEM768_X25519_SHA256_AES256GCM: PrivateKeys(_generate_hybrid, _load_hybrid),
}


class Vault:
    """Opens sealed values with the key-encryption key of its provider.

    Loaded private keys are kept for five minutes at most: loading one costs as much as opening a value with it. That
    gives away nothing more than the key-encryption key in the same memory does; with a remote provider it is what an
    agent can still open without asking. A pair whose row says that it was destroyed is refused at once; what the
    memory of a process still holds of it ends with those minutes.
    """

    def __init__(
        self,
        provider: KeyProvider,
        *,
        new_pairs: int = X25519_SHA256_AES256GCM,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.provider = provider
        self._new_pairs = new_pairs
        self._clock = clock
        self._cache: dict[tuple[UUID, int, str, bytes], tuple[float, Any]] = {}

    async def generate(self, tenant_id: UUID, version: int) -> KeyPair:
        """A fresh key pair for a tenant (or the installation), its private half wrapped."""
        private, public = PRIVATE_KEYS[self._new_pairs].generate()
        wrapped = await self.provider.wrap(private, wrap_context(tenant_id, version))
        return KeyPair(
            tenant_id=tenant_id,
            version=version,
            suite=self._new_pairs,
            public_key=public,
            wrapped_private_key=wrapped.value,
            kek_id=wrapped.kek_id,
        )

    async def open(self, sealed: Sealed, pair: KeyPair, place: Place) -> Secret:
        """Open ``sealed`` at ``place``. Raises :class:`OpenError`, whose message tells nothing of the value.

        That is :class:`KeyUnusableError` where the fault is the key's. KeyProviderUnavailableError where it may pass.
        """
        if pair.wrapped_private_key is None:
            raise KeyUnusableError("the key of this tenant was destroyed; what it sealed cannot be opened again")
        if (pair.tenant_id, pair.version, pair.suite) != (place.tenant_id, sealed.key_version, sealed.suite):
            raise OpenError("this key is not the one that the value was sealed for")
        try:
            private = await self._private_key(pair, pair.wrapped_private_key)
        except KeyProviderUnavailableError:
            raise
        except KeyProviderError as error:
            raise KeyUnusableError(str(error)) from None
        except (ValueError, UnknownSuiteError) as error:
            raise KeyUnusableError(str(error)) from None
        try:
            return Secret(
                suite(sealed.suite).hpke.decrypt(sealed.value, private, info=info_for(place, sealed.key_version))
            )
        except (InvalidTag, ValueError):
            raise OpenError("a sealed value does not open at this place: it was altered or moved") from None

    async def _private_key(self, pair: KeyPair, wrapped: bytes) -> Any:
        name, now = (pair.tenant_id, pair.version, pair.kek_id, wrapped), self._clock()
        until, private = self._cache.get(name, (now, None))
        if until <= now:
            self._cache.pop(name, None)
            private = await self._unwrap(pair, wrapped)
            # Oldest first, because each is put in at its beginning and lives equally long.
            while self._cache and (len(self._cache) >= CACHE_SIZE or next(iter(self._cache.values()))[0] <= now):
                del self._cache[next(iter(self._cache))]
            self._cache.pop(name, None)
            self._cache[name] = (now + CACHE_S, private)
        return private

    async def _unwrap(self, pair: KeyPair, wrapped: bytes) -> Any:
        keys = PRIVATE_KEYS.get(pair.suite)
        if keys is None:
            suite(pair.suite)  # says that it is unknown
            raise KeyUnusableError(f"keys of cipher suite {pair.suite} cannot be loaded")
        context = wrap_context(pair.tenant_id, pair.version)
        return keys.load(await self.provider.unwrap(wrapped, pair.kek_id, context))


def wrap_context(tenant_id: UUID, version: int) -> bytes:
    """What binds a wrapped private key to its tenant (or the installation) and version."""
    return b"tradewise-wrap-v1" + tenant_id.bytes + version.to_bytes(4, "big")
