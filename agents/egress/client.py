"""The guarded HTTP client: small JSON calls to hosts that we do not trust."""

import ssl
import time
from collections.abc import Callable, Coroutine, Hashable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

import httpx
import msgspec

from agents.egress.answer import Answer
from agents.egress.deadlines import Deadlines
from agents.egress.dial import Dialer, Resolver, SystemResolver
from agents.egress.payload import Response
from agents.egress.pool import IdleConnections
from agents.egress.request import Authorization, json_request, signed_request
from agents.egress.turns import Turns
from control_plane.security.addresses import Address, BotUrl, Network, UrlRefused, check_address

Call: TypeAlias = Coroutine[Any, Any, Response]
"""A call to await. Its request is built, and refused if malformed, before that."""


@cache
def _authorities() -> ssl.SSLContext:
    # Some hundred certificates, read once a process. Egress has its own: httpx changes the context that it is given.
    return httpx.create_ssl_context(trust_env=False)


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
    names_seconds: float = 900.0
    """A connection to a name is kept for so long: then the name may lead elsewhere, while its old server answers on."""


class GuardedClient:
    """Calls one bot at a time, many bots at once; survives whatever they answer.

    There are two kinds and two constructors, so that a tenant's text can never take the way to our own containers:
    `for_tenants` checks every resolved address by the common rules; `for_hosted` speaks to literal addresses of ours
    only. Either way there are no redirects, cookies, proxies or settings from the environment, and a credential goes
    to its own origin alone.
    """

    __slots__ = ("_by_port", "_on_close", "_shared", "_tenant")

    def __init__(self, dialer: Dialer, limits: Limits, on_close: Callable[[], None], *, by_port: bool) -> None:
        deadlines = Deadlines(limits.total_timeout)
        self._shared = _Shared(
            limits=limits,
            dialer=dialer,
            deadlines=deadlines,
            idle=IdleConnections(limit=limits.idle_connections, seconds=limits.idle_seconds),
            turns=Turns(
                per_host=limits.per_host,
                per_tenant=limits.per_tenant,
                total=limits.concurrency,
                deadlines=deadlines,
            ),
        )
        self._by_port = by_port
        """Each port of a host is somebody else's, with turns of its own."""
        self._on_close = on_close
        self._tenant: Hashable | None = None

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
            ssl_context=ssl_context or _authorities(),
            timeout=limits.connect_timeout,
            names_s=limits.names_seconds,
        )
        # By name, whatever the port: many bots behind one host share its patience.
        return cls(dialer, limits, system_resolver.close, by_port=False)

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
            ssl_context=_authorities(),
            timeout=limits.connect_timeout,
        )
        # All hosted bots may live at one address, each on a port of its own.
        return cls(dialer, limits, _nothing_to_close, by_port=True)

    def acting_for(self, tenant: Hashable) -> Self:
        """This client, with the same connections and turns, whose calls count as the tenant's: one with a thousand
        hosts that hang cannot take every turn there is."""
        acting = object.__new__(type(self))
        acting._shared = self._shared
        acting._by_port = self._by_port
        acting._on_close = self._on_close
        acting._tenant = tenant
        return acting

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close every idle connection, and look no name up any more."""
        self._shared.idle.close()
        self._shared.deadlines.close()
        self._on_close()

    def get_json(self, url: BotUrl, path: str, *, auth: Authorization | None = None) -> Call:
        """GET `path` (with its leading slash) under the bot's URL. Raises `EgressError` and nothing else.

        Any status but 1xx and 3xx comes back as a response: what a 401 or a 502 means is the bot family's business.
        A token that goes under a name of its own is an `Authorization` too, see `Authorization.under`.
        """
        return self._call(url, json_request("GET", url, path, auth, None), repeatable=True)

    def post_json(self, url: BotUrl, path: str, body: Any, *, auth: Authorization | None = None) -> Call:
        """POST a JSON body (None: an empty one). Never repeated, whatever happens. Raises `EgressError`."""
        encoded = b"" if body is None else msgspec.json.encode(body)
        return self._call(url, json_request("POST", url, path, auth, encoded))

    def delete_json(self, url: BotUrl, path: str, *, auth: Authorization | None = None) -> Call:
        """DELETE `path`. Never repeated, whatever happens. Raises `EgressError`."""
        return self._call(url, json_request("DELETE", url, path, auth, None))

    def post(self, url: BotUrl, path: str, body: bytes, headers: Mapping[str, str]) -> Call:
        """POST exactly these bytes under exactly these headers, as what is signed must go. Never repeated.

        Any status but 1xx and 3xx comes back, with the beginning (4 KiB) of a body of any type that is not compressed:
        enough for people. Raises `EgressError`; `ValueError` where a header would break its line or the client's rules.
        """
        return self._call(url, signed_request(url, path, body, headers), little=True)

    def fetch(
        self, url: BotUrl, method: Literal["GET", "POST"], path: str, headers: Mapping[str, str], body: bytes = b""
    ) -> Call:
        """For bots whose API is half a website: whole answers of any media type come back, and of any status but 1xx.

        A redirect is an answer as well, never followed. Never repeated. Raises as `post`.
        """
        return self._call(url, signed_request(url, path, body, headers, method=method), website=True)

    async def _call(
        self, url: BotUrl, request: bytes, *, repeatable: bool = False, little: bool = False, website: bool = False
    ) -> Response:
        shared, tenant = self._shared, self._tenant
        limits, turns, origin = shared.limits, shared.turns, url.origin
        host = origin if self._by_port else url.host
        if not turns.take(host, tenant):
            await turns.wait(host, tenant)
        answer = Answer(limits.header_bytes, limits.body_bytes, little=little, website=website)
        started = shared.deadlines.watch(answer)
        # Only what may be repeated may risk a connection that the server is about to close.
        connection = shared.idle.take(origin) if repeatable else None
        try:
            if connection is not None:
                await connection.ask(request, answer)
                if answer.error is not None and _only_stale(answer):
                    connection = None
            if connection is None:
                connection = await shared.dialer.dial(url, answer.deadline - time.monotonic())
                await connection.ask(request, answer)
        finally:
            if connection is not None:
                if answer.reusable:
                    shared.idle.give(connection)
                else:
                    connection.close()
            shared.deadlines.forget(answer)
            turns.give(host, tenant)
        if answer.error is not None:
            raise answer.error
        latency_ms = (answer.ended_at - started) * 1000
        if answer.status < 300 and not website:
            return Response(answer.status, answer.body, latency_ms)
        return Response(answer.status, answer.body, latency_ms, answer.headers)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """What a client and those that act for tenants have in common."""

    limits: Limits
    dialer: Dialer
    deadlines: Deadlines
    idle: IdleConnections
    turns: Turns


def _only_stale(answer: Answer) -> bool:
    """Without a byte of an answer it was the kept connection's age that failed, not the bot: then it may ask again."""
    if answer.error is None or answer.received or answer.error.code != "unreachable":
        return False
    answer.again()
    return True


def _nothing_to_close() -> None:
    """The hosted client has no resolver."""


async def _no_names(host: str, port: int) -> Sequence[Address]:  # noqa: ARG001
    raise UrlRefused("address_refused", "Hosted bots are reached by address, never by name.")
