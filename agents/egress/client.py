"""The guarded HTTP client: small JSON calls to hosts that we do not trust."""

import asyncio
import copy
import ssl
import time
from base64 import b64encode
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx
import msgspec

from agents.egress.dial import Dialer, Resolver, SystemResolver
from agents.egress.errors import EgressError
from agents.egress.http1 import Connection, Head, Request
from agents.egress.payload import Response, is_json, read_body
from agents.egress.pool import IdleConnections, Turns
from control_plane.security.addresses import Address, BotUrl, Network, UrlRefused, check_address

USER_AGENT = "TradeWise"


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Budgets of one client. Times in seconds by wall clock, sizes in bytes."""

    connect_timeout: float = 3.0
    total_timeout: float = 10.0
    header_bytes: int = 64 * 1024
    body_bytes: int = 1024 * 1024
    per_host: int = 2
    per_tenant: int = 128
    """Half of all: many bots of one tenant that hang may hold up neither another tenant's nor, at once, its own."""
    concurrency: int = 256
    idle_connections: int = 2000
    idle_seconds: float = 150.0
    """Longer than any usual poll interval: a connection kept is worth 7 new ones, or 25 under TLS."""


class Authorization:
    """The value of an Authorization header, which shows nothing of itself."""

    __slots__ = ("header",)

    def __init__(self, header: str) -> None:
        # Checked here, because the HTTP library's own complaint would quote the secret.
        if not all(" " <= character <= "~" for character in header):
            raise ValueError("an authorization header holds visible ASCII characters only")
        self.header = header

    @classmethod
    def basic(cls, username: str, password: str) -> Self:
        """HTTP Basic (RFC 7617), in UTF-8."""
        return cls("Basic " + b64encode(f"{username}:{password}".encode()).decode())

    @classmethod
    def bearer(cls, token: str) -> Self:
        """A bearer token (RFC 6750)."""
        return cls(f"Bearer {token}")

    def __repr__(self) -> str:
        return "Authorization(redacted)"


class GuardedClient:
    """Calls one bot at a time, many bots at once; survives whatever they answer.

    There are two kinds and two constructors, so that a tenant's text can never take the way to our own containers:
    `for_tenants` checks every resolved address by the common rules; `for_hosted` speaks to literal addresses of ours
    only. Either way there are no redirects, cookies, proxies or settings from the environment, and a credential goes
    to its own origin alone.
    """

    def __init__(
        self, dialer: Dialer, limits: Limits, turn_key: Callable[[BotUrl], Hashable], on_close: Callable[[], None]
    ) -> None:
        self._dialer = dialer
        self._limits = limits
        self._turn_key = turn_key
        self._on_close = on_close
        self._idle = IdleConnections(limit=limits.idle_connections, seconds=limits.idle_seconds)
        self._tenant: Hashable | None = None
        self._turns = Turns(
            per_host=limits.per_host,
            per_tenant=limits.per_tenant,
            total=limits.concurrency,
            patience=limits.total_timeout,
        )

    @classmethod
    def for_tenants(
        cls,
        *,
        allow: Sequence[Network] = (),
        limits: Limits | None = None,
        resolver: Resolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
    ) -> Self:
        """A client for URLs that tenants gave; `allow` are the operator's networks (`TRADEWISE_EGRESS_ALLOW`)."""
        limits = limits or Limits()
        system_resolver = SystemResolver()
        dialer = Dialer(
            resolver=resolver or system_resolver,
            check=lambda address: check_address(address, allow),
            ssl_context=ssl_context or httpx.create_ssl_context(trust_env=False),
            timeout=limits.connect_timeout,
        )
        # By name, whatever the port: many bots behind one host share its patience.
        return cls(dialer, limits, lambda url: url.host, system_resolver.close)

    @classmethod
    def for_hosted(cls, networks: Sequence[Network], *, limits: Limits | None = None) -> Self:
        """A client for bots that we run, at the addresses in `networks` where the launcher publishes them."""

        def check(address: Address) -> None:
            if not any(address in network for network in networks):
                raise UrlRefused("address_refused", "This is not an address where hosted bots are published.")

        limits = limits or Limits()
        dialer = Dialer(
            resolver=_no_names,
            check=check,
            ssl_context=httpx.create_ssl_context(trust_env=False),
            timeout=limits.connect_timeout,
        )
        # By origin: all hosted bots may live at one address, each on a port of its own.
        return cls(dialer, limits, lambda url: (url.host, url.port), _nothing_to_close)

    def acting_for(self, tenant: Hashable) -> Self:
        """This client, with the same connections and turns, whose calls count as the tenant's: one with a thousand
        hosts that hang cannot take every turn there is."""
        acting = copy.copy(self)
        acting._tenant = tenant  # noqa: SLF001 - a copy of our own
        return acting

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every idle connection and let the resolver's threads go."""
        self._idle.close()
        self._on_close()

    async def get_json(
        self, url: BotUrl, path: str, *, auth: Authorization | None = None, headers: Mapping[str, str] | None = None
    ) -> Response:
        """GET `path` (with its leading slash) under the bot's URL. Raises `EgressError` and nothing else.

        Any status but 1xx and 3xx comes back as a response: what a 401 or a 502 means is the bot family's business.
        `headers` are further ones, for a bot that reads its token from one of its own.
        """
        return await self._call(url, "GET", path, auth, None, headers)

    async def fetch(
        self, url: BotUrl, method: str, path: str, *, headers: Mapping[str, str], body: bytes | None = None
    ) -> Response:
        """For bots whose API is half a website: an answer of any media type comes back, and of any status but 1xx.

        A redirect is an answer as well, never followed. Raises `EgressError`.
        """
        return await self._call(url, method, path, None, body, headers, website=True)

    async def post_json(self, url: BotUrl, path: str, body: Any, *, auth: Authorization | None = None) -> Response:
        """POST a JSON body (None: an empty one). Never repeated, whatever happens. Raises `EgressError`."""
        return await self._call(url, "POST", path, auth, b"" if body is None else msgspec.json.encode(body))

    async def delete_json(self, url: BotUrl, path: str, *, auth: Authorization | None = None) -> Response:
        """DELETE `path`. Never repeated, whatever happens. Raises `EgressError`."""
        return await self._call(url, "DELETE", path, auth, None)

    async def _call(
        self,
        url: BotUrl,
        method: str,
        path: str,
        auth: Authorization | None,
        body: bytes | None,
        headers: Mapping[str, str] | None = None,
        *,
        website: bool = False,
    ) -> Response:
        request = _request(url, method, path, auth, body, headers or {}, website=website)
        async with self._turns.turn(self._turn_key(url), self._tenant):
            try:
                async with asyncio.timeout(self._limits.total_timeout):
                    return await self._exchange(url, request)
            except TimeoutError:
                raise EgressError("timeout", "The answer did not come in time.") from None

    async def _exchange(self, url: BotUrl, request: Request) -> Response:
        started = time.monotonic()
        origin = (url.scheme, url.host, url.port)
        # Only what may be repeated may risk a connection that the server is about to close.
        kept = self._idle.take(origin) if request.method == "GET" else None
        if kept is not None:
            try:
                return await self._converse(kept, request, started)
            except EgressError:
                # Without a byte of an answer it was the connection's age that failed, not the bot.
                if kept.wire.received:
                    raise
        wire = await self._dialer.dial(url)
        return await self._converse(Connection(origin, wire, header_bytes=self._limits.header_bytes), request, started)

    async def _converse(self, connection: Connection, request: Request, started: float) -> Response:
        clean = False
        try:
            head = await connection.ask(request)
            body = await self._receive(connection, request, head)
            clean = connection.finish()
        finally:
            if clean:
                self._idle.give(connection)
            else:
                connection.wire.close()
        return Response(head.status, body, (time.monotonic() - started) * 1000, head.headers)

    async def _receive(self, connection: Connection, request: Request, head: Head) -> bytes:
        if 300 <= head.status < 400 and not request.website:
            raise EgressError("redirected", "The bot redirects elsewhere: give the address that it redirects to.")
        if is_json(head.headers) or request.website:
            # As sent: compressed answers are smaller, badly chunked ones up to twice as large.
            connection.wire.allow(2 * self._limits.body_bytes)
            return await read_body(connection.next_chunk, head.headers, self._limits.body_bytes)
        if head.status < 300:
            raise EgressError("bad_payload", "The answer is not JSON: is this the address of the bot's API?")
        # An error page tells nothing that its status does not.
        return b""


def _request(
    url: BotUrl,
    method: str,
    path: str,
    auth: Authorization | None,
    body: bytes | None,
    more: Mapping[str, str],
    *,
    website: bool,
) -> Request:
    headers = {
        "Host": url.authority,
        "User-Agent": USER_AGENT,
        "Accept": "application/json",
        "Accept-Encoding": "identity",
    }
    if auth is not None:
        headers["Authorization"] = auth.header
    if body is not None:
        headers |= {"Content-Type": "application/json", "Content-Length": str(len(body))}
    # Never by another spelling of a name that is there: two of one name are a way to be misunderstood.
    names = {name.lower(): name for name in headers}
    headers |= {names.get(name.lower(), name): value for name, value in more.items()}
    return Request(method, url.prefix + path, headers, body or b"", website)


def _nothing_to_close() -> None:
    """The hosted client has no resolver."""


async def _no_names(host: str, port: int) -> Sequence[Address]:  # noqa: ARG001
    raise UrlRefused("address_refused", "Hosted bots are reached by address, never by name.")
