"""`tradewise keys …` as an operator types it, each a process of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import asyncpg
import pytest

from control_plane.security.keyproviders import create_kek_file, key_provider
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.factories import Factory, Urls
from tests.faults.rotation_process import program
from tests.integration.keys.safes import Readers, kek_ids, safe

Keys = Callable[..., Awaitable[str]]


@pytest.fixture
def vault(settings: Settings) -> Vault:
    """The vault of the key file that the command uses."""
    create_kek_file(settings.effective_kek_file)
    return Vault(key_provider(settings))


@pytest.fixture
def keys(settings: Settings, urls: Urls, tmp_path: Path, vault: Vault) -> Keys:
    """Runs `tradewise keys` and gives what it said."""
    log = tmp_path / "said"

    async def run(*arguments: str, status: int = 0) -> str:
        log.write_bytes(b"")
        process = program(settings, urls, log, "keys", *arguments)
        assert await asyncio.to_thread(process.wait, 60) == status, log.read_text()
        assert "Traceback" not in log.read_text()
        return log.read_text()

    return run


async def test_an_operator_rotates_both_kinds(
    keys: Keys, factory: Factory, admin: asyncpg.Connection, readers: Readers, vault: Vault
) -> None:
    one = await safe(factory, "one", bots=2)
    first = await vault.provider.current_id()
    assert f"{first}: 1 key pair (current)" in await keys("status")
    assert "would make a new key and put 1 key pair under it" in await keys("rotate", "--dry-run")
    assert "done: 1 moved" in await keys("rotate")
    second = await vault.provider.current_id()
    assert await kek_ids(admin) == {second} != {first}
    assert f"retire '{first}' in" in await keys("retire", first, status=1)
    assert "still wraps 1 key pair" in await keys("retire", second, status=1)
    tenant = str(one.owner.tenant_id)
    assert "would re-seal 2 of bot_secrets" in await keys("rotate", "--tenant", tenant, "--dry-run")
    assert "asked for" in await keys("rotate", "--tenants", "--no-wait")
    assert "rotation of pairs: waiting for a scheduler agent, counting" in await keys("status")
    assert "another rotation of this kind is running" in await keys("rotate", "--platform", status=1)
    assert "1 stopped" in await keys("rotate", "--stop")
    assert "nothing is running" in await keys("rotate", "--stop")
    assert "rotation of pairs: stopped" in await keys("status")
    assert "there is no tenant" in await keys("rotate", "--tenant", str(one.owner.user_id), status=1)
    assert "one after the other" in await keys("rotate", "--tenant", tenant, "--platform", status=2)
    await one.opens(readers, vault)
