"""Making a connection: resolve once, check every address, connect to a checked one, keep the name for Host and TLS."""

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from socket import SOCK_STREAM, getaddrinfo
from typing import TypeAlias

from agents.egress.connection import Connection, Origin
from agents.egress.errors import EgressError
from control_plane.security.addresses import Address, BotUrl, UrlRefused

Resolver: TypeAlias = Callable[[str, int], Awaitable[Sequence[Address]]]
"""Gives every address of a host name; raises OSError where there is none."""

_ADDRESSES_TRIED = 4


class SystemResolver:
    """The machine's own resolver, on threads of its own: a name server that hangs stalls no other work's threads."""

    def __init__(self, threads: int = 32) -> None:
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="resolve")

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        loop = asyncio.get_running_loop()
        found = await loop.run_in_executor(self._threads, lambda: getaddrinfo(host, port, type=SOCK_STREAM))
        return list(dict.fromkeys(ip_address(str(entry[4][0])) for entry in found))

    def close(self) -> None:
        """Let the threads go without waiting for look-ups that still hang."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Dialer:
    """Opens connections, each only to an address that `check` lets pass."""

    def __init__(
        self, *, resolver: Resolver, check: Callable[[Address], None], ssl_context: ssl.SSLContext, timeout: float
    ) -> None:
        self._resolver = resolver
        self._check = check
        self._ssl_context = ssl_context
        self._timeout = timeout

    async def dial(self, url: BotUrl, origin: Origin, within: float) -> Connection:
        """Connect to the URL's origin, looking the name up now: a rebound name meets the check again each time."""
        try:
            # A timer of its own: a connection costs a hundred of them.
            async with asyncio.timeout(min(within, self._timeout)):
                return await self._connect(url, origin, await self._checked_addresses(url))
        except TimeoutError:
            raise EgressError("timeout", "No connection could be made in time.") from None

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
        except (OSError, UnicodeError):
            raise EgressError("unreachable", "The host name has no address.") from None
        return addresses

    async def _connect(self, url: BotUrl, origin: Origin, addresses: Sequence[Address]) -> Connection:
        for address in addresses[:_ADDRESSES_TRIED]:
            try:
                return await self._connect_to(address, url, origin)
            except ssl.SSLError:
                message = "TLS failed: the certificate is not trusted, or not for this host name."
                raise EgressError("unreachable", message) from None
            except TimeoutError:
                raise
            except OSError:
                continue
        raise EgressError("unreachable", "Nothing accepts connections at this address.")

    async def _connect_to(self, address: Address, url: BotUrl, origin: Origin) -> Connection:
        connection = Connection(origin)
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
