"""What tests of every family do."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from agents.egress import GuardedClient, Limits
from agents.engines.base import Action, Engine, Reading
from control_plane.engines.configs import decode_config
from control_plane.security.addresses import parse_bot_url
from control_plane.security.credentials import decode_credentials
from tests.servers.loopback import LoopbackServer, Reply, Request
from tests.unit.egress.support import LOOPBACK

Raw = Mapping[str, Any]


class Looks:
    """One engine at one server, by what a person would have typed."""

    def __init__(self, engine: Engine[Any, Any], url: str, credential: Raw, config: Raw | None = None) -> None:
        self.engine = engine
        self.url = parse_bot_url(url)
        self.credential = decode_credentials(engine.family.name, credential)
        self.config = decode_config(engine.family, config)

    async def look(self, *, full: bool, now: datetime | None = None, limits: Limits | None = None) -> Reading:
        """A short look, or a full one."""
        ask = self.engine.read if full else self.engine.check
        async with GuardedClient.for_tenants(allow=LOOPBACK, limits=limits) as client:
            return await ask(client, self.url, self.credential, self.config, now=now or datetime.now(UTC))

    async def check(self) -> Reading:
        """A short look."""
        return await self.look(full=False)

    async def read(self) -> Reading:
        """A full one."""
        return await self.look(full=True)

    async def control(self, action: Action) -> None:
        """Tell it what to do."""
        async with GuardedClient.for_tenants(allow=LOOPBACK) as client:
            await self.engine.control(client, self.url, self.credential, self.config, action)


class Always(LoopbackServer):
    """Answers every request alike."""

    def __init__(self, reply: Reply) -> None:
        super().__init__()
        self.reply = reply

    async def handle(self, request: Request) -> Reply:
        del request
        return self.reply


def paths(server: LoopbackServer) -> list[str]:
    """What a server was asked for, without the prefix that is always there."""
    return [request.path.removeprefix("/api/v1/") for request in server.requests]
