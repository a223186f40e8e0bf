"""kill -9 of the notifier's process while a relay holds a mail: the next one sends it, under the same Message-ID."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from control_plane.security.keyproviders import create_kek_file, key_provider
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.factories import Urls
from tests.integration.notifier.conftest import Post
from tests.servers.mail_relay import MailRelay
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def vault(settings: Settings) -> Vault:
    """The vault that the process opens as well: its key is in a file."""
    create_kek_file(settings.effective_kek_file)
    return Vault(key_provider(settings))


class Process:
    """The command as it runs in production; what it said is kept in one file."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("TRADEWISE_")}
        self._environment = inherited | environment
        self._log = log
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self._log.open("ab") as log:
            self._running = subprocess.Popen(
                (sys.executable, "-m", "control_plane", "agent", "notifier"),
                cwd=ROOT,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def end(self, number: int) -> int:
        if self._running is None:
            return 0
        self._running.send_signal(number)
        status = self._running.wait(30)
        self._running = None
        return status

    @property
    def said(self) -> str:
        return self._log.read_text()


@pytest.fixture
async def relay() -> AsyncIterator[MailRelay]:
    """A relay that asks who sends."""
    async with MailRelay(login=("user", "planted-password")) as running:
        yield running


@pytest.fixture
async def process(
    relay: MailRelay, urls: Urls, settings: Settings, vault: Vault, tmp_path: Path
) -> AsyncIterator[Process]:
    made = Process(
        {
            "TRADEWISE_AGENT_DATABASE_URL": urls["agent_notifier"],
            "TRADEWISE_KEK_FILE": str(settings.effective_kek_file),
            "TRADEWISE_SMTP_URL": f"smtp://user:planted-password@127.0.0.1:{relay.port}",
            "TRADEWISE_LOG_LEVEL": "debug",
        },
        tmp_path / "notifier.log",
    )
    yield made
    made.end(signal.SIGKILL)


async def test_killed_while_the_relay_has_the_mail(
    write: Post, relay: MailRelay, process: Process, admin: asyncpg.Connection
) -> None:
    mail_id = await write(to="planted@example.com", body="planted-code\n")
    relay.answer_data = "hang"
    process.start()
    await until(lambda: relay.offered == 1, what="the relay has the mail")
    process.end(signal.SIGKILL)
    relay.answer_data = "250 OK"
    row = await admin.fetchrow("select sealed, sent_at, next_attempt_at > now() as held from mails")
    assert (row["sealed"] is not None, row["sent_at"], row["held"]) == (True, None, True)
    dead = await admin.fetchval("select coalesce(array_agg(id), '{}') from agent_beats")
    process.start()
    await until(lambda: _works(admin, dead), what="the next notifier works")
    assert relay.offered == 1  # the dead one's lease holds it still
    await admin.execute("update mails set next_attempt_at = now()")
    await admin.execute("select pg_notify('tradewise_mail', '')")
    await until(lambda: relay.taken, what="it went out")
    assert relay.taken[0]["Message-ID"] == f"<{mail_id}@localhost>"

    async def noted() -> Any:
        return await admin.fetchval("select sealed is null and sent_at is not null from mails")

    await until(noted, what="it is noted")
    assert await asyncio.to_thread(process.end, signal.SIGTERM) == 0  # the relay, in this loop, must go on
    assert len(relay.taken) == 1
    for secret in ("planted-code", "planted-password", "planted@example.com"):
        assert secret not in process.said


async def test_asked_to_end_it_finishes_what_it_has_begun(
    write: Post, relay: MailRelay, process: Process, admin: asyncpg.Connection
) -> None:
    process.start()
    await until(lambda: _works(admin, []), what="it works")
    for number in range(40):
        await write(to=f"person-{number}@example.com")
    await until(lambda: relay.taken, what="the first went out")
    assert await asyncio.to_thread(process.end, signal.SIGTERM) == 0  # the relay, in this loop, must go on
    taken = len(relay.taken)
    assert await admin.fetchval("select count(*) from mails where sent_at is not null") == taken
    assert await admin.fetch("select attempts, error from mails where sent_at is null and attempts > 0") == []
    assert await admin.fetchval("select count(*) from agent_beats where kind = 'notifier'") == 0


async def _works(admin: asyncpg.Connection, dead: list[UUID]) -> bool:
    working = "select exists (select from agent_beats where state = 'working' and id <> all($1::uuid[]))"
    return bool(await admin.fetchval(working, dead))
