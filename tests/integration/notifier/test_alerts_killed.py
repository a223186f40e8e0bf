"""kill -9 of the notifier's process while a receiver holds a message: the next one sends it, under the same id."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from control_plane.security.keyproviders import create_kek_file, key_provider
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import Api
from tests.factories import Urls
from tests.integration.notifier.alerts import Health, external, hook
from tests.integration.notifier.test_notifier_killed import Process
from tests.servers.webhook_receiver import WebhookReceiver
from tests.waiting import until


@pytest.fixture
def vault(settings: Settings) -> Vault:
    """The vault that the process opens as well: its key is in a file."""
    create_kek_file(settings.effective_kek_file)
    return Vault(key_provider(settings))


@pytest.fixture
async def process(urls: Urls, settings: Settings, vault: Vault, tmp_path: Path) -> AsyncIterator[Process]:
    made = Process(
        {
            "TRADEWISE_AGENT_DATABASE_URL": urls["agent_notifier"],
            "TRADEWISE_KEK_FILE": str(settings.effective_kek_file),
            "TRADEWISE_EGRESS_ALLOW": "127.0.0.0/8",
            "TRADEWISE_MAIL_DIR": str(tmp_path / "mail"),
            "TRADEWISE_LOG_LEVEL": "debug",
        },
        tmp_path / "notifier.log",
    )
    yield made
    made.end(signal.SIGKILL)


async def test_killed_between_the_claim_and_the_note(
    api: Api, process: Process, admin: asyncpg.Connection, urls: Urls
) -> None:
    person = await api.person()
    async with WebhookReceiver() as receiver:
        made = await hook(person, receiver)
        bot = await external(person)
        await Health(admin).down(person.tenant_id, bot)
        receiver.hang = True
        process.start()
        await until(lambda: receiver.offered, what="the receiver has the message")
        await asyncio.to_thread(process.end, signal.SIGKILL)
        row = await admin.fetchrow("select state, attempts, next_attempt_at > now() as leased from alert_messages")
        assert tuple(row) == ("pending", 1, True)
        receiver.hang = False
        process.start()
        await admin.execute("update alert_messages set next_attempt_at = now()")
        await admin.execute("select pg_notify('tradewise_alerts', '')")
        await until(lambda: receiver.taken, what="it went out again")

        async def noted() -> Any:
            return await admin.fetchval("select state = 'sent' from alert_messages")

        await until(noted, what="it is noted")
        assert await asyncio.to_thread(process.end, signal.SIGTERM) == 0
        assert [identity for identity, _, _ in receiver.offered] == [receiver.offered[0][0]] * 2
        assert await admin.fetchval("select count(*) from alert_incidents") == 1
        assert made["signing_secret"] not in process.said
