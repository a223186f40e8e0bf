"""kill -9 of whoever rotates keys, at any moment: what was begun is finished by the next, and nothing is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from agents.agent import make_pool
from control_plane.security.keyproviders import create_kek_file, key_provider
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.factories import Factory, Urls
from tests.faults.rotation_process import program
from tests.integration.keys.safes import Readers, Safe, age, kek_ids, safe
from tests.waiting import until


@pytest.fixture
def vault(settings: Settings) -> Vault:
    """The vault of the key file that the processes use too."""
    create_kek_file(settings.effective_kek_file)
    return Vault(key_provider(settings))


@pytest.fixture
async def readers(urls: Urls) -> AsyncIterator[Readers]:
    made = Readers(await make_pool(urls["agent_poller"], "poller"), await make_pool(urls["agent_launcher"], "launcher"))
    yield made
    await made.poller.close()
    await made.launcher.close()


async def all_open(safes: list[Safe], readers: Readers, vault: Vault) -> None:
    for each in safes:
        await each.opens(readers, vault)


async def test_the_command_is_killed_again_and_again_while_it_re_wraps(
    factory: Factory, admin: asyncpg.Connection, readers: Readers, vault: Vault, settings: Settings, urls: Urls,
    tmp_path: Path,
) -> None:  # fmt: skip
    seed = random.randrange(2**32)
    print("seed", seed)
    chance, log = random.Random(seed), tmp_path / "log"
    safes = [await safe(factory, f"t{number}", bots=1, versions=0) for number in range(30)]
    # Slower than in earnest, so that there are moments to be killed at.
    await admin.execute("create function slow() returns trigger language plpgsql as"
        " $$ begin perform pg_sleep(0.01); return new; end $$")  # fmt: skip
    await admin.execute(
        "create trigger slow before update of kek_id on tenant_keys for each row execute function slow()"
    )
    first = await vault.provider.current_id()
    for _ in range(4):
        process = program(settings, urls, log, "keys", "rotate")
        try:
            # From before it has looked, through a key made and not used, to rows that have moved.
            moment = chance.choice(["key", "row", "half"])
            await until(partial(_moment, moment, first, vault, admin), every_s=0.005, deadline_s=30)
        finally:
            process.kill()
            process.wait()
        await all_open(safes, readers, vault)
        if await kek_ids(admin) == {await vault.provider.current_id()}:
            first = await vault.provider.current_id()
    last = await asyncio.to_thread(program(settings, urls, log, "keys", "rotate").wait, 60)
    assert last == 0, log.read_text()
    assert await kek_ids(admin) == {await vault.provider.current_id()}
    assert not await admin.fetchval("select count(*) from key_rotations where state <> 'done'")
    assert await admin.fetchval("select sum(failed) from key_rotations") == 0
    await all_open(safes, readers, Vault(key_provider(settings)))
    assert "Traceback" not in log.read_text()


async def _moment(name: str, first: str, vault: Vault, admin: asyncpg.Connection) -> bool:
    current = await vault.provider.current_id()
    if current == first:
        return False
    moved = await admin.fetchval("select count(*) from tenant_keys where kek_id = $1", current)
    return bool(moved >= {"key": 0, "row": 0, "half": 15}[name])


async def test_the_scheduler_is_killed_again_and_again_while_it_re_seals(
    factory: Factory, admin: asyncpg.Connection, readers: Readers, vault: Vault, settings: Settings, urls: Urls,
    tmp_path: Path,
) -> None:  # fmt: skip
    seed = random.randrange(2**32)
    print("seed", seed)
    chance, log = random.Random(seed), tmp_path / "log"
    safes = [await safe(factory, f"t{number}", bots=60, versions=3) for number in range(20)]
    whole = 20 * 63
    asked = program(settings, urls, log, "keys", "rotate", "--tenants", "--no-wait")
    assert await asyncio.to_thread(asked.wait, 60) == 0, log.read_text()
    for number in range(4):
        watcher = program(settings, urls, log, "keys", "rotate", "--tenants")
        process = program(settings, urls, log, "agent", "scheduler")
        at = chance.randrange(number * whole // 5, (number + 1) * whole // 5)
        try:
            await until(partial(_at_least, admin, at), every_s=0.005, deadline_s=60)
            # And then a little later: between two batches, within one, while the next is opened.
            looks = iter([False] * chance.randrange(30) + [True])
            await until(partial(next, looks), every_s=0.005)
        finally:
            process.kill()
            watcher.kill()
            process.wait()
            watcher.wait()
        await all_open(safes[:5], readers, vault)
    process = program(settings, urls, log, "agent", "scheduler")
    try:
        await until(partial(_at_least, admin, whole), deadline_s=60)
        await all_open(safes, readers, vault)
        await age(admin)
        done = "select count(*) = 1 from key_rotations where state = 'done'"
        await until(partial(admin.fetchval, done), deadline_s=60)
    finally:
        process.terminate()
        assert await asyncio.to_thread(process.wait, 60) == 0
    row = await admin.fetchrow("select total, done, failed from key_rotations")
    assert tuple(row) == (whole, whole, 0)
    # One newer pair each, however often it was cut off; the older private halves are gone.
    keys = await admin.fetch("select version, wrapped_private_key is null as gone, count(*) from tenant_keys"
        " group by 1, 2 order by 1")  # fmt: skip
    assert [tuple(each) for each in keys] == [(1, True, 20), (2, False, 20)]
    await all_open(safes, readers, vault)
    assert "Traceback" not in log.read_text()


async def _at_least(admin: asyncpg.Connection, count: int) -> Any:
    return await admin.fetchval("select coalesce(max(done), 0) >= $1 from key_rotations", count)
