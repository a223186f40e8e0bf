"""New key pairs: values move while readers read, older halves are destroyed, broken rows hurt themselves alone."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from agents.keys import rotations
from agents.keys.commands import rotate_pairs, status, stop
from agents.keys.reseal import Resealer
from agents.keys.rotations import Scope
from agents.scheduler.agent import Scheduler
from agents.secrets import open_bot_secret
from control_plane.database.sessions import Database
from control_plane.mail.outbox import Letter, post
from control_plane.security.keyring import public_key
from control_plane.security.sealing import Place, PublicKey, Sealed, seal
from control_plane.security.suites import MLKEM768_X25519_SHA256_AES256GCM, X25519_SHA256_AES256GCM
from control_plane.security.vault import KeyPair, OpenError, Vault
from control_plane.settings import Settings
from tests.factories import Factory, Urls
from tests.integration.keys.safes import Readers, Safe, age, platform_pair, safe, template_version
from tests.waiting import until

SEALED_OF = "select id, sealed, key_version, suite, updated_at from bot_secrets where tenant_id = $1 order by id"
KEYS = (
    "select version, suite, destroyed_at is not null as destroyed, wrapped_private_key is null as gone from tenant_keys"
)
ALIVE = [{"version": 1, "destroyed": True, "gone": True}, {"version": 2, "destroyed": False, "gone": False}]


async def keys_of(admin: asyncpg.Connection, each: Safe) -> list[dict[str, Any]]:
    rows = await admin.fetch(f"{KEYS} where tenant_id = $1 order by version", each.owner.tenant_id)
    return [{name: row[name] for name in ("version", "destroyed", "gone")} for row in rows]


async def to_the_end(pool: asyncpg.Pool, resealer: Resealer) -> None:
    """Steps until no rotation of pairs runs."""
    while await rotations.running(pool, "pairs") is not None:
        await resealer.step()


async def test_everything_moves_to_new_pairs_and_the_old_halves_are_destroyed(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, readers: Readers, vault: Vault, urls: Urls
) -> None:
    safes = [await safe(factory, name) for name in ("ada", "bob")]
    before = [await admin.fetch(SEALED_OF, each.owner.tenant_id) for each in safes]
    digest = "select config_digest, template_id, parameters, config_fields from template_versions order by id"
    versions = await admin.fetch(digest)
    said: list[str] = []
    await rotate_pairs(urls["agent_scheduler"], Scope(), said.append, dry_run=True, wait=False)
    assert said == [
        "would make 2 key pairs for tenants",
        "would re-seal 6 of bot_secrets",
        "would re-seal 2 of template_versions",
        "would re-seal 0 of channel_secrets",
    ]
    assert await admin.fetchval("select count(*) from tenant_keys") == 2
    await rotate_pairs(urls["agent_scheduler"], Scope(), said.append, dry_run=False, wait=False)
    await to_the_end(pool, Resealer(pool, vault, grace_s=0))
    for each, was in zip(safes, before, strict=True):
        await each.opens(readers, vault)
        assert await keys_of(admin, each) == ALIVE
        now = await admin.fetch(SEALED_OF, each.owner.tenant_id)
        assert {row["key_version"] for row in now} == {2}
        assert not {row["sealed"] for row in now} & {row["sealed"] for row in was}
        # Nothing that a person sees has changed.
        assert [row["updated_at"] for row in now] == [row["updated_at"] for row in was]
    assert await admin.fetch(digest) == versions
    [ended] = [rotations.Rotation(**dict(row)) for row in await admin.fetch("select *, true as worked_on from ("
        " select id, kind, state, with_tenants, with_platform, only_tenant, total, done, failed, requested_by,"
        " started_at, beat_at, finished_at from key_rotations) r")]  # fmt: skip
    assert (ended.state, ended.total, ended.done, ended.failed, ended.progress) == (
        "done", 8, 8, 0, "8 of 8 (100 %), 0 failed",
    )  # fmt: skip
    assert "bot_secrets: 6 sealed for key version 2" in await status(Settings(), urls["agent_scheduler"])


async def test_an_old_half_outlives_its_grace_and_serves_the_late(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, readers: Readers, vault: Vault
) -> None:
    one = await safe(factory, "one")
    old = await factory.public_key(one.owner.tenant_id)
    await rotations.begin(pool, "pairs", Scope())
    resealer = Resealer(pool, vault)
    assert await resealer.step() is False
    assert [row["destroyed"] for row in await keys_of(admin, one)] == [False, False]
    # A page that fetched the old key just before stores what it sealed just after.
    bot = await factory.bot(one.owner, api_url="http://late.example")
    row_id = uuid7()
    late = seal(b'{"token":"late"}', old, Place(one.owner.tenant_id, "bot_secrets", "sealed", row_id))
    await admin.execute(
        "insert into bot_secrets (id, tenant_id, bot_id, kind, sealed, key_version, suite)"
        " values ($1, $2, $3, 'credentials', $4, $5, $6)",
        row_id, one.owner.tenant_id, bot, late.value, late.key_version, late.suite,
    )  # fmt: skip
    one.bots[bot] = "late"
    await one.opens(readers, vault)
    await age(admin)
    await to_the_end(pool, resealer)
    assert await keys_of(admin, one) == ALIVE
    await one.opens(readers, vault)


async def test_the_web_tier_cannot_store_what_is_sealed_for_a_key_that_is_not_alive(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault, urls: Urls
) -> None:
    one = await safe(factory, "one")
    await rotations.begin(pool, "pairs", Scope())
    await to_the_end(pool, Resealer(pool, vault, grace_s=0))
    bot = await factory.bot(one.owner, api_url="http://late.example")
    web = await asyncpg.connect(urls["api"])
    try:
        for version, taken in ((1, False), (2, True), (3, False)):
            async with web.transaction():
                await web.execute("select set_config('app.tenant_id', $1, true)", str(one.owner.tenant_id))
                insert = web.execute(
                    "insert into bot_secrets (id, bot_id, kind, sealed, key_version, suite)"
                    " values (gen_random_uuid(), $1, 'credentials', 'x', $2, 1)", bot, version,
                )  # fmt: skip
                if taken:
                    await insert
                    continue
                with pytest.raises(asyncpg.InsufficientPrivilegeError, match="row-level security"):
                    async with web.transaction():
                        await insert
    finally:
        await web.close()


async def test_a_broken_row_hurts_itself_alone(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, readers: Readers, vault: Vault, urls: Urls
) -> None:
    good, bad = await safe(factory, "good"), await safe(factory, "bad", bots=4)
    broken, moved, *_ = list(bad.bots)
    await admin.execute("update bot_secrets set sealed = '\\xdeadbeef' where bot_id = $1", broken)
    # Copied from the neighbour's row: sound, and in the wrong place.
    await admin.execute(
        "update bot_secrets set sealed = (select sealed from bot_secrets where bot_id = $2) where bot_id = $1",
        moved,
        next(iter(good.bots)),
    )
    await admin.execute("create table noted (tenant uuid, action text, resource text, row uuid, detail jsonb)")
    await admin.execute("grant insert on noted to tradewise_agent_scheduler")
    await admin.execute(
        "create or replace function audit_agent_note(of_tenant uuid, of_action text, of_resource text,"
        " of_resource_id uuid, of_detail jsonb) returns void language sql as"
        " $$ insert into noted values (of_tenant, of_action, of_resource, of_resource_id, of_detail) $$"
    )
    await rotations.begin(pool, "pairs", Scope())
    await to_the_end(pool, Resealer(pool, vault, grace_s=0))
    # A value that does not open with its key never will: it keeps no key alive.
    assert await keys_of(admin, good) == await keys_of(admin, bad) == ALIVE
    bad.bots = {bot: value for bot, value in bad.bots.items() if bot not in {broken, moved}}
    await good.opens(readers, vault)
    await bad.opens(readers, vault)
    rows = await admin.fetch("select id from bot_secrets where bot_id = any($1)", [broken, moved])
    told = await admin.fetch("select * from noted")
    assert {(row["tenant"], row["action"], row["resource"], row["row"]) for row in told} == {
        (bad.owner.tenant_id, "secret.unreadable", "bot_secrets", row["id"]) for row in rows
    }
    assert len(told) == 2
    assert await admin.fetchval("select (state, failed, done) = ('done', 2, 7) from key_rotations")
    # Running it again moves what is sound and counts the two no more: their key is gone.
    await rotate_pairs(urls["agent_scheduler"], Scope(), print, dry_run=False, wait=False)
    await to_the_end(pool, Resealer(pool, vault, grace_s=0))
    await good.opens(readers, vault)
    await bad.opens(readers, vault)


async def test_a_key_that_cannot_be_used_is_not_destroyed(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, readers: Readers, vault: Vault
) -> None:
    good, bad = await safe(factory, "good"), await safe(factory, "bad")
    wrapped = await admin.fetchval(
        "select wrapped_private_key from tenant_keys where tenant_id = $1", bad.owner.tenant_id
    )
    harm = "update tenant_keys set wrapped_private_key = $2 where tenant_id = $1 and version = 1"
    await admin.execute(harm, bad.owner.tenant_id, b"\0" * 60)
    await rotations.begin(pool, "pairs", Scope())
    await to_the_end(pool, Resealer(pool, vault, grace_s=0))
    assert await keys_of(admin, good) == ALIVE
    assert [row["destroyed"] for row in await keys_of(admin, bad)] == [False, False]
    assert await admin.fetchval("select (state, failed) = ('done', 4) from key_rotations")
    # Mended, from a backup say: the next rotation takes everything along.
    await admin.execute(harm, bad.owner.tenant_id, wrapped)
    await bad.opens(readers, vault)
    await rotations.begin(pool, "pairs", Scope(only_tenant=bad.owner.tenant_id))
    await to_the_end(pool, Resealer(pool, vault, grace_s=0))
    await bad.opens(readers, vault)
    assert [row["destroyed"] for row in await keys_of(admin, bad)] == [True, True, False]
    assert len(await keys_of(admin, good)) == 2


async def test_a_deleted_tenant_gets_no_key_and_keeps_none(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, readers: Readers, vault: Vault, settings: Settings
) -> None:
    here, gone = await safe(factory, "here"), await safe(factory, "gone")
    await admin.execute("update tenants set status = 'deleted' where id = $1", gone.owner.tenant_id)
    await rotations.begin(pool, "pairs", Scope())
    await to_the_end(pool, Resealer(pool, vault, grace_s=0))
    assert len(await keys_of(admin, gone)) == 1
    await Scheduler(settings, pool, vault).work(frozenset())
    assert await keys_of(admin, gone) == ALIVE[:1]
    await here.opens(readers, vault)
    with pytest.raises(OpenError, match="destroyed"):
        await gone.opens(readers, vault)


async def test_readers_never_notice_and_two_rotators_do_no_harm(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, readers: Readers, vault: Vault
) -> None:
    safes = [await safe(factory, f"t{number}", bots=12, versions=2) for number in range(4)]
    await rotations.begin(pool, "pairs", Scope())
    reading, reads = True, 0

    async def read() -> None:
        nonlocal reads
        while reading:
            for each in safes:
                await each.opens(readers, vault)
                reads += 1

    async def write() -> None:
        number = 0
        while reading:
            number += 1
            bot = await factory.bot(safes[0].owner, api_url=f"http://n{number}.example", credentials={"token": "new"})
            secret = await open_bot_secret(readers.poller, vault, safes[0].owner.tenant_id, bot, "credentials")
            assert secret is not None
            await admin.execute("delete from bots where id = $1", bot)

    others = [asyncio.create_task(read()), asyncio.create_task(write())]
    await until(lambda: reads > 0, what="a reader")
    # The grace is for writers such as ours, who fetched the older key just before it is destroyed.
    await asyncio.gather(*(to_the_end(pool, Resealer(pool, vault, grace_s=1, batch=7)) for _ in range(2)))
    reading = False
    await asyncio.gather(*others)
    assert reads >= 4
    for each in safes:
        await each.opens(readers, vault)
        assert await keys_of(admin, each) == ALIVE
    row = await admin.fetchrow("select * from key_rotations")
    assert (row["state"], row["failed"]) == ("done", 0)
    # Counted once each, however many worked on it; what was written meanwhile for an older key comes on top.
    assert row["done"] == row["total"] >= 4 * 14


async def test_it_stops_after_a_batch_and_goes_on(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, readers: Readers, vault: Vault, urls: Urls
) -> None:
    one = await safe(factory, "one", bots=23)
    url, said = urls["agent_scheduler"], list[str]()
    rotation = await rotations.begin(pool, "pairs", Scope())
    resealer = Resealer(pool, vault, grace_s=0, batch=5, budget_s=0.0)
    done = partial(_done, pool, rotation.id)
    while not await done():
        assert await resealer.step()
    await stop(url, said.append)
    assert said == ["1 stopped; the same `tradewise keys rotate` goes on with it"]
    at = await done()
    assert 5 <= at < 23
    assert await resealer.step() is False
    assert await done() == at
    await one.opens(readers, vault)
    lines = await status(Settings(), url)
    assert f"rotation of pairs: stopped, {at} of 24 ({100 * at // 24} %), 0 failed" in lines
    assert (await rotations.begin(pool, "pairs", Scope())).id == rotation.id
    await to_the_end(pool, resealer)
    assert await done() == 24
    # Resumed, not begun again: there is one newer pair, not two.
    assert await keys_of(admin, one) == ALIVE
    await one.opens(readers, vault)


async def _done(pool: asyncpg.Pool, rotation_id: Any) -> int:
    return (await rotations.rotation(pool, rotation_id)).done


async def test_what_its_owner_deletes_meanwhile_is_not_waited_for(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    await safe(factory, "one", bots=8, versions=0)
    rotation = await rotations.begin(pool, "pairs", Scope())
    resealer = Resealer(pool, vault, batch=2, budget_s=0.0)
    while not await _done(pool, rotation.id):
        await resealer.step()
    await admin.execute("delete from bot_secrets where key_version = 1")
    while await resealer.step():
        pass
    now = await rotations.rotation(pool, rotation.id)
    assert (now.state, now.total) == ("running", now.done)
    assert now.progress == f"{now.done} of {now.done} (100 %), 0 failed"


async def test_the_platforms_own_pair_rotates_with_the_mails_that_wait(
    api_db: Database, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    installation, _ = await platform_pair(admin, vault)
    async with api_db.anonymous() as session:
        await post(session, Letter(kind="test", to="a@example.com", subject="s", body="planted"))
    await admin.execute(
        "insert into mails (id, kind, sealed, key_version, suite, sent_at) values ($1, 'sent', null, 1, 1, now())",
        uuid7(),
    )
    await rotations.begin(pool, "pairs", Scope(with_tenants=False, with_platform=True))
    await to_the_end(pool, Resealer(pool, vault, grace_s=0))
    keys = await admin.fetch("select version, wrapped_private_key is null as gone from platform_keys order by version")
    assert [tuple(row) for row in keys] == [(1, True), (2, False)]
    mail = await admin.fetchrow("select * from mails where sealed is not null")
    key = await admin.fetchrow("select * from platform_keys where version = 2")
    pair = KeyPair(installation, 2, key["suite"], key["public_key"], key["wrapped_private_key"], key["kek_id"])
    secret = await vault.open(
        Sealed(mail["sealed"], mail["key_version"], mail["suite"]),
        pair,
        Place(installation, "mails", "sealed", mail["id"]),
    )
    assert b"planted" in secret.reveal()


async def test_suites_live_side_by_side_and_a_rotation_moves_values_to_the_hybrid_one(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, readers: Readers, vault: Vault, api_db: Database
) -> None:
    one, two = await safe(factory, "one"), await safe(factory, "two")
    hybrid = Vault(vault.provider, new_pairs=MLKEM768_X25519_SHA256_AES256GCM)
    await rotations.begin(pool, "pairs", Scope(only_tenant=one.owner.tenant_id))
    await to_the_end(pool, Resealer(pool, hybrid, grace_s=0))
    suites = "select distinct suite from bot_secrets where tenant_id = $1"
    assert [row[0] for row in await admin.fetch(suites, one.owner.tenant_id)] == [MLKEM768_X25519_SHA256_AES256GCM]
    assert [row[0] for row in await admin.fetch(suites, two.owner.tenant_id)] == [X25519_SHA256_AES256GCM]
    # Whoever makes pairs of the one kind opens both, and the web tier seals for whichever is the tenant's newest.
    for each in (one, two):
        await each.opens(readers, vault)
        await each.opens(readers, hybrid)
    async with api_db.tenant(one.owner.tenant_id) as session:
        key = await public_key(session, one.owner.tenant_id)
    assert key is not None
    assert (key.suite, key.version, len(key.raw)) == (MLKEM768_X25519_SHA256_AES256GCM, 2, 1184 + 32)
    version = uuid7()
    await template_version(factory, one.owner, version, 7, b"sealed later")
    one.versions[version] = "sealed later"
    await one.opens(readers, vault)
    # And back again.
    await rotations.begin(pool, "pairs", Scope(only_tenant=one.owner.tenant_id))
    await to_the_end(pool, Resealer(pool, vault, grace_s=0))
    assert [row[0] for row in await admin.fetch(suites, one.owner.tenant_id)] == [X25519_SHA256_AES256GCM]
    await one.opens(readers, vault)


async def test_a_suite_that_this_program_does_not_have_is_left_to_one_that_has_it(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, vault: Vault
) -> None:
    one = await safe(factory, "one", bots=2, versions=0)
    await admin.execute("update tenant_keys set suite = 99")
    await admin.execute("update bot_secrets set suite = 99")
    await rotations.begin(pool, "pairs", Scope())
    await to_the_end(pool, Resealer(pool, vault, grace_s=0))
    assert [row["destroyed"] for row in await keys_of(admin, one)] == [False, False]
    assert await admin.fetchval("select bool_and(reason like '%upgrade%') from key_rotation_failures")
    with pytest.raises(ValueError, match="upgrade"):
        seal(b"x", PublicKey(b"x", 1, 99), Place(one.owner.tenant_id, "t", "c", uuid7()))


async def test_the_scheduler_agent_does_it_when_asked(
    factory: Factory, admin: asyncpg.Connection, pool: asyncpg.Pool, readers: Readers, vault: Vault, settings: Settings,
    urls: Urls,
) -> None:  # fmt: skip
    one = await safe(factory, "one")
    scheduler = Scheduler(settings, pool, vault)
    task = asyncio.create_task(scheduler.run())
    said: list[str] = []
    asked = asyncio.create_task(rotate_pairs(urls["agent_scheduler"], Scope(), said.append, dry_run=False, wait=True))

    async def moved() -> bool:
        scheduler.wake()
        return bool(await admin.fetchval("select count(*) = 3 from bot_secrets where key_version = 2"))

    await until(moved, what="the values move")
    await until(lambda: any("older ones are destroyed" in line for line in said), what="the wait is told")
    await age(admin)
    scheduler.wake()
    await asked
    assert said[-1] == "done: 4 moved"
    scheduler.stopping.set()
    scheduler.wake()
    await task
    assert await keys_of(admin, one) == ALIVE
    await one.opens(readers, vault)
