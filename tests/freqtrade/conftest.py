"""Installations for freqtrade itself: one in which it is hosted, and one at which somebody registers one that runs."""

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
from tests.freqtrade.place import Place, installed
from tests.freqtrade.published import Freqtrade
from tests.freqtrade.story import ONE_LOOK_S, Story
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
                at_work(urls["agent_poller"], load_settings({}, poll_interval=1.0, reading_interval=1.0), vault)
            )
            yield House(rig, exchange)
    finally:
        rig.clean()


@pytest.fixture(scope="session")
async def place(
    admin_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Place]:
    """One installation, one exchange and one freqtrade for all tests of one that somebody runs."""
    folder = tmp_path_factory.mktemp("registered")
    async with installed(admin_url, template_database, folder) as made:
        yield made


@pytest.fixture
async def freqtrade(place: Place) -> AsyncIterator[Freqtrade]:
    """The bot, running and trading; put right again for the next test."""
    if not place.freqtrade.running:
        await place.freqtrade.start()
    yield place.freqtrade
    await place.set_right()


@pytest.fixture
async def story(place: Place, freqtrade: Freqtrade) -> AsyncIterator[Story]:
    """The bot, registered by somebody new, and told to be connected; removed at the end."""
    await freqtrade.tell("start")
    person = await place.api.person()
    story = Story(person, await place.register(person, freqtrade.url), place.admin)
    await story.until_status("connected", within_s=ONE_LOOK_S)
    await story.until_trading("running")
    yield story
    await person.call("DELETE", f"/bots/{story.bot_id}")
