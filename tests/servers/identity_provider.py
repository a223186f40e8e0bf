"""A small OpenID provider with real keys, which checks what a client must send and can be told to misbehave."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import secrets
import time
import warnings
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, parse_qsl, unquote, urlsplit

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.servers.loopback import LoopbackServer, Reply, Request, json_reply

_KEYS: dict[str, Any] = {
    "RS256": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "other": rsa.generate_private_key(public_exponent=65537, key_size=2048),
    "short": rsa.generate_private_key(public_exponent=65537, key_size=1024),
}


class Person(msgspec.Struct, frozen=True):
    """Somebody who has an account at the provider."""

    subject: str = "248289761001"
    email: str | None = "ada@example.org"
    email_verified: Any = True
    name: str | None = "Ada Lovelace"


class _Issued(msgspec.Struct):
    query: dict[str, str]
    person: Person


class IdentityProvider(LoopbackServer):
    """Discovery, keys, and a token endpoint that insists on client secret, PKCE and the exact redirect URI."""

    def __init__(self, redirect_uri: str) -> None:
        super().__init__()
        self.redirect_uri = redirect_uri
        self.client_id, self.client_secret = "tradewise &co", "a secret: with/odd characters%"
        self.auth_methods: list[str] | None = None
        self.algorithm = "RS256"
        self.kid = "key-1"
        self.claims: dict[str, Any] = {}
        """Put over what a token says; a value of None takes a claim away."""
        self.sign: Callable[[dict[str, Any]], str] | None = None
        """Makes the token instead, from its claims."""
        self.discovery: dict[str, Any] = {}
        """Put over the discovery document."""
        self.jwks: list[dict[str, Any]] | None = None
        self.replies: dict[str, Reply] = {}
        """Answers by path that are given instead."""
        self.hold: asyncio.Event | None = None
        """Where set, the token endpoint answers only when this is."""
        self._issued: dict[str, _Issued] = {}

    @property
    def issuer(self) -> str:
        """The provider's name."""
        return self.url

    def public_pem(self) -> bytes:
        """What everybody can read of the signing key."""
        pem: bytes = _KEYS[self.algorithm].public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return pem

    def jwk(self, name: str, kid: str, **changes: Any) -> dict[str, Any]:
        """The public half of one of the keys."""
        kind: Any = ECAlgorithm if name == "ES256" else RSAAlgorithm
        return {**json.loads(kind.to_jwk(_KEYS[name].public_key())), "kid": kid, "use": "sig", **changes}

    def signed(self, payload: dict[str, Any], *, key: str | None = None, **options: Any) -> str:
        """A token signed by one of the keys."""
        options = {"algorithm": self.algorithm, "headers": {"kid": self.kid}, **options}
        with warnings.catch_warnings(action="ignore", category=jwt.InsecureKeyLengthWarning):  # it may be meant
            return jwt.encode(payload, _KEYS[key or self.algorithm], **options)

    def agree(self, authorization_url: str, person: Person | None = None) -> dict[str, str]:
        """What the browser comes back with when ``person`` has said yes: a code and the state."""
        parts = urlsplit(authorization_url)
        query = dict(parse_qsl(parts.query, strict_parsing=True))
        assert f"{parts.scheme}://{parts.netloc}{parts.path}" == f"{self.url}/authorize"
        assert query["client_id"] == self.client_id
        assert query["redirect_uri"] == self.redirect_uri
        assert (query["response_type"], query["code_challenge_method"]) == ("code", "S256")
        assert "openid" in query["scope"].split()
        assert min(len(query["state"]), len(query["nonce"]), len(query["code_challenge"])) >= 43
        code = secrets.token_urlsafe(24)
        self._issued[code] = _Issued(query, person or Person())
        return {"code": code, "state": query["state"]}

    async def handle(self, request: Request) -> Reply:
        """Answer one request."""
        if request.path in self.replies:
            return self.replies[request.path]
        if request.path == "/.well-known/openid-configuration":
            return json_reply(self._discovery())
        if request.path == "/keys":
            return json_reply({"keys": self.jwks if self.jwks is not None else [self.jwk(self.algorithm, self.kid)]})
        if request.path == "/token" and request.method == "POST":
            if self.hold is not None:
                await self.hold.wait()
            return self._token(request)
        return json_reply({"error": "not_found"}, 404)

    def _discovery(self) -> dict[str, Any]:
        document: dict[str, Any] = {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.url}/authorize",
            "token_endpoint": f"{self.url}/token",
            "jwks_uri": f"{self.url}/keys",
            "code_challenge_methods_supported": ["plain", "S256"],
            "surplus": {"is": "passed over"},
        }
        if self.auth_methods is not None:
            document["token_endpoint_auth_methods_supported"] = self.auth_methods
        return {**document, **self.discovery}

    def _token(self, request: Request) -> Reply:
        form = {name: values[0] for name, values in parse_qs(request.body.decode(), strict_parsing=True).items()}
        if not self._is_client(request, form):
            return json_reply({"error": "invalid_client"}, 401)
        issued = self._issued.pop(form.get("code", ""), None)
        if issued is None or form.get("grant_type") != "authorization_code":
            return json_reply({"error": "invalid_grant"}, 400)
        challenge = (
            base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).decode().rstrip("=")
        )
        if challenge != issued.query["code_challenge"] or form.get("redirect_uri") != issued.query["redirect_uri"]:
            return json_reply({"error": "invalid_grant"}, 400)
        payload = self._payload(issued)
        token = self.sign(payload) if self.sign is not None else self.signed(payload)
        return json_reply({"access_token": "x", "token_type": "Bearer", "id_token": token}, cache_control="no-store")

    def _is_client(self, request: Request, form: dict[str, str]) -> bool:
        if self.auth_methods == ["client_secret_post"]:
            return (form.get("client_id"), form.get("client_secret")) == (self.client_id, self.client_secret)
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        name, _, secret = base64.b64decode(given).decode().partition(":")
        return kind == "Basic" and (unquote(name), unquote(secret)) == (self.client_id, self.client_secret)

    def _payload(self, issued: _Issued) -> dict[str, Any]:
        now = int(time.time())
        payload = {
            "iss": self.issuer,
            "sub": issued.person.subject,
            "aud": self.client_id,
            "exp": now + 300,
            "iat": now,
            "nonce": issued.query["nonce"],
            "email": issued.person.email,
            "email_verified": issued.person.email_verified,
            "name": issued.person.name,
            **self.claims,
        }
        return {name: value for name, value in payload.items() if value is not None}
