"""What every test stands on: a real PostgreSQL, a fresh database a test, real roles, rows that are really committed."""

from __future__ import annotations

import base64
import gc
import os
import shutil
import tempfile
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
import structlog
from hypothesis import settings as hypothesis_settings

from control_plane.database.embedded import EmbeddedServer
from control_plane.database.migrate import migrate
from control_plane.database.roles import LOGIN_ROLES
from control_plane.database.sessions import Database
from control_plane.database.urls import url_for_role
from control_plane.security.keyproviders import LocalKeyProvider
from control_plane.security.vault import Vault
from control_plane.settings import Settings, load_settings
from tests.api import Api, running_api
from tests.factories import Factory, Urls
from tests.second_ways import TELEGRAM_BOT
from tests.world import Settled, two_tenants

pytest_plugins = ("tests.assets", "tests.engine")

_TEMPLATE = "tradewise_test_template"

# An application is some hundred thousand objects: looking through them again and again was half the cost of making one.
gc.set_threshold(100_000, 20, 50)

# Tests say what is done, never how fast: on a machine that has other work, an example may take any time.
hypothesis_settings.register_profile("patient", deadline=None)
hypothesis_settings.load_profile("patient")

# The default renderer draws each frame with its variables: seconds of work for one error that a test provokes.
structlog.configure(
    processors=[
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback),
    ]
)


def _on(url: str, database: str) -> str:
    head, _, query = url.partition("?")
    base = head.rsplit("/", 1)[0]
    return f"{base}/{database}" + (f"?{query}" if query else "")


# What a power cut would lose is no matter here, and waiting for the disk took a third of the time of most tests.
_CARELESS = ("alter system set fsync = off", "alter system set full_page_writes = off", "select pg_reload_conf()")

# Each test's database is a copy of 15 MB: on a disk that has other work, that is what most tests would wait for.
_MEMORY = Path("/dev/shm")
_ROOM = 2 * 1024**3


def _in_memory() -> Path | None:
    """Where files are kept in memory, if this machine has such a place with room for a server."""
    return _MEMORY if _MEMORY.is_dir() and shutil.disk_usage(_MEMORY).free > _ROOM else None


@pytest.fixture(scope="session")
async def admin_url() -> AsyncIterator[str]:
    """The administrator's connection string: ``TRADEWISE_TEST_DATABASE_URL``, or an embedded server of our own."""
    given = os.environ.get("TRADEWISE_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="tw-test-", dir=_in_memory(), ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = EmbeddedServer(Path(folder))
        url = _on(server.start(), "postgres")
        connection = await asyncpg.connect(url)
        for statement in _CARELESS:
            await connection.execute(statement)
        await connection.close()
        yield url
        server.stop()


@pytest.fixture(scope="session")
async def template_database(admin_url: str) -> str:
    """A migrated database that each test's own is cloned from."""
    name = f"{_TEMPLATE}_{os.getpid()}"
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute(f'create database "{name}"')
    finally:
        await connection.close()
    await migrate(_on(admin_url, name))
    return name


# Grants on a database are not cloned with it: this writes those of one as statements for another.
_GRANTS = """
select format('revoke all on database %1$I from public', $2::text) || coalesce(string_agg(format(
    '; grant %s on database %I to %s', privilege_type, $2::text,
    case grantee when 0 then 'public' else quote_ident(pg_get_userbyid(grantee)) end), ''), '')
from pg_database, aclexplode(datacl) where datname = $1
"""


@asynccontextmanager
async def fresh_database(admin_url: str, template_database: str) -> AsyncIterator[Urls]:
    """A fresh migrated database and a connection string for each role on it, gone after the block."""
    name = f"tw_{uuid.uuid4().hex[:12]}"
    connection = await asyncpg.connect(admin_url)
    try:
        await connection.execute(f'create database "{name}" template "{template_database}" strategy file_copy')
        await connection.execute(await connection.fetchval(_GRANTS, template_database, name))
        admin = _on(admin_url, name)
        yield Urls(admin=admin, roles={kind: url_for_role(admin, role) for kind, role in LOGIN_ROLES.items()})
        await connection.execute(f'drop database "{name}" with (force)')
    finally:
        await connection.close()


@pytest.fixture
def source_database(request: pytest.FixtureRequest, template_database: str) -> str:
    """What a test's database is a copy of: one with two full tenants in it, where it asks for those (`settled`)."""
    if "settled" not in request.fixturenames:
        return template_database
    settled: Settled = request.getfixturevalue("settled")
    return settled.database


@pytest.fixture
async def urls(admin_url: str, source_database: str) -> AsyncIterator[Urls]:
    """A test's own database."""
    async with fresh_database(admin_url, source_database) as made:
        yield made


@pytest.fixture
async def api_db(urls: Urls) -> AsyncIterator[Database]:
    """The control plane's own way to the database, as role ``tradewise_api``."""
    database = Database(urls["api"], pool_size=5)
    yield database
    await database.close()


@pytest.fixture
async def admin(urls: Urls) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection: sees every row, for arranging and asserting only."""
    connection = await asyncpg.connect(urls.admin)
    yield connection
    await connection.close()


@pytest.fixture(scope="session")
def vault() -> Vault:
    """A vault with a key of this run."""
    return Vault(LocalKeyProvider({"test": os.urandom(32)}, "test"))


#: What the web tier of this run seals with.
_DATA_KEY = base64.b64encode(os.urandom(32)).decode()


def _settings(urls: Urls, folder: Path) -> Settings:
    return load_settings(
        {"TRADEWISE_EGRESS_ALLOW": "127.0.0.0/8"},
        database_url=urls["api"],
        data_dir=folder,
        password_memory_kib=1024,
        password_time_cost=1,
        secure_cookies=False,
        docker_host=os.environ.get("DOCKER_HOST"),
        data_key=_DATA_KEY,
        telegram_bot_token=TELEGRAM_BOT,
    )


@pytest.fixture
def settings(urls: Urls, tmp_path: Path) -> Settings:
    """Settings of one test: its own database and data folder, quick passwords, loopback bots allowed."""
    return _settings(urls, tmp_path)


@pytest.fixture
async def factory(admin: asyncpg.Connection, vault: Vault) -> Factory:
    """Makes tenants and bots straight in the database."""
    return Factory(admin, vault)


@pytest.fixture
async def api(settings: Settings, urls: Urls, vault: Vault) -> AsyncIterator[Api]:
    """The real application, in this event loop, on this test's database."""
    async with running_api(settings, urls, vault) as running:
        yield running


@pytest.fixture(scope="module")
async def settled(
    admin_url: str, template_database: str, vault: Vault, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Settled]:
    """Two full tenants, made once through the API, in a database that each of a file's tests may clone for its own."""
    async with fresh_database(admin_url, template_database) as made:
        async with running_api(_settings(made, tmp_path_factory.mktemp("settled")), made, vault) as api:
            connection = await asyncpg.connect(made.admin)
            tenants = await two_tenants(api, connection)
            name = await connection.fetchval("select current_database()")
            await connection.close()
        yield Settled(name, tenants)
