"""An installation on which a freqtrade that somebody runs is registered: the application, the poller as a process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg

from agents.launcher.engine import say_on_stderr
from control_plane.security.keyproviders import FileKeyProvider, create_kek_file
from control_plane.security.vault import Vault
from control_plane.settings import load_settings
from tests.api import Api, Person, running_api
from tests.conftest import fresh_database
from tests.freqtrade.published import Freqtrade, ensure_freqtrade
from tests.freqtrade.story import INTERVAL_S
from tests.poller_process import poller_process
from tests.servers.exchange_server import ExchangeServer


class Place:
    """One installation, one exchange and one freqtrade."""

    def __init__(self, api: Api, admin: asyncpg.Connection, exchange: ExchangeServer, freqtrade: Freqtrade) -> None:
        self.api = api
        self.admin = admin
        self.exchange = exchange
        self.freqtrade = freqtrade

    async def register(self, person: Person, url: str) -> str:
        """Have somebody register the freqtrade by an address of its; the bot's id."""
        body = {
            "bot_type": "external",
            "engine": "freqtrade",
            "name": "holder",
            "api_url": url,
            "credentials": self.freqtrade.credentials,
        }
        made = await person.call("POST", "/bots", json=body, status=201)
        return str(made["id"])

    async def set_right(self) -> None:
        """Undo what a test does to the freqtrade and its exchange, but for ending it."""
        if self.freqtrade.running:
            self.freqtrade.thaw()
        self.freqtrade.forget_prices(False)
        self.exchange.maintenance = False
        self.exchange.answering.set()
        if not self.exchange.listening:
            await self.exchange.open_port()


@asynccontextmanager
async def installed(admin_url: str, template_database: str, folder: Path) -> AsyncIterator[Place]:
    """Everything, for as long as the block lasts."""
    program = ensure_freqtrade(say_on_stderr)
    kek_file = folder / "kek.json"
    create_kek_file(kek_file)
    async with AsyncExitStack() as work:
        exchange = await work.enter_async_context(ExchangeServer())
        freqtrade = Freqtrade(program, folder, exchange)
        work.push_async_callback(freqtrade.stop)
        await freqtrade.start()
        urls = await work.enter_async_context(fresh_database(admin_url, template_database))
        settings = load_settings(
            {"TRADEWISE_EGRESS_ALLOW": "127.0.0.0/8"},
            database_url=urls["api"],
            data_dir=folder,
            password_memory_kib=19456,
            password_time_cost=1,
            secure_cookies=False,
        )
        api = await work.enter_async_context(running_api(settings, urls, Vault(FileKeyProvider(kek_file))))
        environ = {
            "TRADEWISE_POLL_INTERVAL": str(INTERVAL_S),
            "TRADEWISE_READING_INTERVAL": str(INTERVAL_S),
            "TRADEWISE_EGRESS_ALLOW": "127.0.0.0/8,::1/128",
        }
        await work.enter_async_context(poller_process(urls["agent_poller"], kek_file, environ))
        admin = await asyncpg.connect(urls.admin)
        work.push_async_callback(admin.close)
        yield Place(api, admin, exchange, freqtrade)
