"""One API process: uvicorn with uvloop and httptools, metrics on a port of their own."""

from __future__ import annotations

import asyncio
import socket

import uvicorn
from prometheus_client import start_http_server

from control_plane import cycles
from control_plane.app import create_app
from control_plane.database.check import require_ready
from control_plane.database.visit import visiting
from control_plane.http.wire import BoundedProtocol
from control_plane.live.hub import Hub
from control_plane.settings import Settings


async def check_before_serving(settings: Settings) -> None:
    """Raise what keeps the API from serving, before a port is opened, so that it is told in plain words."""
    if settings.database_url is None:
        raise ValueError("TRADEWISE_DATABASE_URL must be set for the API (`tradewise up` sets it by itself)")
    async with visiting(settings.database_url) as connection:
        await require_ready(connection, serving=True)


def serve(settings: Settings, *, host: str, port: int) -> None:
    """Serve until SIGTERM; requests under way are finished first."""
    asyncio.run(check_before_serving(settings))
    if settings.metrics_port is not None:
        start_http_server(settings.metrics_port, settings.metrics_address)
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        loop="uvloop",
        http=BoundedProtocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=10,
    )
    _Server(config, app.state.hub).run()


class _Server(uvicorn.Server):
    """Loaded for good once it serves; and ends the event streams first, which would hold up the shutdown otherwise."""

    def __init__(self, config: uvicorn.Config, hub: Hub) -> None:
        super().__init__(config)
        self._hub = hub

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's; what is there by then stays until the process ends."""
        await super().startup(sockets)
        cycles.search_seldom()
        cycles.pass_over_what_is_there()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """As uvicorn's, after the followers were told to leave."""
        self._hub.end()
        await super().shutdown(sockets)
