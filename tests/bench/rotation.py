"""Rotating the secrets of a large installation under load: `python -m tests.bench.rotation [SECRETS]` (100,000).

The scheduler runs as in production, a process of its own with its own role; four readers open random secrets and one
writer replaces some, all along. Told are: how long it took, failed readers (the bar is 0), and the longest statement,
and so the longest lock, of the rotation as the server measured it (the bar is 100 ms).
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import UUID

import asyncpg
import msgspec
from uuid_utils.compat import uuid7

from agents.agent import make_pool
from agents.keys import rotations
from agents.keys.rotations import Scope
from agents.secrets import open_bot_secret
from control_plane.database.embedded import EmbeddedServer
from control_plane.database.migrate import migrate
from control_plane.database.roles import LOGIN_ROLES
from control_plane.security.keyproviders import create_kek_file, key_provider
from control_plane.security.sealing import Place, PublicKey, seal
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.waiting import until

_TENANTS = 200
_READERS = 4
_VALUE = msgspec.json.encode({"token": "x" * 48})
_DURATION = re.compile(r"tradewise_agent_scheduler LOG: +duration: ([0-9.]+) ms +(\w+)[^:]*:\s+(\w+)")
ROOT = Path(__file__).resolve().parents[2]


class Load(msgspec.Struct):
    """What readers and the writer met."""

    reads: int = 0
    failed: int = 0
    slowest_read_ms: float = 0.0
    writes: int = 0
    slowest_write_ms: float = 0.0
    running: bool = True


async def fill(admin: asyncpg.Connection, vault: Vault, count: int) -> list[tuple[UUID, UUID]]:
    """Tenants, each with as many bots with a sealed secret as it takes; (tenant, bot) of each."""
    user, made = uuid7(), list[tuple[UUID, UUID]]()
    await admin.execute("insert into users (id, email, password_hash, full_name) values ($1, 'a@b.c', 'x', 'A')", user)
    for number in range(_TENANTS):
        tenant = uuid7()
        await admin.execute("insert into tenants (id, name) values ($1, $2)", tenant, f"tenant {number}")
        pair = await vault.generate(tenant, 1)
        await admin.execute(
            "insert into tenant_keys (id, tenant_id, version, suite, public_key, wrapped_private_key, kek_id)"
            " values ($1, $2, 1, $3, $4, $5, $6)",
            uuid7(), tenant, pair.suite, pair.public_key, pair.wrapped_private_key, pair.kek_id,
        )  # fmt: skip
        key = PublicKey(pair.public_key, 1, pair.suite)
        bots = [uuid7() for _ in range(count // _TENANTS)]
        rows = []
        for bot in bots:
            row = uuid7()
            rows.append(
                (
                    row,
                    tenant,
                    bot,
                    "credentials",
                    seal(_VALUE, key, Place(tenant, "bot_secrets", "sealed", row)).value,
                    1,
                    pair.suite,
                )
            )
        async with admin.transaction():
            await admin.copy_records_to_table(
                "bots",
                records=[(bot, tenant, "external", "tradewise", "b", "stopped", 1) for bot in bots],
                columns=["id", "tenant_id", "bot_type", "engine", "name", "desired", "generation"],
            )
            columns = ["id", "tenant_id", "bot_id", "kind", "sealed", "key_version", "suite"]
            await admin.copy_records_to_table("bot_secrets", records=rows, columns=columns)
        made += [(tenant, bot) for bot in bots]
    await admin.execute("analyze")
    return made


async def read(pool: asyncpg.Pool, vault: Vault, bots: list[tuple[UUID, UUID]], load: Load) -> None:
    """Open random secrets, one after the other."""
    while load.running:
        tenant, bot = random.choice(bots)
        began = time.perf_counter()
        try:
            secret = await open_bot_secret(pool, vault, tenant, bot, "credentials")
            # None: the writer has just taken the bot away.
            load.failed += secret is not None and secret.reveal() != _VALUE
        except Exception as error:  # noqa: BLE001 - whatever it is, a reader has failed
            print("reader failed:", repr(error))
            load.failed += 1
        load.reads += 1
        load.slowest_read_ms = max(load.slowest_read_ms, (time.perf_counter() - began) * 1e3)


async def write(admin: asyncpg.Connection, bots: list[tuple[UUID, UUID]], load: Load) -> None:
    """Replace a random secret with one for the newest key, as the web tier does: away with the row, a new one in."""
    while load.running:
        tenant, bot = random.choice(bots)
        row = await admin.fetchrow(
            "select public_key, version, suite from tenant_keys where tenant_id = $1 order by version desc limit 1",
            tenant,
        )
        new = uuid7()
        sealed = seal(_VALUE, PublicKey(row["public_key"], row["version"], row["suite"]),
            Place(tenant, "bot_secrets", "sealed", new))  # fmt: skip
        began = time.perf_counter()
        async with admin.transaction():
            await admin.execute("delete from bot_secrets where tenant_id = $1 and bot_id = $2", tenant, bot)
            await admin.execute(
                "insert into bot_secrets (id, tenant_id, bot_id, kind, sealed, key_version, suite)"
                " values ($1, $2, $3, 'credentials', $4, $5, $6)",
                new, tenant, bot, sealed.value, sealed.key_version, sealed.suite,
            )  # fmt: skip
        load.writes += 1
        load.slowest_write_ms = max(load.slowest_write_ms, (time.perf_counter() - began) * 1e3)
        await asyncio.sleep(0)


def slowest(folder: Path) -> tuple[float, float, int]:
    """The scheduler's longest statement that writes, and so locks, and its longest of all, in ms; how many there were.

    By the server's own log, not by our clock, which waits for its turn as well.
    """
    texts = (file.read_text("utf-8", "replace") for file in folder.rglob("*") if file.is_file() and "log" in file.name)
    found = [(float(ms), step, verb) for text in texts for ms, step, verb in _DURATION.findall(text)]
    writing = [ms for ms, step, verb in found if step == "execute" and verb in {"with", "update", "insert", "delete"}]
    return max(writing, default=-1.0), max((ms for ms, _, _ in found), default=-1.0), len(found)


async def main(count: int) -> None:
    """Fill, rotate under load, tell."""
    with tempfile.TemporaryDirectory(prefix="tw-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = EmbeddedServer(folder)
        server.start()
        try:
            await measure(server, folder, count)
        finally:
            server.stop()


async def measure(server: EmbeddedServer, folder: Path, count: int) -> None:
    """As :func:`main`, on a server that runs."""
    await server.ensure_database()
    await migrate(server.url("postgres"))
    settings = Settings(data_dir=folder)
    create_kek_file(settings.effective_kek_file)
    vault = Vault(key_provider(settings))
    admin, other = await asyncpg.connect(server.url("postgres")), await asyncpg.connect(server.url("postgres"))
    bots = await fill(admin, vault, count)
    print(f"{len(bots)} secrets of {_TENANTS} tenants")
    role = LOGIN_ROLES["agent_scheduler"]
    await admin.execute("alter system set log_line_prefix = '%u '")
    await admin.execute("select pg_reload_conf()")
    await admin.execute(f"alter role {role} set log_min_duration_statement = 0")
    scheduler_url = server.url(role)
    pool = await make_pool(scheduler_url, "bench", size=1)
    readers = await make_pool(server.url(LOGIN_ROLES["agent_poller"]), "readers", size=_READERS)
    load = Load()
    tasks = [asyncio.create_task(read(readers, vault, bots, load)) for _ in range(_READERS)]
    tasks.append(asyncio.create_task(write(other, bots, load)))
    environ = {**os.environ, "TRADEWISE_AGENT_DATABASE_URL": scheduler_url,
        "TRADEWISE_KEK_FILE": str(settings.effective_kek_file)}  # fmt: skip
    agent = subprocess.Popen((sys.executable, "-m", "control_plane", "agent", "scheduler"), cwd=ROOT, env=environ,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    began, rotation = time.perf_counter(), await rotations.begin(pool, "pairs", Scope())

    async def settled() -> bool:
        now = await rotations.rotation(pool, rotation.id)
        return now.state == "done" or (now.total is not None and now.done + now.failed >= now.total)

    async def ended() -> bool:
        return (await rotations.rotation(pool, rotation.id)).state == "done"

    await until(settled, deadline_s=3600.0, every_s=0.2)
    moved = time.perf_counter() - began
    # The rotation first: else it would take its own pairs for older ones.
    await admin.execute("update key_rotations set started_at = started_at - interval '2 hours'")
    await admin.execute("update tenant_keys set created_at = created_at - interval '1 hour'")
    await until(ended, deadline_s=3600.0, every_s=0.2)
    now = await rotations.rotation(pool, rotation.id)
    whole = time.perf_counter() - began
    load.running = False
    await asyncio.gather(*tasks)
    agent.terminate()
    await asyncio.to_thread(agent.wait)
    locking, longest, statements = slowest(folder)
    left = await admin.fetchval("select count(*) from bot_secrets where key_version = 1")
    print(f"moved {now.done} in {moved:.1f} s (older private halves gone after {whole:.1f} s, grace skipped)")
    print(f"readers: {load.reads}, failed: {load.failed}, slowest {load.slowest_read_ms:.1f} ms")
    print(f"writes: {load.writes}, slowest {load.slowest_write_ms:.1f} ms")
    print(f"longest lock of the rotation (a statement that writes): {locking:.1f} ms")
    print(f"longest statement: {longest:.1f} ms of {statements}")
    print(f"left under an older key: {left}, failed rows: {now.failed}")
    for each in (pool, readers):
        await each.close()
    for connection in (admin, other):
        await connection.close()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000))
