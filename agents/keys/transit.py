"""HashiCorp Vault's transit engine (and OpenBao's) as the key provider: keys never leave it, agents ask it to use them.

A wrapped key is bound to its tenant and version. Where the transit key was made with ``derived=true``, that binding is
the ``context`` from which Vault derives a key of its own for each, and Vault can rewrap by itself. Otherwise it is
``associated_data``, which Vault's rewrap does not know: then a private half is unwrapped and wrapped again in this
process, as opening a value with it would.
"""

from __future__ import annotations

import base64
import re
import ssl
from pathlib import Path
from typing import Any, Final

import httpx
import msgspec

from agents.authorities import public_authorities
from control_plane.security.keyproviders import (
    KeyProviderError,
    KeyProviderRefusedError,
    KeyProviderUnavailableError,
    Wrapped,
)
from control_plane.settings import Settings

_TIMEOUT: Final = httpx.Timeout(10.0, connect=3.0)
_LARGEST_ANSWER: Final = 256 * 1024
_CIPHERTEXT: Final = re.compile(r"vault:v([0-9]{1,9}):[A-Za-z0-9+/=]+")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(/[A-Za-z0-9][A-Za-z0-9_.-]*)*")
_TOKEN: Final = re.compile(r"[\x21-\x7e]+")
_KEY_KINDS: Final = frozenset({"aes256-gcm96", "chacha20-poly1305"})


class _Key(msgspec.Struct, frozen=True):
    """What Vault tells of a transit key."""

    type: str
    latest_version: int
    derived: bool = False
    min_decryption_version: int = 1
    min_encryption_version: int = 0


class TransitKeyProvider:
    """Wraps through one transit key; its ids are ``vault:{mount}/{key}:v{version}``."""

    def __init__(self, settings: Settings) -> None:
        mount, key = settings.vault_transit_mount.strip("/"), settings.vault_transit_key
        if not _NAME.fullmatch(mount) or not _NAME.fullmatch(key) or "/" in key:
            raise KeyProviderError(
                "TRADEWISE_VAULT_TRANSIT_MOUNT and TRADEWISE_VAULT_TRANSIT_KEY take letters, digits, _, - and ."
            )
        self._mount, self._key = mount, key
        self._token = settings.vault_token
        self._token_file = settings.vault_token_file
        self._token_seen: tuple[int, int] | None = None
        self._derived: bool | None = None
        headers = {"X-Vault-Request": "true", "User-Agent": "TradeWise"}
        if settings.vault_namespace:
            headers["X-Vault-Namespace"] = settings.vault_namespace
        # Nothing of the environment: no proxy, no certificate and no .netrc that somebody set for another purpose.
        self._client = httpx.AsyncClient(
            base_url=f"{(settings.vault_address or '').rstrip('/')}/v1/{mount}/",
            verify=_tls(settings.vault_ca_file),
            headers=headers,
            timeout=_TIMEOUT,
            follow_redirects=False,
            trust_env=False,
            limits=httpx.Limits(max_connections=16),
        )

    def __repr__(self) -> str:
        return f"TransitKeyProvider(key={self._mount}/{self._key})"

    async def current_id(self) -> str:
        """See KeyProvider."""
        return self._id((await self._read()).latest_version)

    async def wrap(self, key: bytes, context: bytes) -> Wrapped:
        """See KeyProvider."""
        said = await self._ask("encrypt", {"plaintext": _text(key), **await self._binding(context)})
        return self._wrapped(said.get("ciphertext"))

    async def unwrap(self, wrapped: bytes, kek_id: str, context: bytes) -> bytes:
        """See KeyProvider."""
        said = await self._ask("decrypt", {"ciphertext": self._given(wrapped, kek_id), **await self._binding(context)})
        try:
            return base64.b64decode(said["plaintext"], validate=True)
        except (KeyError, TypeError, ValueError):
            raise self._strange() from None

    async def rewrap(self, wrapped: bytes, kek_id: str, context: bytes) -> Wrapped:
        """See KeyProvider."""
        binding = await self._binding(context)
        if not self._derived:
            return await self.wrap(await self.unwrap(wrapped, kek_id, context), context)
        said = await self._ask("rewrap", {"ciphertext": self._given(wrapped, kek_id), **binding})
        return self._wrapped(said.get("ciphertext"))

    async def rotate(self, after: str) -> str:
        """See KeyProvider."""
        current = await self.current_id()
        if current == after:
            await self._request("POST", f"keys/{self._key}/rotate", {})
            current = await self.current_id()
        return current

    async def retire(self, kek_id: str) -> None:
        """See KeyProvider. Vault keeps the version but no longer decrypts with it; lowering the bound undoes that."""
        prefix, _, version = kek_id.rpartition(":v")
        if prefix != self._id(0).rpartition(":v")[0] or not version.isdigit():
            raise KeyProviderError(f"{kek_id!r} is no version of the transit key {self._mount}/{self._key}")
        key = await self._read()
        if int(version) >= key.latest_version:
            raise KeyProviderError(f"{kek_id!r} is the current key: `tradewise keys rotate` makes a new one first")
        if key.min_decryption_version <= int(version):
            await self._request("POST", f"keys/{self._key}/config", {"min_decryption_version": int(version) + 1})

    async def ready(self) -> str:
        """See KeyProvider. Tries the key as agents use it: wraps and unwraps something that is no secret."""
        key = await self._read()
        if key.type not in _KEY_KINDS:
            raise KeyProviderError(
                f"the transit key {self._mount}/{self._key} is of type {key.type}: make one of type aes256-gcm96"
            )
        wrapped = await self.wrap(b"tradewise", b"doctor")
        if await self.unwrap(wrapped.value, wrapped.kek_id, b"doctor") != b"tradewise":
            raise self._strange()
        return f"current key {wrapped.kek_id}" + (
            "" if key.derived else " (derived=true would let Vault rewrap by itself)"
        )

    async def close(self) -> None:
        """See KeyProvider."""
        await self._client.aclose()

    def _id(self, version: int) -> str:
        return f"vault:{self._mount}/{self._key}:v{version}"

    async def _read(self) -> _Key:
        said = await self._request("GET", f"keys/{self._key}", None)
        try:
            key = msgspec.convert(said, _Key)
        except msgspec.ValidationError:
            raise self._strange() from None
        self._derived = key.derived
        return key

    async def _binding(self, context: bytes) -> dict[str, str]:
        if self._derived is None:
            await self._read()
        return {"context" if self._derived else "associated_data": _text(context)}

    def _given(self, wrapped: bytes, kek_id: str) -> str:
        """The ciphertext as Vault wrote it, once it is sure that it is of the version that the row names."""
        text = wrapped.decode("ascii", "replace")
        match = _CIPHERTEXT.fullmatch(text)
        if match is None or self._id(int(match[1])) != kek_id:
            raise KeyProviderError(
                f"a key wrapped under {kek_id!r} is not one of the transit key {self._mount}/{self._key}"
            )
        return text

    def _wrapped(self, ciphertext: object) -> Wrapped:
        match = _CIPHERTEXT.fullmatch(ciphertext) if isinstance(ciphertext, str) else None
        if match is None:
            raise self._strange()
        return Wrapped(match[0].encode(), self._id(int(match[1])))

    async def _ask(self, verb: str, body: dict[str, str]) -> dict[str, Any]:
        return await self._request("POST", f"{verb}/{self._key}", body)

    async def _request(self, method: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """One call. Answers are told by their status alone: what Vault says in words may repeat what it was given."""
        try:
            async with self._client.stream(
                method, path, json=body, headers={"X-Vault-Token": self._current_token()}
            ) as answer:
                content = b""
                async for chunk in answer.aiter_bytes():
                    content += chunk
                    if len(content) > _LARGEST_ANSWER:
                        raise self._strange()
        except httpx.HTTPError as error:
            raise KeyProviderUnavailableError(
                f"Vault does not answer ({type(error).__name__}): is TRADEWISE_VAULT_ADDRESS right, and"
                " TRADEWISE_VAULT_CA_FILE where its certificate is not a public one?"
            ) from None
        if answer.status_code >= 300:
            raise self._refused(answer.status_code)
        if answer.status_code == 204 or not content:
            return {}
        try:
            said = msgspec.json.decode(content)["data"]
        except (msgspec.DecodeError, KeyError, TypeError):
            raise self._strange() from None
        return said if isinstance(said, dict) else {}

    def _refused(self, status: int) -> KeyProviderError:
        name = f"{self._mount}/{self._key}"
        if status == 400:
            return KeyProviderError(
                f"Vault refuses the request: a wrapped key was altered or moved, its version is retired, or {name} is"
                " not there or cannot encrypt"
            )
        if status == 403:
            return KeyProviderRefusedError(
                f"Vault refuses our token: it has expired, or its policy lacks `update` on {self._mount}/encrypt,"
                f" decrypt and rewrap/{self._key} or `read` on {self._mount}/keys/{self._key}"
            )
        if status == 404:
            return KeyProviderRefusedError(
                f"Vault has no transit key {name}: `vault secrets enable -path={self._mount} transit`, then"
                f" `vault write -f {self._mount}/keys/{self._key} derived=true`"
            )
        if 300 <= status < 400:
            return KeyProviderRefusedError(
                "Vault sends us elsewhere, and we do not follow: TRADEWISE_VAULT_ADDRESS must be the active node's"
                " or the balancer's"
            )
        words = "is sealed or in maintenance: unseal it" if status == 503 else f"answers with status {status}"
        return KeyProviderUnavailableError(f"Vault {words}; agents try again until it serves")

    def _strange(self) -> KeyProviderError:
        return KeyProviderRefusedError("what answers at TRADEWISE_VAULT_ADDRESS is not Vault's transit engine")

    def _current_token(self) -> str:
        if self._token_file is not None:
            try:
                found = self._token_file.stat()
                if self._token_seen != (found.st_mtime_ns, found.st_ino):
                    self._token = self._token_file.read_text("utf-8").strip()
                    self._token_seen = (found.st_mtime_ns, found.st_ino)
            except (OSError, UnicodeDecodeError):
                raise KeyProviderRefusedError(
                    f"Vault's token at {self._token_file} cannot be read: set TRADEWISE_VAULT_TOKEN_FILE"
                ) from None
        # Checked here, because the HTTP library's own complaint would quote the token.
        if self._token is None or not _TOKEN.fullmatch(self._token):
            raise KeyProviderRefusedError(
                "Vault's token is empty or holds what no token holds: see TRADEWISE_VAULT_TOKEN_FILE"
            )
        return self._token


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    if ca_file is None:
        return public_authorities()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(ca_file)
    except (OSError, ssl.SSLError):
        raise KeyProviderError(f"TRADEWISE_VAULT_CA_FILE: {ca_file} holds no certificates that can be read") from None
    return context


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode()
