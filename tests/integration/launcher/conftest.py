"""The rig of one test: a database of its own, so an installation of its own on the shared engine."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

import asyncpg
import docker
import msgspec
import pytest
from uuid_utils.compat import uuid4

from control_plane.security.vault import Vault
from control_plane.settings import PortRange, Settings
from tests.api import Api, Person, running_api
from tests.factories import Factory, Owner, Urls
from tests.integration.launcher.rig import Rig
from tests.servers.web_server import served
from tests.waiting import until


@pytest.fixture
async def rig(
    settings: Settings,
    urls: Urls,
    admin: asyncpg.Connection,
    vault: Vault,
    engine_url: str,
    engine: docker.DockerClient,
    paper_bot_image: str,
) -> AsyncIterator[Rig]:
    """An installation on the engine, cleaned away at the end."""
    # Every test's database is cloned from one: without an identity of its own, its containers would be everybody's.
    installation = UUID(str(uuid4()))
    await admin.execute("update installation set id = $1", installation)
    made = Rig(
        msgspec.structs.replace(
            settings,
            docker_host=engine_url,
            agent_database_url=urls["agent_launcher"],
            paper_bot_image=paper_bot_image,
            image_pull="never",
            port_range=PortRange(21000, 29999),
            reconcile_interval=2.0,
        ),
        urls,
        admin,
        vault,
        engine,
        await Factory(admin, vault).owner(),
    )
    made.installation = installation
    yield made
    made.clean_soon()


@pytest.fixture
async def watched_api(rig: Rig, settings: Settings, urls: Urls, vault: Vault) -> AsyncIterator[Api]:
    """The application on the rig's database, begun after it: its scheduler makes keys for whoever has none yet."""
    async with running_api(settings, urls, vault) as running:
        yield running


@pytest.fixture
async def url(watched_api: Api) -> AsyncIterator[str]:
    async with served(watched_api) as base:
        yield base


@pytest.fixture
async def ada(watched_api: Api, rig: Rig) -> Person:
    """Whose bots the rig makes."""
    person = await watched_api.person()
    await until(
        lambda: rig.admin.fetchval("select count(*) from tenant_keys where tenant_id = $1", person.tenant_id),
        what="the tenant's key",
    )
    rig.owner = Owner(tenant_id=person.tenant_id, user_id=person.user_id, email=person.email)
    return person
