"""Making a connection: resolve once, check every address, connect to a checked one, keep the name for Host and TLS."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable, Sequence
from errno import EMFILE, ENFILE, ENOBUFS, ENOMEM
from ipaddress import ip_address
from socket import SOCK_STREAM
from typing import Any, Final, TypeAlias

import pycares

from agents.egress.connection import Connection
from agents.egress.errors import EgressError, MeansExhausted
from control_plane.security.addresses import Address, BotUrl, UrlRefused

Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[Address]]]
"""Gives every address of a host name; raises OSError where there is none."""

_ADDRESSES_TRIED = 4
#: By far the most often, https was written for a bot that has no TLS of its own.
_NO_TLS: Final = "The address does not answer in TLS: does its URL begin with http:// instead of https://?"
#: A lost question is asked again once, within what making a connection may take.
_FIRST_TRY_S: Final = 1.0
_TRIES: Final = 2
#: Faults of this machine, which say nothing about whom we wanted to reach.
_OURS: Final = frozenset({EMFILE, ENFILE, ENOBUFS, ENOMEM})
_NO_MEANS: Final = frozenset({pycares.errno.ARES_ENOMEM, pycares.errno.ARES_EFILE})


class SystemResolver:
    """Looks names up as this machine is told to, by c-ares: what a name server never answers holds no thread.

    `getaddrinfo` takes a thread for as long as it hangs, so a few dozen dead names would stop all other look-ups.
    """

    def __init__(self, **options: Any) -> None:
        self._options: dict[str, Any] = {"timeout": _FIRST_TRY_S, "tries": _TRIES} | options
        self._channel: pycares.Channel | None = None

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[pycares.AddrInfoResult] = loop.create_future()

        def told(result: pycares.AddrInfoResult | None, error: int | None) -> None:
            # On c-ares's own thread; at the end of the process the loop may be gone before it.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(_settle, waiter, result, error)

        if self._channel is None:
            self._channel = pycares.Channel(**self._options)
        self._channel.getaddrinfo(host, port, type=SOCK_STREAM, callback=told)
        found = await waiter
        return list(dict.fromkeys(ip_address(node.addr[0].decode()) for node in found.nodes))

    def close(self) -> None:
        """Look nothing up any more; what is under way ends without an address."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None


def _settle(
    waiter: asyncio.Future[pycares.AddrInfoResult], result: pycares.AddrInfoResult | None, error: int | None
) -> None:
    if waiter.done():
        return
    if result is not None:
        waiter.set_result(result)
    elif error in _NO_MEANS:
        waiter.set_exception(OSError(ENOMEM, "no means to look a name up"))
    elif error == pycares.errno.ARES_ETIMEOUT:
        waiter.set_exception(TimeoutError())
    else:
        waiter.set_exception(OSError(f"no address (c-ares {error})"))


class Dialer:
    """Opens connections, each only to an address that `check` lets pass."""

    def __init__(
        self,
        *,
        resolver: Resolver,
        check: Callable[[Address], None],
        ssl_context: ssl.SSLContext,
        timeout: float,
        names_s: float = 0.0,
    ) -> None:
        self._resolver = resolver
        self._check = check
        self._ssl_context = ssl_context
        self._timeout = timeout
        self._names_s = names_s

    async def dial(self, url: BotUrl, within: float) -> Connection:
        """Connect to the URL's origin, looking the name up now: a rebound name meets the check again each time.

        Raises `MeansExhausted` where it is this machine that cannot.
        """
        try:
            # A timer of its own: a connection costs a hundred of them.
            async with asyncio.timeout(min(within, self._timeout)):
                connection = await self._connect(url, await self._checked_addresses(url))
        except TimeoutError:
            raise EgressError("timeout", "No connection could be made in time.") from None
        if url.literal is None:
            connection.stale_at = time.monotonic() + self._names_s
        return connection

    async def _checked_addresses(self, url: BotUrl) -> Sequence[Address]:
        literal = url.literal
        try:
            addresses = [literal] if literal is not None else await self._resolver(url.host, url.port)
            # One bad address spoils the whole answer: who controls the name may not choose which one we take.
            for address in addresses:
                self._check(address)
        except UrlRefused as refused:
            raise EgressError("egress_refused", refused.message) from None
        except TimeoutError:
            raise
        except (OSError, UnicodeError) as error:
            _told_apart(error)
            raise EgressError("unreachable", "The host name has no address.") from None
        return addresses

    async def _connect(self, url: BotUrl, addresses: Sequence[Address]) -> Connection:
        for address in addresses[:_ADDRESSES_TRIED]:
            try:
                return await self._connect_to(address, url)
            except ssl.SSLCertVerificationError:
                message = "TLS failed: the certificate is not trusted, or not for this host name."
                raise EgressError("unreachable", message) from None
            except ssl.SSLError:
                raise EgressError("unreachable", _NO_TLS) from None
            except TimeoutError:
                raise
            except OSError as error:
                _told_apart(error)
                if url.scheme == "https" and isinstance(error, ConnectionResetError):
                    raise EgressError("unreachable", _NO_TLS) from None
                continue
        raise EgressError("unreachable", "Nothing accepts connections at this address.")

    async def _connect_to(self, address: Address, url: BotUrl) -> Connection:
        connection = Connection(url.origin)
        secure = url.scheme == "https"
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: connection,
                str(address),
                url.port,
                ssl=self._ssl_context if secure else None,
                server_hostname=url.host if secure else None,
            )
        except BaseException:
            connection.close()
            raise
        return connection


def _told_apart(error: Exception) -> None:
    """Raise what is our own lack; what is left is the remote's."""
    if isinstance(error, OSError) and error.errno in _OURS:
        raise MeansExhausted from error
