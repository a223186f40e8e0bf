"""A server that answers the HTTP API of HashiCorp Vault's transit engine as it is documented, with real AES-256-GCM.

Only what we use, and what an operator can set wrongly: versions, derived keys, associated data (which rewrap does not
know), minimum versions, tokens, namespaces, a sealed server. Everything that was asked is kept, to look for secrets in.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from tests.waiting import until


class Refused(Exception):  # noqa: N818 - an answer, not a fault
    """An answer that is not 200: the status and the words of Vault's `errors`."""

    def __init__(self, status: int, *words: str) -> None:
        super().__init__(status)
        self.status = status
        self.words = list(words)


class TransitKey:
    """One named key with its versions."""

    def __init__(self, *, derived: bool, kind: str = "aes256-gcm96") -> None:
        self.kind = kind
        self.derived = derived
        self.min_decryption_version = 1
        self.versions = {1: (os.urandom(32), int(time.time()))}

    @property
    def latest(self) -> int:
        return max(self.versions)

    def rotate(self) -> None:
        self.versions[self.latest + 1] = (os.urandom(32), int(time.time()))

    def _aead(self, version: int, context: bytes) -> AESGCM:
        key, _ = self.versions[version]
        if not self.derived:
            return AESGCM(key)
        if not context:
            raise Refused(400, "missing 'context' for key derivation; the key was created using a derived key")
        return AESGCM(HKDF(algorithm=SHA256(), length=32, salt=None, info=context).derive(key))

    def encrypt(self, plaintext: bytes, context: bytes, associated: bytes) -> str:
        nonce = os.urandom(12)
        sealed = nonce + self._aead(self.latest, context).encrypt(nonce, plaintext, associated)
        return f"vault:v{self.latest}:{base64.b64encode(sealed).decode()}"

    def decrypt(self, ciphertext: str, context: bytes, associated: bytes) -> bytes:
        try:
            prefix, number, text = ciphertext.split(":")
            version, raw = int(number.removeprefix("v")), base64.b64decode(text, validate=True)
        except ValueError:
            raise Refused(400, "invalid ciphertext: no prefix") from None
        if prefix != "vault" or version > self.latest:
            raise Refused(400, "invalid ciphertext: version is too new")
        if version < self.min_decryption_version:
            raise Refused(400, "ciphertext or signature version is disallowed by policy (too old)")
        try:
            return self._aead(version, context).decrypt(raw[:12], raw[12:], associated)
        except (InvalidTag, ValueError):
            raise Refused(400, "cipher: message authentication failed") from None


class VaultServer:
    """The state of one server: keys by mount and name, a token, and what went wrong on purpose."""

    def __init__(self, *, token: str = "hvs.test", namespace: str | None = None) -> None:
        self.token = token
        self.namespace = namespace
        self.sealed = False
        self.redirect_to: str | None = None
        self.instead: dict[str, Any] | None = None
        self.hook: Callable[[str], Any] | None = None
        self.keys: dict[str, TransitKey] = {}
        self.asked: list[tuple[str, str, bytes]] = []
        self.address = ""

    def key(self, name: str = "tradewise", *, derived: bool = True, kind: str = "aes256-gcm96") -> TransitKey:
        """Make a key."""
        self.keys[name] = TransitKey(derived=derived, kind=kind)
        return self.keys[name]

    def answer(self, method: str, path: str, headers: dict[str, str], body: dict[str, Any]) -> dict[str, Any] | None:
        """The `data` of an answer; None for 204."""
        if self.redirect_to:
            raise Refused(307)
        if self.instead is not None:
            return self.instead
        if self.sealed:
            raise Refused(503, "Vault is sealed")
        if headers.get("x-vault-token") != self.token or headers.get("x-vault-namespace") != self.namespace:
            raise Refused(403, "2 errors occurred:\n\t* permission denied\n\t* invalid token\n\n")
        parts = path.removeprefix("/v1/").split("/")
        if parts[0] != "transit" or len(parts) < 3:
            raise Refused(404, f'no handler for route "{path}". route entry not found.')
        verb, name, *rest = parts[1:]
        key = self.keys.get(name)
        if verb == "keys":
            return self._keys(method, key, rest, body)
        if key is None:
            # Our policy has no `create`, so Vault does not make the key, as it would otherwise.
            raise Refused(*((403, "permission denied") if verb == "encrypt" else (400, "encryption key not found")))
        context, associated = _raw(body, "context"), _raw(body, "associated_data")
        if verb == "encrypt":
            return {"ciphertext": key.encrypt(_raw(body, "plaintext"), context, associated), "key_version": key.latest}
        plaintext = key.decrypt(str(body["ciphertext"]), context, associated if verb == "decrypt" else b"")
        if verb == "decrypt":
            return {"plaintext": base64.b64encode(plaintext).decode()}
        if verb == "rewrap":
            return {"ciphertext": key.encrypt(plaintext, context, b""), "key_version": key.latest}
        raise Refused(404)

    def _keys(
        self, method: str, key: TransitKey | None, rest: list[str], body: dict[str, Any]
    ) -> dict[str, Any] | None:
        if key is None:
            raise Refused(404)
        if method == "GET":
            return {
                "type": key.kind,
                "derived": key.derived,
                "keys": {str(number): made for number, (_, made) in key.versions.items()},
                "latest_version": key.latest,
                "min_decryption_version": key.min_decryption_version,
                "min_encryption_version": 0,
                "supports_encryption": True,
                "exportable": False,
            }
        if rest == ["rotate"]:
            key.rotate()
        elif rest == ["config"]:
            key.min_decryption_version = int(body["min_decryption_version"])
        return None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """The application that uvicorn serves."""
        content, more = b"", True
        while more:
            message = await receive()
            content += message.get("body", b"")
            more = message.get("more_body", False)
        self.asked.append((scope["method"], scope["path"], content))
        if self.hook is not None:
            self.hook(scope["path"])
        headers = {name.decode().lower(): value.decode() for name, value in scope["headers"]}
        extra: list[tuple[bytes, bytes]] = []
        try:
            if self.redirect_to:
                extra = [(b"location", self.redirect_to.encode())]
            data = self.answer(scope["method"], scope["path"], headers, json.loads(content or b"{}"))
            status, said = (204, b"") if data is None else (200, json.dumps({"data": data, "warnings": None}).encode())
        except Refused as refused:
            status, said = refused.status, json.dumps({"errors": refused.words}).encode()
        await send({"type": "http.response.start", "status": status, "headers": [
            (b"content-type", b"application/json"), *extra]})  # fmt: skip
        await send({"type": "http.response.body", "body": said})


def _raw(body: dict[str, Any], name: str) -> bytes:
    try:
        return base64.b64decode(str(body.get(name, "")), validate=True)
    except ValueError:
        raise Refused(400, f"failed to base64-decode {name}") from None


@asynccontextmanager
async def serving(server: VaultServer, **options: Any) -> AsyncIterator[VaultServer]:
    """Serve ``server`` on a loopback port; ``options`` are uvicorn's, for a certificate."""
    config = uvicorn.Config(
        server, host="127.0.0.1", port=0, lifespan="off", ws="none", log_config=None, access_log=False, **options
    )
    running = uvicorn.Server(config)
    task = asyncio.create_task(running.serve())
    await until(lambda: running.started, what="the server listens")
    scheme = "https" if options.get("ssl_certfile") else "http"
    server.address = f"{scheme}://127.0.0.1:{running.servers[0].sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        running.should_exit = running.force_exit = True
        await task
