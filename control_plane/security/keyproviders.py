"""Where key-encryption keys (KEKs) come from. Only agents hold one; the interface fits a cloud KMS as well.

Two providers live here because they need nothing but this machine: ``file`` and ``env``. HashiCorp Vault's is in
``agents/keys/transit.py``, since it speaks HTTP and the control plane does not.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from control_plane.private_files import create_private_file, replace_private_file
from control_plane.settings import Settings

#: How long a key must have been out of use before it is retired: what was wrapped a moment ago may not be stored yet.
RETIRE_AFTER_S = 120.0
#: What rows carry that were wrapped before the ``env`` provider gave its keys names.
_UNNAMED = "env"
_ID_LABEL = b"tradewise-kek-id-v1"
_FEWEST_BYTES = 8
_MAKE_ONE = "make one with `tradewise keys init`, or with `openssl rand -base64 32` for TRADEWISE_KEK"


class KeyProviderError(RuntimeError):
    """The key-encryption key is missing, malformed or not the one that wrapped this key."""

    code = "key_provider"


class KeyProviderUnavailableError(KeyProviderError, ConnectionError):
    """The provider does not answer just now; the same call may succeed later. Agents wait, as for a lost database."""

    code = "key_provider_unavailable"


class KeyProviderRefusedError(KeyProviderUnavailableError):
    """The provider answers, and refuses us: somebody has to set something right, but no wrapped key is at fault."""

    code = "key_provider_refused"


class Wrapped(msgspec.Struct, frozen=True):
    """A key under a key-encryption key, and the id of the one that it is under."""

    value: bytes
    kek_id: str


class KeyProvider(Protocol):
    """Wraps and unwraps tenants' private keys. ``context`` binds a wrapped key to its tenant and version."""

    async def current_id(self) -> str:
        """The id of the key that wraps from now on."""
        ...

    async def wrap(self, key: bytes, context: bytes) -> Wrapped:
        """Encrypt ``key`` under the current KEK."""
        ...

    async def unwrap(self, wrapped: bytes, kek_id: str, context: bytes) -> bytes:
        """Decrypt what :meth:`wrap` gave. Raises :class:`KeyProviderError`."""
        ...

    async def rewrap(self, wrapped: bytes, kek_id: str, context: bytes) -> Wrapped:
        """The same key under the current KEK. Raises :class:`KeyProviderError`."""
        ...

    async def rotate(self, after: str) -> str:
        """Make a new current key, unless another one than ``after`` is current already; its id."""
        ...

    async def retire(self, kek_id: str) -> None:
        """Take a key away for good. The caller has made sure that no row is under it."""
        ...

    async def ready(self) -> str:
        """Try the provider; in a few words what it holds. Raises :class:`KeyProviderError` with the remedy."""
        ...

    async def close(self) -> None:
        """Give back what the provider holds open."""
        ...


def check_key(kek_id: str, key: bytes, source: str) -> bytes:
    """``key`` itself, where it can be a random one of 32 bytes. Raises :class:`KeyProviderError` with the remedy."""
    problem = None
    if len(key) != 32:
        problem = f"must be 32 bytes, it has {len(key)}"
    elif len(set(key)) < _FEWEST_BYTES:
        problem = "repeats a few bytes: it is a placeholder, not a key"
    elif all(0x20 <= byte < 0x7F for byte in key):
        problem = "is text, not random bytes: a password or an example can be guessed"
    if problem:
        raise KeyProviderError(f"{source}: key-encryption key {kek_id!r} {problem}; {_MAKE_ONE}")
    return key


class LocalKeyProvider:
    """KEKs in this process's memory: AES-256-GCM with a random 96-bit nonce in front of each wrapped key."""

    def __init__(self, keys: Mapping[str, bytes], current_id: str, source: str = "key provider") -> None:
        self._source = source
        self._use(keys, current_id)

    def _use(self, keys: Mapping[str, bytes], current_id: str) -> None:
        if current_id not in keys:
            raise KeyProviderError(
                f"{self._source}: the current key-encryption key {current_id!r} is not among the keys"
            )
        self._keys = {kek_id: AESGCM(check_key(kek_id, key, self._source)) for kek_id, key in keys.items()}
        self._current = current_id

    def __repr__(self) -> str:
        return f"{type(self).__name__}(current_id={self._current!r})"

    def _look(self) -> None:
        """Learn of keys that changed; nothing to do where they cannot."""

    async def current_id(self) -> str:
        """See :class:`KeyProvider`."""
        self._look()
        return self._current

    async def wrap(self, key: bytes, context: bytes) -> Wrapped:
        """See :class:`KeyProvider`."""
        self._look()
        nonce = os.urandom(12)
        return Wrapped(nonce + self._keys[self._current].encrypt(nonce, key, context), self._current)

    async def unwrap(self, wrapped: bytes, kek_id: str, context: bytes) -> bytes:
        """See :class:`KeyProvider`."""
        if kek_id not in self._keys:
            self._look()
        for aead in self._candidates(kek_id):
            try:
                return aead.decrypt(wrapped[:12], wrapped[12:], context)
            except (InvalidTag, ValueError):  # too short for a nonce is a ValueError
                continue
        raise KeyProviderError("a wrapped key does not open here: it was altered or moved")

    def _candidates(self, kek_id: str) -> list[AESGCM]:
        aead = self._keys.get(kek_id)
        if aead is None:
            raise KeyProviderError(f"{self._source}: key-encryption key {kek_id!r} is not at hand")
        return [aead]

    async def rewrap(self, wrapped: bytes, kek_id: str, context: bytes) -> Wrapped:
        """See :class:`KeyProvider`."""
        return await self.wrap(await self.unwrap(wrapped, kek_id, context), context)

    async def rotate(self, after: str) -> str:
        """See :class:`KeyProvider`."""
        if self._current != after:
            return self._current
        raise KeyProviderError(f"{self._source}: keys held in memory cannot be rotated from here")

    async def retire(self, kek_id: str) -> None:
        """See :class:`KeyProvider`."""
        raise KeyProviderError(f"{self._source}: {kek_id!r} cannot be retired from here")

    async def ready(self) -> str:
        """See :class:`KeyProvider`."""
        self._look()
        others = len(self._keys) - 1
        return f"current key {self._current}" + (f", {others} older" if others else "")

    async def close(self) -> None:
        """See :class:`KeyProvider`."""


def env_key_id(key: bytes) -> str:
    """The name of a key that has none: a digest under a fixed label, so that the same key keeps its name."""
    return f"env-{hashlib.sha256(_ID_LABEL + key).hexdigest()[:8]}"


class EnvKeyProvider(LocalKeyProvider):
    """TRADEWISE_KEK wraps; TRADEWISE_KEK_PREVIOUS still unwraps. Replacing them is the operator's part."""

    def __init__(self, current: str, previous: tuple[str, ...] = ()) -> None:
        key = _decode(current, "TRADEWISE_KEK")
        older = [_decode(text, "TRADEWISE_KEK_PREVIOUS") for text in previous]
        super().__init__({env_key_id(each): each for each in (key, *older)}, env_key_id(key), "TRADEWISE_KEK")

    def _candidates(self, kek_id: str) -> list[AESGCM]:
        return list(self._keys.values()) if kek_id == _UNNAMED else super()._candidates(kek_id)

    async def rotate(self, after: str) -> str:
        """See :class:`KeyProvider`."""
        if self._current != after:
            return self._current
        raise KeyProviderError(
            "TRADEWISE_KEK: every key pair is under the current key already. Move its value to TRADEWISE_KEK_PREVIOUS,"
            " put a new key into TRADEWISE_KEK (`openssl rand -base64 32`), start the agents again, then run this again"
        )

    async def retire(self, kek_id: str) -> None:
        """See :class:`KeyProvider`."""
        raise KeyProviderError(f"no key pair is under {kek_id!r} any more: take it out of TRADEWISE_KEK_PREVIOUS")


class _KekFile(msgspec.Struct, forbid_unknown_fields=True):
    current: str
    keys: dict[str, str]


class FileKeyProvider(LocalKeyProvider):
    """KEKs in a file of mode 0600. It is read anew when it has changed, so that no agent wraps with an older key."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._seen: tuple[int, int, int] | None = None
        self._source = str(path)
        self._look()

    def _look(self) -> None:
        try:
            found = self._path.stat()
            seen = (found.st_mtime_ns, found.st_ino, found.st_size)
            if seen != self._seen:
                content = msgspec.json.decode(self._path.read_bytes(), type=_KekFile)
                keys = {kek_id: _decode(text, f"{self._path}: {kek_id!r}") for kek_id, text in content.keys.items()}
                self._use(keys, content.current)
                self._seen = seen
        except FileNotFoundError:
            raise KeyProviderError(
                f"no key-encryption key at {self._path}: set TRADEWISE_KEK_FILE, or make one with `tradewise keys init`"
            ) from None
        except PermissionError:
            raise KeyProviderError(f"the key-encryption key at {self._path} is not readable by this user") from None
        except msgspec.DecodeError:
            raise KeyProviderError(f"{self._path} is not a key file of tradewise") from None

    async def rotate(self, after: str) -> str:
        """See :class:`KeyProvider`."""
        with self._rewriting() as content:
            if content.current == after:
                content.current = f"kek-{secrets.token_hex(4)}"
                content.keys[content.current] = base64.b64encode(os.urandom(32)).decode()
        return await self.current_id()

    async def retire(self, kek_id: str) -> None:
        """See :class:`KeyProvider`."""
        with self._rewriting() as content:
            if kek_id == content.current:
                raise KeyProviderError(f"{kek_id!r} is the current key: `tradewise keys rotate` makes a new one first")
            if kek_id not in content.keys:
                raise KeyProviderError(f"{self._path} holds no key {kek_id!r}")
            wait = RETIRE_AFTER_S - (time.time() - self._path.stat().st_mtime)
            if wait > 0:
                raise KeyProviderError(
                    f"the keys changed a moment ago, and what an agent wrapped before may not be stored yet:"
                    f" retire {kek_id!r} in {wait:.0f} s"
                )
            del content.keys[kek_id]
        self._look()

    @contextmanager
    def _rewriting(self) -> Iterator[_KekFile]:
        """The file's content, to be changed in place; nobody else changes it meanwhile, and it is stored at the end."""
        try:
            lock = os.open(self._path.with_name(f"{self._path.name}.lock"), os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                before = self._path.read_bytes()
                content = msgspec.json.decode(before, type=_KekFile)
                yield content
                after = msgspec.json.encode(content)
                if after != before:
                    replace_private_file(self._path, after)
            finally:
                os.close(lock)
        except OSError as error:
            raise KeyProviderError(
                f"{self._path} cannot be written here ({error.strerror}): change it where it is kept (in Kubernetes,"
                " the Secret: add a key and name it as current), then run this again, which re-wraps under it"
            ) from None


def create_kek_file(path: Path) -> None:
    """Make ``path`` with one fresh key, readable by its owner alone. Leaves an existing file as it is."""
    kek_id = f"kek-{secrets.token_hex(4)}"
    content = _KekFile(current=kek_id, keys={kek_id: base64.b64encode(os.urandom(32)).decode()})
    create_private_file(path, msgspec.json.encode(content))


def _decode(text: str, source: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise KeyProviderError(f"{source} is not base64 of 32 bytes; {_MAKE_ONE}") from None


def key_provider(settings: Settings) -> KeyProvider:
    """The provider of this machine that ``TRADEWISE_KEY_PROVIDER`` names. Raises :class:`KeyProviderError`."""
    if settings.key_provider == "env":
        return EnvKeyProvider(settings.kek or "", settings.kek_previous)
    if settings.key_provider == "file":
        return FileKeyProvider(settings.effective_kek_file)
    raise KeyProviderError(f"the {settings.key_provider} provider is the agents' (agents/keys/providers.py)")
