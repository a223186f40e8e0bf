"""An outbox with the platform's key, and notifiers at work on it in the test's own loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeAlias
from uuid import UUID

import asyncpg
import pytest
from uuid_utils.compat import uuid7

from agents.agent import make_pool
from agents.notifier.agent import Notifier
from control_plane.database.listener import Listener
from control_plane.database.sessions import Database
from control_plane.mail.letters import Letter
from control_plane.mail.outbox import post
from control_plane.security.vault import Vault
from control_plane.settings import Settings, load_settings
from tests.api import Api, Person
from tests.factories import Urls
from tests.integration.notifier.alerts import Health, Jobs, jobs_of
from tests.servers.mail_relay import MailRelay
from tests.servers.webhook_receiver import WebhookReceiver

Post: TypeAlias = Callable[..., Awaitable[UUID]]
NotifierMaker: TypeAlias = Callable[..., Awaitable[Notifier]]


@pytest.fixture
async def platform_key(admin: asyncpg.Connection, vault: Vault) -> None:
    """The key pair that mails are sealed for, as the scheduler makes it."""
    pair = await vault.generate(await admin.fetchval("select id from installation"), 1)
    await admin.execute(
        "insert into platform_keys (id, version, suite, public_key, wrapped_private_key, kek_id)"
        " values ($1, $2, $3, $4, $5, $6)",
        uuid7(),
        pair.version,
        pair.suite,
        pair.public_key,
        pair.wrapped_private_key,
        pair.kek_id,
    )


@pytest.fixture
async def write(platform_key: None, api_db: Database, admin: asyncpg.Connection) -> Post:
    """Puts a mail into the outbox as the web tier does; its id."""

    async def made(to: str = "ada@example.com", subject: str = "Hello", body: str = "A code: ABCD\n") -> UUID:
        async with api_db.anonymous() as session:
            await post(session, Letter(kind="test", to=to, subject=subject, body=body))
        found: UUID = await admin.fetchval("select id from mails order by id desc limit 1")
        return found

    return made


@pytest.fixture
async def pool(urls: Urls) -> AsyncIterator[asyncpg.Pool]:
    """A pool as the role of the notifier."""
    made = await make_pool(urls["agent_notifier"], "notifier")
    yield made
    await made.close()


@pytest.fixture
async def relay() -> AsyncIterator[MailRelay]:
    """A relay that takes everything, until told otherwise."""
    async with MailRelay() as running:
        yield running


@asynccontextmanager
async def _at_work(url: str, vault: Vault, variables: dict[str, str], data_dir: Path) -> AsyncIterator[Notifier]:
    settings = load_settings({f"TRADEWISE_{name}": value for name, value in variables.items()}, data_dir=data_dir)
    pool = await make_pool(url, "notifier")
    notifier = Notifier(settings, pool, vault)
    listener = Listener(
        url,
        notifier.channels,
        on_notify=lambda _channel, payload: notifier.wake(payload),
        on_connect=notifier.wake,
        application_name="tradewise-notifier-listen",
    )
    await notifier.open()
    tasks = [asyncio.create_task(listener.run()), asyncio.create_task(notifier.run())]
    try:
        await asyncio.wait_for(listener.connected.wait(), 10)
        yield notifier
    finally:
        notifier.stopping.set()
        notifier.wake()
        tasks[0].cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        await notifier.close()
        await pool.close()
        if isinstance(results[1], Exception):
            raise results[1]


@pytest.fixture
async def notifier_with(urls: Urls, vault: Vault, tmp_path: Path) -> AsyncIterator[NotifierMaker]:
    """Sets a notifier to work: ``await notifier_with(SMTP_URL=...)``, as often as a test needs one."""
    async with AsyncExitStack() as stack:

        async def make(**variables: str) -> Notifier:
            return await stack.enter_async_context(_at_work(urls["agent_notifier"], vault, variables, tmp_path))

        yield make


@pytest.fixture
async def person(api: Api) -> Person:
    """Whose bots are watched."""
    return await api.person()


@pytest.fixture
def health(admin: asyncpg.Connection) -> Health:
    """Writes health as the poller does."""
    return Health(admin)


@pytest.fixture
async def jobs(settings: Settings, pool: asyncpg.Pool, vault: Vault) -> AsyncIterator[Jobs]:
    """The notifier's jobs, to be run by hand."""
    async with jobs_of(settings, pool, vault) as made:
        yield made


@pytest.fixture
async def receiver() -> AsyncIterator[WebhookReceiver]:
    """A receiver of webhooks that says yes, until told otherwise."""
    async with WebhookReceiver() as running:
        yield running
