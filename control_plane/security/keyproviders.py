"""Where key-encryption keys (KEKs) come from. Only agents hold one; the interface fits a cloud KMS as well."""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from pathlib import Path
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from control_plane.private_files import create_private_file
from control_plane.settings import Settings


class KeyProviderError(RuntimeError):
    """The key-encryption key is missing, malformed or not the one that wrapped this key."""

    code = "key_provider"


class KeyProvider(Protocol):
    """Wraps and unwraps tenants' private keys."""

    @property
    def current_id(self) -> str:
        """The id of the key that wraps from now on."""
        ...

    async def wrap(self, key: bytes, context: bytes) -> bytes:
        """Encrypt ``key`` under the current KEK, bound to ``context``."""
        ...

    async def unwrap(self, wrapped: bytes, kek_id: str, context: bytes) -> bytes:
        """Decrypt what :meth:`wrap` gave. Raises :class:`KeyProviderError`."""
        ...


class LocalKeyProvider:
    """KEKs in this process's memory: AES-256-GCM with a random 96-bit nonce in front of each wrapped key."""

    def __init__(self, keys: dict[str, bytes], current_id: str) -> None:
        if current_id not in keys:
            raise KeyProviderError(f"the current key-encryption key {current_id!r} is not among the keys")
        for kek_id, key in keys.items():
            if len(key) != 32:
                raise KeyProviderError(f"key-encryption key {kek_id!r} must be 32 bytes, it has {len(key)}")
        self._keys = {kek_id: AESGCM(key) for kek_id, key in keys.items()}
        self._current_id = current_id

    def __repr__(self) -> str:
        return f"LocalKeyProvider(current_id={self._current_id!r})"

    @property
    def current_id(self) -> str:
        """See :class:`KeyProvider`."""
        return self._current_id

    async def wrap(self, key: bytes, context: bytes) -> bytes:
        """See :class:`KeyProvider`."""
        nonce = os.urandom(12)
        return nonce + self._keys[self._current_id].encrypt(nonce, key, context)

    async def unwrap(self, wrapped: bytes, kek_id: str, context: bytes) -> bytes:
        """See :class:`KeyProvider`."""
        aead = self._keys.get(kek_id)
        if aead is None:
            raise KeyProviderError(f"key-encryption key {kek_id!r} is not at hand")
        try:
            return aead.decrypt(wrapped[:12], wrapped[12:], context)
        except InvalidTag:
            raise KeyProviderError("a wrapped key does not open here: it was altered or moved") from None


class _KekFile(msgspec.Struct, forbid_unknown_fields=True):
    current: str
    keys: dict[str, str]


def create_kek_file(path: Path) -> None:
    """Make ``path`` with one fresh key, readable by its owner alone. Leaves an existing file as it is."""
    kek_id = f"kek-{secrets.token_hex(4)}"
    content = _KekFile(current=kek_id, keys={kek_id: base64.b64encode(os.urandom(32)).decode()})
    create_private_file(path, msgspec.json.encode(content))


def _decode(kek_id: str, text: str, source: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise KeyProviderError(f"{source}: key {kek_id!r} is not base64") from None


def key_provider(settings: Settings) -> KeyProvider:
    """The provider that ``TRADEWISE_KEY_PROVIDER`` names. Raises :class:`KeyProviderError` with the remedy."""
    if settings.key_provider == "env":
        return LocalKeyProvider({"env": _decode("env", settings.kek or "", "TRADEWISE_KEK")}, "env")
    path = settings.effective_kek_file
    try:
        content = msgspec.json.decode(path.read_bytes(), type=_KekFile)
    except FileNotFoundError:
        raise KeyProviderError(
            f"no key-encryption key at {path}: set TRADEWISE_KEK_FILE, or make one with `tradewise keys init`"
        ) from None
    except PermissionError:
        raise KeyProviderError(f"the key-encryption key at {path} is not readable by this user") from None
    except msgspec.DecodeError:
        raise KeyProviderError(f"{path} is not a key file of tradewise") from None
    return LocalKeyProvider(
        {kek_id: _decode(kek_id, text, str(path)) for kek_id, text in content.keys.items()}, content.current
    )
