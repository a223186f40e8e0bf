"""What agents and the operator's command do with the audit log, each as its own role."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner
from structlog.testing import capture_logs

from agents.agent import make_pool
from agents.audit import note_not_opened
from agents.scheduler.agent import Scheduler
from agents.secrets import NotOpenedError, open_bot_secret
from control_plane.audit.checkpoints import FAULTS
from control_plane.cli import main
from control_plane.security.keyproviders import create_kek_file, key_provider
from control_plane.security.vault import Vault
from control_plane.settings import Settings, load_settings
from tests.audit import events, tampering
from tests.factories import Factory, Urls

TOKEN = {"token": "a-token-of-sixteen-or-more"}


@pytest.fixture
def kek_settings(settings: Settings, tmp_path: Path) -> Settings:
    create_kek_file(settings.effective_kek_file)
    return settings


@pytest.fixture
async def scheduler(urls: Urls, kek_settings: Settings) -> AsyncIterator[Scheduler]:
    pool = await make_pool(urls["agent_scheduler"], "scheduler", size=2)
    yield Scheduler(kek_settings, pool, Vault(key_provider(kek_settings)))
    await pool.close()


@pytest.mark.parametrize("kind", ["agent_launcher", "agent_poller"])
async def test_a_sealed_value_that_does_not_open_is_told_once_a_value_and_generation(
    urls: Urls, admin: asyncpg.Connection, factory: Factory, vault: Vault, kind: str
) -> None:
    owner = await factory.owner()
    bot = await factory.bot(owner, bot_type="platform", credentials=TOKEN)
    await admin.execute("update bot_secrets set sealed = sealed || 'x'::bytea where bot_id = $1", bot)
    pool = await make_pool(urls[kind], kind, size=1)
    for generation in (1, 1, 1, 2, 2):
        with pytest.raises(NotOpenedError) as caught:
            await open_bot_secret(pool, vault, owner.tenant_id, bot, "credentials")
        await note_not_opened(pool, caught.value, bot_id=bot, generation=generation)
    await pool.close()
    told = [event for event in await events(admin, owner.tenant_id) if event["action"] == "secret.open_failed"]
    row = str(await admin.fetchval("select id from bot_secrets where bot_id = $1", bot))
    assert [(event["detail"]["generation"], event["detail"]["row"]) for event in told] == [("1", row), ("2", row)]
    assert {(event["actor_kind"], event["actor_id"], event["outcome"], event["resource_id"]) for event in told} == {
        ("agent", kind.removeprefix("agent_"), "failure", bot)
    }


async def test_heads_are_signed_as_often_as_they_move_and_each_signature_is_a_log_line(
    scheduler: Scheduler, admin: asyncpg.Connection, factory: Factory
) -> None:
    owner = await factory.owner()
    with capture_logs() as lines:
        assert await scheduler.sign_heads() == 2  # the tenant's and the platform's
    told = {line["tenant"]: line for line in lines if line["event"] == "audit_signed"}
    head = await admin.fetchrow("select seq, hash from audit_chains where tenant_id = $1", owner.tenant_id)
    line = told[str(owner.tenant_id)]
    assert (line["kind"], line["seq"], line["hash"]) == ("checkpoint", head["seq"], head["hash"].hex())
    row = await admin.fetchrow("select * from audit_checkpoints where tenant_id = $1", owner.tenant_id)
    assert (row["signature"].hex(), row["key_version"]) == (line["signature"], line["key_version"])
    assert await scheduler.sign_heads() == 0
    await admin.execute("update tenants set name = 'moved on' where id = $1", owner.tenant_id)
    assert await scheduler.sign_heads() == 1


async def test_a_pass_signs_and_keeps_house(scheduler: Scheduler, admin: asyncpg.Connection, factory: Factory) -> None:
    await factory.owner()
    pause = await scheduler.work(frozenset())
    assert await admin.fetchval("select count(*) from audit_checkpoints") >= 2
    months = await admin.fetchval("select count(*) from pg_inherits where inhparent = 'audit_events'::regclass")
    assert months == 7
    # History is walked from its first month on, some of it a pass and one pass after the other; then there is rest.
    passes = 1
    while pause == 0:
        passes += 1
        assert passes <= 30, "no pass found everything done"
        pause = await scheduler.work(frozenset())


async def test_two_schedulers_share_one_key(
    scheduler: Scheduler, urls: Urls, admin: asyncpg.Connection, factory: Factory
) -> None:
    await factory.owner()
    pool = await make_pool(urls["agent_scheduler"], "scheduler", size=1)
    other = Scheduler(scheduler.settings, pool, scheduler.vault)
    await scheduler.sign_heads()
    await admin.execute("update tenants set name = 'x'")
    await other.sign_heads()
    await pool.close()
    assert await admin.fetchval("select count(*) from audit_keys") == 1


async def test_the_command_ends_with_one_where_a_chain_is_broken(
    scheduler: Scheduler, urls: Urls, admin: asyncpg.Connection, factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, other = await factory.owner(), await factory.owner("Bob")
    await scheduler.sign_heads()
    monkeypatch.setenv("TRADEWISE_AGENT_DATABASE_URL", urls["agent_scheduler"])
    folder = ["--data-dir", str(scheduler.settings.data_dir)]

    async def command(*arguments: str) -> tuple[int, list[str]]:
        # In a thread: the command runs a loop of its own.
        result = await asyncio.to_thread(CliRunner().invoke, main, ["audit", "verify", *folder, *arguments])
        return result.exit_code, result.output.splitlines()

    status, lines = await command()
    assert (status, len(lines)) == (0, 3)
    assert all(line.startswith("ok     ") for line in lines)
    async with tampering(admin):
        await admin.execute("delete from audit_events where tenant_id = $1 and seq = 2", owner.tenant_id)
        await admin.execute("delete from audit_keys")
    status, lines = await command("--tenant", str(owner.tenant_id))
    assert status == 1
    assert lines[0].startswith(f"FAULT  tenant {owner.tenant_id}  seq 2: truncated")
    # Another's chain is whole, but nobody can vouch for its signatures any more.
    status, lines = await command("--tenant", str(other.tenant_id))
    assert (status, lines) == (
        1,
        [f"FAULT  tenant {other.tenant_id}  seq 2: signature_invalid, {FAULTS['signature_invalid']}"],
    )


async def test_settings_name_what_the_scheduler_reads() -> None:
    settings = load_settings({"TRADEWISE_AUDIT_RETENTION_MONTHS": "12", "TRADEWISE_AUDIT_CHECKPOINT_INTERVAL": "60"})
    assert (settings.audit_retention_months, settings.audit_checkpoint_interval) == (12, 60.0)
