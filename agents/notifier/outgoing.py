"""The guarded way to a webhook: the address rules of every call, and a body that goes out byte for byte.

Of the answer nothing but its status is of use, so nothing but its head is read: however much a receiver sends, and in
whatever form, it is the status that counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from agents.egress import EgressError, GuardedClient, Response
from agents.egress.http1 import Connection, Head, Request
from control_plane.security.addresses import BotUrl


class WebhookClient(GuardedClient):
    """Posts signed bodies. No redirects, no private addresses, bounded in time and size, as for every tenant's URL."""

    async def post(self, url: BotUrl, path: str, body: bytes, headers: Mapping[str, str]) -> Response:
        """POST ``body`` as it is. Never repeated by itself. Raises `EgressError`."""
        sent = {
            "Host": url.authority,
            "User-Agent": "TradeWise",
            "Content-Length": str(len(body)),
            "Connection": "close",
            **headers,
        }
        async with self._turns.turn(self._turn_key(url), self._tenant):
            try:
                async with asyncio.timeout(self._limits.total_timeout):
                    return await self._exchange(url, Request("POST", path, sent, body))
            except TimeoutError:
                raise EgressError("timeout", "The answer did not come in time.") from None

    async def _receive(self, connection: Connection, head: Head) -> bytes:  # noqa: ARG002 - what follows is not read
        if 300 <= head.status < 400:
            raise EgressError("redirected", "It redirects elsewhere: give the address that it redirects to.")
        return b""
