"""Re-wrapping: every private half comes under the current key, and every value opens before, during and after."""

from __future__ import annotations

import asyncio
import base64
import os
import time

import asyncpg
import msgspec
import pytest

from agents.keys import rewrap as wraps
from agents.keys import rotations
from agents.keys.commands import retire, rotate_wraps, status
from agents.keys.rotations import RotationRunsError, Scope
from agents.keys.tables import WRAPPED
from control_plane.security.keyproviders import (
    RETIRE_AFTER_S,
    FileKeyProvider,
    KeyProviderError,
    LocalKeyProvider,
    create_kek_file,
    key_provider,
)
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.factories import Factory, Urls
from tests.integration.keys.safes import Readers, kek_ids, platform_pair, safe

WHOLE = Scope(with_platform=True)


@pytest.fixture
def provider(settings: Settings) -> LocalKeyProvider:
    """The file provider, with a file of this test's."""
    create_kek_file(settings.effective_kek_file)
    return FileKeyProvider(settings.effective_kek_file)


async def test_the_command_makes_a_key_and_puts_everything_under_it(
    factory: Factory,
    admin: asyncpg.Connection,
    pool: asyncpg.Pool,
    readers: Readers,
    vault: Vault,
    settings: Settings,
    urls: Urls,
) -> None:
    safes = [await safe(factory, name) for name in ("ada", "bob")]
    await platform_pair(admin, vault)
    before = await admin.fetch("select id, wrapped_private_key, public_key from tenant_keys order by id")
    first, url, said = await vault.provider.current_id(), urls["agent_scheduler"], list[str]()
    await rotate_wraps(settings, url, said.append, dry_run=True)
    assert said == ["would make a new key and put 3 key pairs under it"]
    assert await kek_ids(admin) == {first}
    await rotate_wraps(settings, url, said.append, dry_run=False)
    assert "done: 3 moved" in said
    # The running agent's provider has read the file anew, opens with it and never wraps with the older key again.
    second = await vault.provider.current_id()
    assert second != first
    assert await kek_ids(admin) == {second}
    for each in safes:
        await each.opens(readers, vault)
    assert (await vault.generate(safes[0].owner.tenant_id, 9)).kek_id == second
    after = await admin.fetch("select id, wrapped_private_key, public_key from tenant_keys order by id")
    assert [row["public_key"] for row in after] == [row["public_key"] for row in before]
    assert all(a["wrapped_private_key"] != b["wrapped_private_key"] for a, b in zip(after, before, strict=True))
    assert f"{second}: 3 key pairs (current)" in await status(settings, url)
    # The older key stays until it is retired, not too soon, and never while it is needed.
    with pytest.raises(KeyProviderError, match=r"retire .* in [0-9]+ s"):
        await retire(settings, url, first, said.append)
    long_ago = time.time() - RETIRE_AFTER_S
    os.utime(settings.effective_kek_file, (long_ago, long_ago))
    with pytest.raises(KeyProviderError, match="still wraps 3 key pairs"):
        await retire(settings, url, second, said.append)
    await retire(settings, url, first, said.append)
    content = settings.effective_kek_file.read_text()
    assert first not in content
    assert settings.effective_kek_file.stat().st_mode & 0o777 == 0o600
    for each in safes:
        await each.opens(readers, Vault(key_provider(settings)))
    with pytest.raises(KeyProviderError, match="holds no key"):
        await retire(settings, url, first, said.append)


async def test_it_goes_on_where_it_was_and_makes_no_further_key(
    factory: Factory,
    admin: asyncpg.Connection,
    pool: asyncpg.Pool,
    readers: Readers,
    vault: Vault,
    settings: Settings,
    urls: Urls,
) -> None:
    safes = [await safe(factory, name, bots=1) for name in "abcdef"]
    first = await vault.provider.current_id()
    second = await vault.provider.rotate(first)
    assert await vault.provider.rotate(first) == second  # somebody was quicker: no third key
    rotation = await rotations.begin(pool, "wraps", WHOLE)
    # As if it had been killed after one row.
    await admin.execute("update tenant_keys set kek_id = kek_id")
    one = (await pool.fetch(WRAPPED[0].look, second, wraps._FIRST, rotation.id, 1))[0]
    moved = await wraps._one(vault.provider, one, asyncio.Semaphore(1))
    await pool.execute(WRAPPED[0].move, rotation.id, [one["id"]], [first], [moved.value], [moved.kek_id])
    assert await kek_ids(admin) == {first, second}
    for each in safes:
        await each.opens(readers, vault)
    said: list[str] = []
    await rotate_wraps(settings, urls["agent_scheduler"], said.append, dry_run=True)
    await rotate_wraps(settings, urls["agent_scheduler"], said.append, dry_run=False)
    assert said[0] == f"would put 5 key pairs under the current key {second}"
    assert await kek_ids(admin) == {second}
    assert await admin.fetchval("select count(*) from key_rotations") == 1
    ended = await rotations.rotation(pool, rotation.id)
    assert (ended.state, ended.done, ended.failed) == ("done", 6, 0)
    for each in safes:
        await each.opens(readers, vault)


async def test_two_at_once_do_no_harm_and_a_stop_is_heeded(
    factory: Factory,
    admin: asyncpg.Connection,
    pool: asyncpg.Pool,
    readers: Readers,
    vault: Vault,
) -> None:
    safes = [await safe(factory, f"t{number}", bots=1, versions=0) for number in range(25)]
    second = await vault.provider.rotate(await vault.provider.current_id())
    rotation = await rotations.begin(pool, "wraps", WHOLE)
    told: list[int] = []

    def stop_soon(now: rotations.Rotation) -> None:
        told.append(now.done)
        if len(told) == 2:
            stopping.append(asyncio.ensure_future(rotations.stop(pool)))

    stopping: list[asyncio.Future[int]] = []
    # One at a time, so that there is always something left when the stop comes through.
    stopped = await wraps.rewrap(pool, vault.provider, rotation, stop_soon, batch=1)
    assert await stopping[0] == 1
    assert stopped.state == "stopped"
    assert 2 <= stopped.done < 25
    again = await rotations.begin(pool, "wraps", WHOLE)
    assert again.id == rotation.id
    both = await asyncio.gather(*(wraps.rewrap(pool, vault.provider, again, lambda _: None) for _ in range(2)))
    assert {(each.state, each.done, each.total) for each in both} == {("done", 25, 25)}
    assert await kek_ids(admin) == {second}
    for each in safes:
        await each.opens(readers, vault)


async def test_a_wrapped_key_that_was_altered_hurts_its_tenant_alone(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, readers: Readers, vault: Vault
) -> None:
    good, bad = await safe(factory, "good"), await safe(factory, "bad")
    first = await vault.provider.current_id()
    await admin.execute(
        "update tenant_keys set wrapped_private_key = '\\x00' where tenant_id = $1", bad.owner.tenant_id
    )
    second = await vault.provider.rotate(first)
    ended = await wraps.rewrap(pool, vault.provider, await rotations.begin(pool, "wraps", WHOLE), lambda _: None)
    assert (ended.state, ended.done, ended.failed) == ("done", 1, 1)
    assert await kek_ids(admin) == {first, second}
    await good.opens(readers, vault)
    fault = await admin.fetchrow("select relation, of_tenant, lost, reason from key_rotation_failures")
    assert tuple(fault)[:3] == ("tenant_keys", bad.owner.tenant_id, False)
    assert "altered or moved" in fault["reason"]


async def test_what_was_destroyed_meanwhile_stays_destroyed(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, readers: Readers, vault: Vault
) -> None:
    gone = await safe(factory, "gone")
    first = await vault.provider.current_id()
    second = await vault.provider.rotate(first)
    rotation = await rotations.begin(pool, "wraps", WHOLE)
    [row] = await pool.fetch(WRAPPED[0].look, second, wraps._FIRST, rotation.id, 9)
    moved = await wraps._one(vault.provider, row, asyncio.Semaphore(1))
    await admin.execute("update tenant_keys set wrapped_private_key = null, destroyed_at = now()")
    await pool.execute(WRAPPED[0].move, rotation.id, [row["id"]], [first], [moved.value], [moved.kek_id])
    assert await admin.fetchval("select wrapped_private_key from tenant_keys") is None
    assert (await rotations.rotation(pool, rotation.id)).done == 0
    with pytest.raises(RuntimeError, match="destroyed"):
        await gone.opens(readers, vault)


async def test_only_one_rotation_of_a_kind_runs(pool: asyncpg.Pool) -> None:
    await rotations.begin(pool, "pairs", Scope())
    with pytest.raises(RotationRunsError, match="--stop"):
        await rotations.begin(pool, "pairs", Scope(with_platform=True))
    await rotations.stop(pool)
    other = await rotations.begin(pool, "pairs", Scope(with_platform=True))
    with pytest.raises(RotationRunsError):
        await rotations.begin(pool, "pairs", Scope())
    assert [each.id for each in await rotations.unfinished(pool)][-1] == other.id


async def test_env_keys_are_the_operators_to_replace(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, readers: Readers, settings: Settings, urls: Urls
) -> None:
    one, two = (base64.b64encode(os.urandom(32)).decode() for _ in range(2))
    before = msgspec.structs.replace(settings, key_provider="env", kek=one)
    after = msgspec.structs.replace(settings, key_provider="env", kek=two, kek_previous=(one,))
    factory.vault = Vault(key_provider(before))
    kept = await safe(factory, "kept")
    # Rows from before the provider's keys had names.
    await admin.execute("update tenant_keys set kek_id = 'env'")
    await kept.opens(readers, factory.vault)
    await kept.opens(readers, Vault(key_provider(after)))
    said: list[str] = []
    await rotate_wraps(before, urls["agent_scheduler"], said.append, dry_run=False)
    assert await kek_ids(admin) == {await key_provider(before).current_id()}
    with pytest.raises(KeyProviderError, match="TRADEWISE_KEK_PREVIOUS"):
        await rotate_wraps(before, urls["agent_scheduler"], said.append, dry_run=False)
    await rotate_wraps(after, urls["agent_scheduler"], said.append, dry_run=False)
    assert await kek_ids(admin) == {await key_provider(after).current_id()}
    await kept.opens(readers, Vault(key_provider(msgspec.structs.replace(settings, key_provider="env", kek=two))))
