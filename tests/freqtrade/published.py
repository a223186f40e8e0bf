"""freqtrade as its makers publish it, in an environment of its own: a process such as people run themselves."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from agents import freqtrade_bot
from control_plane.bots.layers import merged
from tests.e2e.machine import free_port
from tests.servers.exchange_server import ExchangeServer
from tests.waiting import until

USERNAME: Final = "freqtrader"
#: Long enough to start a program of this size on a machine that does other things too.
START_S: Final = 90.0
_STOP_S: Final = 30.0
_INSTALL_S: Final = 1800
#: What its API takes, until a test has it changed.
PASSWORD: Final = "correct-horse-battery"
#: The strategy finds this beside its trades and lets go of the prices it remembers, as time alone would after minutes.
FORGET: Final = "forget-prices"
#: Buys at once whatever it may buy and keeps it. Names as they are in the release that the lock file names.
STRATEGY: Final = """
import threading
import time
from pathlib import Path

from freqtrade.strategy import IStrategy


class Holder(IStrategy):
    INTERFACE_VERSION = 3
    timeframe = "1m"
    minimal_roi = {"0": 10}
    stoploss = -0.9
    startup_candle_count = 5
    process_only_new_candles = False

    def bot_start(self, **kwargs):
        threading.Thread(target=self.forget, daemon=True).start()

    def forget(self):
        wish, exchange = Path(self.config["user_data_dir"]) / "forget-prices", self.dp._exchange
        while True:
            if wish.exists():
                for cache in (exchange._entry_rate_cache, exchange._exit_rate_cache, exchange._fetch_tickers_cache):
                    cache.clear()
            time.sleep(0.02)

    def populate_indicators(self, dataframe, metadata):
        return dataframe

    def populate_entry_trend(self, dataframe, metadata):
        dataframe.loc[:, "enter_long"] = 1
        return dataframe

    def populate_exit_trend(self, dataframe, metadata):
        dataframe.loc[:, "exit_long"] = 0
        return dataframe
"""


def ensure_freqtrade(say: Callable[[str], None]) -> Path:
    """The program of the published package, in an environment of its own that stays for the next run."""
    locked = Path(freqtrade_bot.__file__).parent / "requirements.txt"
    digest = hashlib.sha256(locked.read_bytes()).hexdigest()[:12]
    kept = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tradewise"
    kept.mkdir(parents=True, exist_ok=True)
    home = kept / f"freqtrade-{digest}"
    with (kept / "freqtrade.lock").open("w") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not (home / "whole").exists():
            say("Installing freqtrade as it is published (about 160 MB)")
            shutil.rmtree(home, ignore_errors=True)
            subprocess.run((sys.executable, "-m", "venv", home), check=True)
            subprocess.run(
                (home / "bin" / "python", "-m", "pip", "--disable-pip-version-check", "--no-input", "--quiet",
                 "install", "--no-deps", "--require-hashes", "--only-binary=:all:", "--no-binary=sdnotify",
                 f"--requirement={locked}"),
                check=True, stdin=subprocess.DEVNULL, timeout=_INSTALL_S,
            )  # fmt: skip
            (home / "whole").touch()
    return home / "bin" / "freqtrade"


class Freqtrade:
    """One freqtrade in simulation, on a port of its own that it keeps, with a password that may change."""

    def __init__(self, program: Path, folder: Path, exchange: ExchangeServer) -> None:
        self.folder = folder
        self.exchange = exchange
        self.port = free_port()
        self.password = PASSWORD
        self._program = program
        self._process: asyncio.subprocess.Process | None = None
        (folder / "user_data" / "strategies").mkdir(parents=True)
        (folder / "user_data" / "strategies" / "holder.py").write_text(STRATEGY, "utf-8")

    @property
    def url(self) -> str:
        """Where a person says that it is."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def credentials(self) -> dict[str, str]:
        """What its API takes now."""
        return {"username": USERNAME, "password": self.password}

    @property
    def running(self) -> bool:
        """Whether there is a process, frozen or not."""
        return self._process is not None and self._process.returncode is None

    def configure(self, **more: Any) -> None:
        """Write its configuration, which it reads when it starts and when it is told to reload."""
        said = {
            "bot_name": "holder",
            "dry_run": True,
            "initial_state": "running",
            "user_data_dir": str(self.folder / "user_data"),
            "db_url": f"sqlite:///{self.folder / 'trades.sqlite'}",
            "strategy": "Holder",
            "exchange": {
                "name": "binance",
                "key": "",
                "secret": "",
                "pair_whitelist": ["BTC/USDT", "ETH/USDT"],
                "enable_ws": False,
                "ccxt_config": self.exchange.ccxt_config,
            },
            "pairlists": [{"method": "StaticPairList"}],
            "stake_currency": "USDT",
            "stake_amount": 1000,
            "max_open_trades": 2,
            "dry_run_wallet": 5000,
            "order_types": {"entry": "market", "exit": "market", "stoploss": "market", "stoploss_on_exchange": False},
            "entry_pricing": {"price_side": "other", "use_order_book": True, "order_book_top": 1},
            "exit_pricing": {"price_side": "other", "use_order_book": True, "order_book_top": 1},
            "internals": {"process_throttle_secs": 1},
            "api_server": {
                "enabled": True,
                "listen_ip_address": "127.0.0.1",
                "listen_port": self.port,
                "verbosity": "error",
                "username": USERNAME,
                "password": self.password,
                "jwt_secret_key": "a-secret-key-of-some-length-for-this-test-alone",
                "ws_token": "not-used-here",
            },
        }
        file = self.folder / "config.json"
        file.write_text(json.dumps(merged(said, more)), "utf-8")

    async def start(self) -> None:
        """Start it and wait until it trades."""
        self.configure()
        with (self.folder / "said.txt").open("ab") as said:
            self._process = await asyncio.create_subprocess_exec(
                str(self._program), "trade", "--config", str(self.folder / "config.json"), cwd=self.folder,
                stdin=asyncio.subprocess.DEVNULL, stdout=said, stderr=said,
                env={name: text for name, text in os.environ.items() if name not in {"PYTHONPATH", "PYTHONHOME"}},
            )  # fmt: skip
        await self.until_it_trades()

    async def until_it_trades(self) -> None:
        """Wait until both its trades are bought and its loop turns."""

        async def trades() -> bool:
            assert self.running, (self.folder / "said.txt").read_text("utf-8")[-3000:]
            config, found = await self.ask("show_config"), await self.ask("status")
            return bool(
                config
                and config["state"] == "running"
                and len(found or []) == 2
                and all(trade["amount"] and not trade["has_open_orders"] for trade in found)
            )

        await until(trades, deadline_s=START_S, every_s=0.3, what="a freqtrade that trades")

    async def stop(self) -> None:
        """End it as its owner would."""
        if self._process is not None and self.running:
            self.thaw()
            self._process.send_signal(signal.SIGINT)
            try:
                await asyncio.wait_for(self._process.wait(), _STOP_S)
            except TimeoutError:
                await self.kill()

    async def start_again(self, *, another_database: bool = False) -> None:
        """End it and start it, with its trades or with none."""
        if self.running:
            await self.stop()
        if another_database:
            (self.folder / "trades.sqlite").unlink()
        await self.start()

    async def kill(self) -> None:
        """End it as a crash would."""
        assert self._process is not None
        self._process.kill()
        await self._process.wait()

    def freeze(self) -> None:
        """It hangs: the machine still takes connections for it, and nobody answers."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """It goes on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def forget_prices(self, yes: bool) -> None:
        """Whether it lets go of the prices it remembers as soon as it has them."""
        file = self.folder / "user_data" / FORGET
        file.touch() if yes else file.unlink(missing_ok=True)

    async def ask(self, route: str, *, method: str = "GET", within_s: float = 10.0) -> Any:
        """What its own API answers; None where it does not answer with 2xx, or in time."""
        told = b64encode(f"{USERNAME}:{self.password}".encode()).decode()
        request = urllib.request.Request(
            f"{self.url}/api/v1/{route}", headers={"Authorization": f"Basic {told}"}, method=method
        )

        def fetch() -> Any:
            try:
                with urllib.request.urlopen(request, timeout=within_s) as answer:
                    return json.load(answer)
            except OSError:
                return None

        return await asyncio.to_thread(fetch)

    async def state(self) -> str:
        """What it says of its trading."""
        said = await self.ask("show_config")
        assert said is not None, "it does not tell its state"
        return str(said["state"])

    async def tell(self, route: str) -> None:
        """Have it do something, such as ``stop``, ``start``, ``pause`` and ``reload_config``."""
        assert await self.ask(route, method="POST") is not None, route

    def listens(self) -> bool:
        """Whether its port is open at this moment."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5):
            return True
        return False
