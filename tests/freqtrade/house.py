"""What the tests of hosted freqtrade share: a strategy, configurations, and looking into a bot by its own API."""

from __future__ import annotations

import asyncio
import base64
import json
import urllib.error
import urllib.request
from typing import Any

from control_plane.bots.layers import merged
from tests.api import Person
from tests.integration.launcher.rig import Rig
from tests.servers.exchange_server import ExchangeServer

USERNAME, PASSWORD = "ada", "planted-password-0123456789"
#: Long enough to start a program of this size on a machine that does other things too.
START_S = 90.0
#: Buys at once whatever it may buy, and sells when its price has moved a little either way.
STRATEGY = """
from freqtrade.strategy import IStrategy


class Eager(IStrategy):
    INTERFACE_VERSION = 3
    timeframe = "1m"
    minimal_roi = {"0": 0.5}
    stoploss = -0.5
    startup_candle_count = 5
    process_only_new_candles = False
    planted_threshold = "planted-strategy-secret"

    def populate_indicators(self, dataframe, metadata):
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[:, "enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe.loc[:, "exit_long"] = 0
        return dataframe
"""


class House:
    """An installation at work, and the exchange that its bots trade on."""

    def __init__(self, rig: Rig, exchange: ExchangeServer) -> None:
        self.rig = rig
        self.exchange = exchange

    def config(self, **more: Any) -> dict[str, Any]:
        """A bot's configuration: freqtrade's own, with the strategy beside it."""
        said = {
            "exchange": {
                "name": "binance",
                "key": "planted-exchange-key",
                "secret": "planted-exchange-secret",
                "pair_whitelist": ["BTC/USDT", "ETH/USDT"],
                "enable_ws": False,
                "ccxt_config": self.exchange.ccxt_config,
            },
            "stake_currency": "USDT",
            "max_open_trades": 2,
            "dry_run_wallet": 5000,
            # At the market: an order with a limit would wait while prices move away from it.
            "order_types": {"entry": "market", "exit": "market", "stoploss": "market", "stoploss_on_exchange": False},
            "entry_pricing": {"price_side": "other", "use_order_book": True, "order_book_top": 1},
            "exit_pricing": {"price_side": "other", "use_order_book": True, "order_book_top": 1},
            "internals": {"process_throttle_secs": 1},
            "strategy": "Eager",
            "strategy_source": STRATEGY,
        }
        return merged(said, more)

    async def register(self, person: Person, **more: Any) -> dict[str, Any]:
        """A hosted bot with known credentials, by the API."""
        body = {
            "bot_type": "platform",
            "engine": "freqtrade",
            "name": "eager",
            "credentials": {"username": USERNAME, "password": PASSWORD},
            "config": self.config(),
            **more,
        }
        made: dict[str, Any] = await person.call("POST", "/bots", json=body, status=201)
        return made

    async def outcome(self, person: Person, bot_id: str, *, deadline_s: float = START_S) -> dict[str, Any]:
        """A bot as it is shown once its status is an outcome."""
        for _ in range(int(deadline_s / 30) + 1):
            view: dict[str, Any] = await person.call("GET", f"/bots/{bot_id}?wait=30", status=200)
            if view["status"] not in {"starting", "stopping"}:
                return view
        raise AssertionError(view)

    async def ask(self, view: dict[str, Any], route: str) -> Any:
        """What the bot itself answers on its published port; None where it does not answer with 2xx."""
        told = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode()).decode()
        url = f"http://127.0.0.1:{view['exposed_host_port']}/api/v1/{route}"
        request = urllib.request.Request(url, headers={"Authorization": f"Basic {told}"})

        def fetch() -> Any:
            try:
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return json.load(answer)
            except (ConnectionError, urllib.error.URLError):
                return None

        return await asyncio.to_thread(fetch)
