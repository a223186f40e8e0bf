"""The two sides of most tests here: two tenants with a row of everything, and a connection as the API has it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.api import Api
from tests.factories import Urls
from tests.world import Settled, Tenant


@pytest.fixture
async def web(urls: Urls) -> AsyncIterator[asyncpg.Connection]:
    """A connection as the role of the API, bound to nobody."""
    connection = await asyncpg.connect(urls["api"])
    yield connection
    await connection.close()


@pytest.fixture
async def world(api: Api, settled: Settled) -> tuple[Tenant, Tenant]:
    """Two tenants that must know nothing of each other."""
    return settled.of(api)
