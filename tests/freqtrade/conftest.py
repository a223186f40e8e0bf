"""A whole installation in which freqtrade itself is hosted: API, launcher, poller, and a small exchange."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from uuid import UUID

import asyncpg
import docker
import msgspec
import pytest
from uuid_utils.compat import uuid4

from agents.launcher.engine import say_on_stderr
from agents.launcher.freqtrade_image import ensure_freqtrade_image
from agents.launcher.lifecycle import Policy
from control_plane.security.egress import parse_destination
from control_plane.security.vault import Vault
from control_plane.settings import PortRange, Settings, load_settings
from tests.api import Api, Person
from tests.factories import Factory, Urls
from tests.freqtrade.house import House
from tests.integration.launcher.rig import Rig
from tests.integration.poller.conftest import at_work
from tests.servers.exchange_server import ExchangeServer


@pytest.fixture(scope="session")
def freqtrade_image(engine: docker.DockerClient) -> str:
    """The image of hosted freqtrade bots, as an operator builds it."""
    return ensure_freqtrade_image(engine, say=say_on_stderr)


@pytest.fixture
async def exchange(engine: docker.DockerClient) -> AsyncIterator[ExchangeServer]:
    """An exchange that bots reach: on this machine's side of the engine's own bridge."""
    bridge = engine.networks.get("bridge").attrs["IPAM"]["Config"][0]
    async with ExchangeServer(bridge["Gateway"]) as server:
        yield server


@pytest.fixture
async def person(api: Api) -> Person:
    """Whose bots these are."""
    return await api.person()


@pytest.fixture
async def house(
    settings: Settings,
    urls: Urls,
    admin: asyncpg.Connection,
    vault: Vault,
    engine_url: str,
    engine: docker.DockerClient,
    freqtrade_image: str,
    exchange: ExchangeServer,
) -> AsyncIterator[House]:
    """Agents at work on an installation of this test's own, cleaned away at the end."""
    installation = UUID(str(uuid4()))
    await admin.execute("update installation set id = $1", installation)
    launcher_settings = msgspec.structs.replace(
        settings,
        docker_host=engine_url,
        freqtrade_image=freqtrade_image,
        image_pull="never",
        port_range=PortRange(21000, 29999),
        reconcile_interval=2.0,
        # Of this machine, bots reach nothing but that one service.
        bot_egress_allow=(parse_destination(f"{exchange.host}:{exchange.port}"),),
    )
    rig = Rig(launcher_settings, urls, admin, vault, engine, await Factory(admin, vault).owner())
    rig.installation = installation
    rig.policy = Policy(start_deadline=90.0, stop_grace=20.0, first_delay=0.5, longest_delay=2.0)
    try:
        async with AsyncExitStack() as working:
            await working.enter_async_context(rig.launcher())
            await working.enter_async_context(
                at_work(urls["agent_poller"], load_settings({}, poll_interval=1.0), vault)
            )
            yield House(rig, exchange)
    finally:
        rig.clean()
