"""The API's own key, for what the API itself must open again (seeds of second factors). Apart from the agents' keys.

AES-256-GCM with a random 96-bit nonce in front. The associated data binds a value to its format, key, table, column,
row and person: copied to another place it does not open.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import secrets
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from control_plane.errors import UnavailableError
from control_plane.private_files import create_private_file, replace_private_file
from control_plane.security.secret import Secret
from control_plane.settings import Settings

FORMAT: Final = 1
_NONCE = 12


class DataKeyError(RuntimeError):
    """The data key is malformed, or a value does not open with it. The message names the remedy and no value."""

    code = "data_key"


class NoDataKeyError(UnavailableError):
    """This installation has no data key, or not the one that a value is encrypted with."""

    def __init__(self, why: str) -> None:
        super().__init__(
            f"second factors are not available: {why}. The operator can help: see TRADEWISE_DATA_KEY_FILE in the"
            " documentation of the configuration",
            code="data_key_missing",
            retry_after_s=60,
        )


class Spot(msgspec.Struct, frozen=True):
    """Where an encrypted value lives, and whose it is."""

    table: str
    column: str
    row_id: UUID
    user_id: UUID


class Encrypted(msgspec.Struct, frozen=True):
    """An encrypted value with what is needed to open it again."""

    value: bytes
    format: int
    key_id: str


class DataKeys:
    """The newest data key and earlier ones."""

    def __init__(self, keys: dict[str, bytes], current_id: str) -> None:
        if current_id not in keys:
            raise DataKeyError(f"the current data key {current_id!r} is not among the keys")
        for key_id, key in keys.items():
            if len(key) != 32:
                raise DataKeyError(f"data key {key_id!r} must be 32 bytes, it has {len(key)}")
        self._keys = {key_id: AESGCM(key) for key_id, key in keys.items()}
        self.current_id = current_id

    def __repr__(self) -> str:
        return f"DataKeys(current_id={self.current_id!r})"

    def encrypt(self, plaintext: bytes, spot: Spot) -> Encrypted:
        """Encrypt for ``spot`` with the newest key."""
        nonce = os.urandom(_NONCE)
        sealed = self._keys[self.current_id].encrypt(nonce, plaintext, _bound_to(FORMAT, self.current_id, spot))
        return Encrypted(value=nonce + sealed, format=FORMAT, key_id=self.current_id)

    def decrypt(self, encrypted: Encrypted, spot: Spot) -> Secret:
        """Open at ``spot``. Raises :class:`NoDataKeyError` for a key not at hand, :class:`DataKeyError` otherwise."""
        if encrypted.format != FORMAT:
            raise DataKeyError(f"format {encrypted.format} is not known to this version of tradewise; upgrade it")
        aead = self._keys.get(encrypted.key_id)
        if aead is None:
            raise NoDataKeyError(f"the data key {encrypted.key_id} is not at hand")
        nonce, sealed = encrypted.value[:_NONCE], encrypted.value[_NONCE:]
        try:
            return Secret(aead.decrypt(nonce, sealed, _bound_to(encrypted.format, encrypted.key_id, spot)))
        except (InvalidTag, ValueError):
            raise DataKeyError("an encrypted value does not open at this place: it was altered or moved") from None


def _bound_to(number: int, key_id: str, spot: Spot) -> bytes:
    parts = (
        b"tradewise-data",
        number.to_bytes(2, "big"),
        key_id.encode(),
        spot.table.encode(),
        spot.column.encode(),
        spot.row_id.bytes,
        spot.user_id.bytes,
    )
    return b"".join(len(part).to_bytes(2, "big") + part for part in parts)


class _DataKeyFile(msgspec.Struct, forbid_unknown_fields=True):
    current: str
    keys: dict[str, str]


class DataKeyStore:
    """Where data keys come from: the environment, or a file that is read anew when it has changed.

    Raises :class:`DataKeyError` at the start where there is one that cannot be used. Without any, everything works but
    second factors.
    """

    def __init__(self, settings: Settings) -> None:
        self.path: Path | None = None if settings.data_key else settings.effective_data_key_file
        self._keys: DataKeys | None = None
        self._seen: tuple[int, int] | None = None
        if settings.data_key:
            self._keys = _from_environment(settings.data_key, settings.data_key_previous)
        else:
            self._look()

    def __repr__(self) -> str:
        return "DataKeyStore(…)"

    def keys(self) -> DataKeys:
        """The keys as they are now. Raises :class:`NoDataKeyError` where there is none that can be used."""
        try:
            found = self._look()
        except DataKeyError as error:
            raise NoDataKeyError(str(error)) from None
        if found is None:
            raise NoDataKeyError("this installation has no data key")
        return found

    def _look(self) -> DataKeys | None:
        if self.path is None:
            return self._keys
        try:
            about = self.path.stat()
            seen = (about.st_mtime_ns, about.st_ino)
            if self._keys is None or seen != self._seen:
                self._keys, self._seen = _read(self.path), seen
        except FileNotFoundError:
            self._keys = None
        except OSError as error:
            raise DataKeyError(f"{self.path} cannot be read ({type(error).__name__})") from None
        return self._keys


def create_data_key_file(path: Path) -> None:
    """Make ``path`` with one fresh key, readable by its owner alone. Leaves an existing file as it is."""
    key_id, key = _fresh()
    create_private_file(path, msgspec.json.encode(_DataKeyFile(current=key_id, keys={key_id: key})))


def add_data_key(path: Path) -> str:
    """Put a fresh key into the file as its newest; earlier ones stay, to open what they encrypted. Returns its id."""
    content = _decoded(path)
    key_id, key = _fresh()
    replace_private_file(path, msgspec.json.encode(_DataKeyFile(current=key_id, keys={**content.keys, key_id: key})))
    return key_id


def _fresh() -> tuple[str, str]:
    return f"data-{secrets.token_hex(4)}", base64.b64encode(os.urandom(32)).decode()


def _decoded(path: Path) -> _DataKeyFile:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_DataKeyFile)
    except msgspec.DecodeError:
        raise DataKeyError(f"{path} is not a data key file of tradewise") from None


def _read(path: Path) -> DataKeys:
    content = _decoded(path)
    return DataKeys({key_id: _raw(text, f"{path}, key {key_id!r}") for key_id, text in content.keys.items()},
                    content.current)  # fmt: skip


def _from_environment(current: str, previous: tuple[str, ...]) -> DataKeys:
    keys = [_raw(current, "TRADEWISE_DATA_KEY"), *(_raw(text, "TRADEWISE_DATA_KEY_PREVIOUS") for text in previous)]
    named = {_name_of(key): key for key in keys}
    return DataKeys(named, _name_of(keys[0]))


def _name_of(key: bytes) -> str:
    """What a key from the environment is called: 32 bits of its digest, which tell nothing of 256 random ones."""
    return f"env-{hashlib.sha256(b'tradewise-data-key-name' + key).hexdigest()[:8]}"


def _raw(text: str, source: str) -> bytes:
    try:
        key = base64.b64decode(text, validate=True)
    except binascii.Error:
        raise DataKeyError(f"{source}: is not base64") from None
    if len(key) != 32:
        raise DataKeyError(f"{source}: must be 32 bytes, it has {len(key)}")
    return key
