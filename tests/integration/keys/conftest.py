"""Tenants with sealed values under keys of one provider, and the scheduler's own way to the database."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator

import asyncpg
import pytest

from agents.agent import make_pool
from control_plane.security.keyproviders import LocalKeyProvider
from control_plane.security.vault import Vault
from tests.factories import Urls
from tests.integration.keys.safes import Readers


@pytest.fixture
def provider() -> LocalKeyProvider:
    """A provider with one key."""
    return LocalKeyProvider({"one": os.urandom(32)}, "one")


@pytest.fixture
def vault(provider: LocalKeyProvider) -> Vault:
    """A vault of that provider, which the factory seals with."""
    return Vault(provider)


@pytest.fixture
async def pool(urls: Urls) -> AsyncIterator[asyncpg.Pool]:
    """The scheduler's pool: whatever passes here passes with its grants."""
    made = await make_pool(urls["agent_scheduler"], "scheduler")
    yield made
    await made.close()


@pytest.fixture
async def readers(urls: Urls) -> AsyncIterator[Readers]:
    """The poller's and the launcher's pools."""
    made = Readers(await make_pool(urls["agent_poller"], "poller"), await make_pool(urls["agent_launcher"], "launcher"))
    yield made
    await made.poller.close()
    await made.launcher.close()
