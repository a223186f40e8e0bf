"""One OpenID provider: its discovery document, its keys, its token endpoint. It is named by the operator, not a tenant.

Addresses come from the discovery document, so they are checked like anything that comes from outside: https, or http on
loopback where the issuer itself is. No redirects, no proxies from the environment, bounded times and sizes.
"""

from __future__ import annotations

import asyncio
import ipaddress
import time
from typing import Any, Final
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from agents.authorities import public_authorities

_DISCOVERY = "/.well-known/openid-configuration"
_CONNECT_S = 3.0
_WHOLE_S = 8.0
_MAXIMUM_BYTES = 256 * 1024
_KEEP_S: Final = 3600.0


class ProviderError(RuntimeError):
    """What went wrong with the provider, as a stable code. The message holds nothing that the provider sent."""

    def __init__(self, code: str, why: str) -> None:
        super().__init__(why)
        self.code = code


class Discovery(msgspec.Struct, frozen=True):
    """What we use of a discovery document (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    code_challenge_methods_supported: tuple[str, ...] | None = None


class Provider:
    """Asks one provider, and keeps its discovery document and keys for an hour."""

    def __init__(self, issuer: str, client_id: str, client_secret: str | None) -> None:
        self.issuer, self.client_id = issuer, client_id
        self._client_secret = client_secret
        self._client = httpx.AsyncClient(
            verify=public_authorities(),
            trust_env=False,
            follow_redirects=False,
            timeout=httpx.Timeout(_WHOLE_S, connect=_CONNECT_S),
            # A connection for each question: nothing that an answer left behind is read as the next one.
            limits=httpx.Limits(max_connections=16, max_keepalive_connections=0),
            headers={"User-Agent": "tradewise", "Accept": "application/json", "Accept-Encoding": "identity"},
        )
        self._discovery: tuple[float, Discovery] | None = None
        self._keys: tuple[float, list[dict[str, Any]]] | None = None

    def __repr__(self) -> str:
        return f"Provider({self.issuer!r})"

    async def close(self) -> None:
        """Close connections."""
        await self._client.aclose()

    async def discovery(self, *, fresh: bool = False) -> Discovery:
        """The provider's discovery document. Raises :class:`ProviderError`."""
        if self._discovery is None or fresh or time.monotonic() - self._discovery[0] > _KEEP_S:
            self._check_address(self.issuer)
            status, body = await self._ask("GET", self.issuer.rstrip("/") + _DISCOVERY)
            if status != 200:
                raise ProviderError("provider_unreachable", f"discovery answers {status}")
            self._discovery = time.monotonic(), self._checked(body)
        return self._discovery[1]

    async def signing_keys(self, *, fresh: bool = False) -> list[dict[str, Any]]:
        """The provider's public keys, as JWKs. Raises :class:`ProviderError`."""
        if self._keys is None or fresh or time.monotonic() - self._keys[0] > _KEEP_S:
            status, body = await self._ask("GET", (await self.discovery()).jwks_uri)
            if status != 200:
                raise ProviderError("provider_unreachable", f"the keys' address answers {status}")
            keys = body.get("keys")
            if not isinstance(keys, list):
                raise ProviderError("provider_invalid", "the keys are not a JWK set")
            self._keys = time.monotonic(), [key for key in keys if isinstance(key, dict)]
        return self._keys[1]

    async def id_token(self, code: str, verifier: str, redirect_uri: str) -> str:
        """Redeem ``code`` for an ID token, which nobody has looked at yet. Raises :class:`ProviderError`."""
        found = await self.discovery()
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        basic: httpx.BasicAuth | None = None
        if self._client_secret is None:
            form["client_id"] = self.client_id
        elif "client_secret_basic" in found.token_endpoint_auth_methods_supported:
            # RFC 6749, section 2.3.1: both are form-encoded before they are put together.
            basic = httpx.BasicAuth(quote(self.client_id, safe=""), quote(self._client_secret, safe=""))
        elif "client_secret_post" in found.token_endpoint_auth_methods_supported:
            form |= {"client_id": self.client_id, "client_secret": self._client_secret}
        else:
            raise ProviderError("provider_invalid", "the provider takes no client secret in a way that we know")
        status, body = await self._ask("POST", found.token_endpoint, form=form, auth=basic)
        if status in {400, 401}:
            raise ProviderError("code_refused", f"the token endpoint answers {status}")
        token = body.get("id_token")
        if status != 200:
            raise ProviderError("provider_unreachable", f"the token endpoint answers {status}")
        if not isinstance(token, str):
            raise ProviderError("provider_invalid", "the token endpoint gives no ID token")
        return token

    def _checked(self, body: dict[str, Any]) -> Discovery:
        try:
            found = msgspec.convert(body, Discovery)
        except msgspec.ValidationError:
            raise ProviderError("provider_invalid", "the discovery document is not one") from None
        if found.issuer != self.issuer:
            raise ProviderError("provider_invalid", "the discovery document is another issuer's")
        if found.code_challenge_methods_supported and "S256" not in found.code_challenge_methods_supported:
            raise ProviderError("provider_invalid", "the provider does not do PKCE with S256")
        for address in (found.authorization_endpoint, found.token_endpoint, found.jwks_uri):
            self._check_address(address)
        return found

    def _check_address(self, address: str) -> None:
        if not _is_secure(address) and not (_is_plain_loopback(address) and _is_plain_loopback(self.issuer)):
            raise ProviderError("provider_invalid", "an address of the provider is not https")

    async def _ask(
        self, method: str, url: str, *, form: dict[str, str] | None = None, auth: httpx.BasicAuth | None = None
    ) -> tuple[int, dict[str, Any]]:
        try:
            async with (
                asyncio.timeout(_WHOLE_S),
                self._client.stream(method, url, data=form, auth=auth) as answer,
            ):
                body = await _bounded(answer)
        except (httpx.HTTPError, httpx.InvalidURL, TimeoutError, OSError) as error:
            raise ProviderError("provider_unreachable", type(error).__name__) from None
        if answer.is_redirect:
            raise ProviderError("provider_invalid", "the provider redirects where it must answer")
        try:
            decoded = msgspec.json.decode(body) if body else {}
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
            decoded = None
        if not isinstance(decoded, dict):
            # An error page is an error like any other; only an answer of success must be what it should be.
            if answer.status_code == 200:
                raise ProviderError("provider_invalid", "the answer is not a JSON object")
            decoded = {}
        return answer.status_code, decoded


async def _bounded(answer: httpx.Response) -> bytes:
    if answer.headers.get("content-encoding", "identity") != "identity":
        raise ProviderError("provider_invalid", "the answer is compressed although that was not asked for")
    body = bytearray()
    async for chunk in answer.aiter_raw():
        body += chunk
        if len(body) > _MAXIMUM_BYTES:
            raise ProviderError("provider_invalid", "the answer is too large")
    return bytes(body)


def _parts(address: str) -> tuple[str, str | None]:
    try:
        parts = urlsplit(address)
        host = parts.hostname
    except ValueError:
        return "", None
    return ("", None) if parts.username or parts.password or parts.fragment else (parts.scheme, host)


def _is_secure(address: str) -> bool:
    scheme, host = _parts(address)
    return scheme == "https" and bool(host)


def _is_plain_loopback(address: str) -> bool:
    scheme, host = _parts(address)
    if scheme != "http" or not host:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
