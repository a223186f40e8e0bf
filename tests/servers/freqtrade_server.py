"""A server that answers as freqtrade does, oddities included, as observed on real processes (API 2.50, and 2.40).

Its figures default to those of a real simulated run. Change the attributes to make it behave; `requests` holds what it
was asked.
"""

import asyncio
import time
from base64 import b64encode
from datetime import UTC, datetime
from typing import Any

from tests.servers.loopback import LoopbackServer, Reply, Request, json_reply

_UNAUTHORIZED = {"detail": "Unauthorized"}
_BAD_TOKEN = {"detail": "Could not validate credentials"}
_NOT_FOUND = {"detail": "Not Found"}
_NOT_ALLOWED = {"detail": "Method Not Allowed"}
_WRONG_STATE = {"detail": "Bot is not in the correct state."}
_TRADER_ROUTES = frozenset({"profit", "balance", "status", "count", "start", "stop", "pause", "stopentry", "stopbuy",
                            "forceexit"})  # fmt: skip


class FreqtradeServer(LoopbackServer):
    """One freqtrade process in simulation."""

    def __init__(
        self,
        *,
        username: str = "freqtrader",
        password: str = "correct-horse",
        bot_name: str = "freqtrade",
        api_version: float = 2.5,
        prefix: str = "",
    ) -> None:
        super().__init__()
        self.username = username
        self.password = password
        self.bot_name = bot_name
        self.api_version = api_version
        """A JSON float, as freqtrade sends it: 2.50 arrives as 2.5."""
        self.prefix = prefix
        self.trading_state = "running"
        """running, paused, stopped, reload_config; empty in web server mode."""
        self.dry_run = True
        self.max_open_trades = -1.0
        """-1 for any number; an older one sets it to 0 when told to make no more entries."""
        self.version = "2026.9"
        self.stake_currency = "USDT"
        self.first_start = int(time.time()) - 86_400
        self.process_start: int | None = int(time.time()) - 960
        self.last_loop: int | None = None
        """Epoch seconds of the last loop; None: it turned just now."""
        self.before_first_loop = False
        self.prices_known = True
        """False after price caches ended: profits of open trades are null and the balance counts them as nothing."""
        self.profit_closed: float = -175.44
        self.profit_open: float = -2.74
        self.winning_trades, self.losing_trades = 17, 20
        self.max_drawdown = 0.01786
        self.open_trades = 5
        self.ordered: set[int] = set()
        """Trades with an open order."""
        self.exits_fill = True
        """False while an exit that was asked for finds no buyer: the trade stays, with its order."""
        self.starting_capital: float = 9900.0
        self.total_bot: float = 9728.73
        self.cash: float = 4778.73
        self.waiting: float = 0.0
        """Stake currency in open orders to buy, which the balance does not count as the bot's."""
        self.raw: dict[str, bytes] = {}
        """Bodies by route, such as `profit`, in place of the regular ones."""
        self.hanging: set[str] = set()
        """Routes that are never answered."""
        self.refused: set[str] = set()
        """Routes that it cannot answer in its present state."""
        self.exchange_answers = asyncio.Event()
        """Cleared while the exchange hangs: then `/balance` hangs with it."""
        self.exchange_answers.set()
        self.prices_forgotten = False
        """True: `/profit` and `/status` ask the exchange as well."""
        self.reload_delay, self.reload_gap = 2.0, 0.5
        """Seconds from a reload's answer until the port closes, and until it opens again."""
        self._reloading: asyncio.Task[None] | None = None

    async def close_port(self) -> None:
        if self._reloading is not None and self._reloading is not asyncio.current_task():
            self._reloading.cancel()
        await super().close_port()

    async def handle(self, request: Request) -> Reply:
        if request.path in {"", "/"}:
            return Reply(200, b"<!DOCTYPE html><title>FreqUI</title>", "text/html")
        root, _, route = request.path.partition("/api/v1/")
        if root != self.prefix or not route or route.endswith("/"):
            return json_reply(_NOT_FOUND, 404)
        if route == "ping" and request.method in {"GET", "HEAD"}:
            return json_reply({"status": "pong"})
        return self._refusal(request) or await self._authorised(request.method, route)

    def _refusal(self, request: Request) -> Reply | None:
        given = request.headers.get("authorization", "")
        if given.lower().startswith("bearer "):
            return json_reply(_BAD_TOKEN, 401, WWW_Authenticate="Bearer")
        expected = b64encode(f"{self.username}:{self.password}".encode()).decode()
        # A wrong Basic credential gets no WWW-Authenticate header.
        return None if given == f"Basic {expected}" else json_reply(_UNAUTHORIZED, 401)

    async def _authorised(self, method: str, route: str) -> Reply:
        if self.trading_state == "" and route in _TRADER_ROUTES:
            return json_reply(_WRONG_STATE, 503)
        if method == "POST":
            return self._command(route)
        if method == "DELETE" and route.startswith("trades/") and route.endswith("/open-order"):
            return self._cancel(route, int(route.split("/")[1]))
        if route in self.refused or (route == "count" and self.trading_state == "stopped"):
            return json_reply({"error": f"Error querying /api/v1/{route}: trader is not running"}, 502)
        if route in self.hanging:
            await asyncio.Event().wait()
        if route == "balance" or (self.prices_forgotten and route in {"profit", "status"}):
            await self.exchange_answers.wait()
        if route in self.raw:
            return Reply(200, self.raw[route])
        answers = {
            "version": self._version,
            "show_config": self._show_config,
            "health": self._health,
            "profit": self._profit,
            "balance": self._balance,
            "status": self._status,
            "count": self._count,
        }
        return json_reply(answers[route]()) if route in answers else json_reply(_NOT_FOUND, 404)

    def _command(self, route: str) -> Reply:
        if route == "start":
            already, self.trading_state = self.trading_state == "running", "running"
            return json_reply({"status": "already running" if already else "starting trader ..."})
        if route == "stop":
            already, self.trading_state = self.trading_state == "stopped", "stopped"
            return json_reply({"status": "already stopped" if already else "stopping trader ..."})
        if route in {"pause", "stopentry", "stopbuy"}:
            return self._pause(route)
        if route == "forceexit":
            return self._force_exit()
        if route == "reload_config":
            self._reloading = asyncio.get_running_loop().create_task(self._reload())
            return json_reply({"status": "Reloading config ..."})
        return _unknown()

    def _pause(self, route: str) -> Reply:
        if self.api_version < 2.45:
            # The older way: no more entries, though the state goes on reading "running".
            if route == "pause":
                return _unknown()
            if self.trading_state == "running":
                self.max_open_trades = 0.0
            return json_reply({"status": "No more entries will occur from now. Run /reload_config to reset."})
        # As the real one does: a bot whose trading was stopped manages its trades again.
        self.trading_state = "paused"
        return json_reply({"status": "paused, no more entries will occur from now. Run /start to enable entries."})

    def _force_exit(self) -> Reply:
        if self.trading_state == "stopped":
            return json_reply({"error": "Error querying /api/v1/forceexit: trader is not running"}, 502)
        if self.exits_fill:
            self.open_trades, self.ordered = 0, set()
        else:
            self.ordered = set(range(1, self.open_trades + 1))
        return json_reply({"result": "Created exit orders for all open trades."})

    def _cancel(self, route: str, trade_id: int) -> Reply:
        problem = "trader is not running" if self.trading_state == "stopped" else "No open order for trade_id."
        if self.trading_state == "stopped" or trade_id not in self.ordered:
            return json_reply({"error": f"Error querying /api/v1/{route}: {problem}"}, 502)
        self.ordered.discard(trade_id)
        return json_reply({"trade_id": trade_id, "has_open_orders": False})

    async def _reload(self) -> None:
        await asyncio.sleep(self.reload_delay)
        await self.close_port()
        await asyncio.sleep(self.reload_gap)
        self.process_start = int(time.time())
        self.max_open_trades = -1.0
        await self.open_port()

    def _version(self) -> dict[str, Any]:
        return {"version": self.version}

    def _show_config(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "strategy_version": None,
            "api_version": self.api_version,
            "dry_run": self.dry_run,
            "runmode": "webserver" if self.trading_state == "" else "dry_run" if self.dry_run else "live",
            "trading_mode": "spot",
            "margin_mode": "",
            "short_allowed": False,
            "stake_currency": self.stake_currency,
            "stake_amount": "unlimited",
            "available_capital": None,
            "max_open_trades": self.max_open_trades,
            "minimal_roi": {"0": 0.01},
            "stoploss": -0.05,
            "timeframe": "1m",
            "timeframe_ms": 60_000,
            "exchange": "binance",
            "strategy": "SampleStrategy",
            "bot_name": self.bot_name,
            "state": self.trading_state,
            "force_entry_enable": False,
        }

    def _health(self) -> dict[str, Any]:
        if self.before_first_loop:
            return dict.fromkeys(
                ("last_process", "last_process_ts", "bot_start", "bot_start_ts", "bot_startup", "bot_startup_ts")
            )
        loop = int(time.time()) if self.last_loop is None else self.last_loop
        answer: dict[str, Any] = {}
        for name, stamp in (
            ("last_process", loop),
            ("bot_start", self.first_start),
            ("bot_startup", self.process_start),
        ):
            answer[name] = None if stamp is None else datetime.fromtimestamp(stamp, UTC).isoformat()
            answer[f"{name}_ts"] = stamp
        return answer

    def _profit(self) -> dict[str, Any]:
        closed = self.winning_trades + self.losing_trades
        together = self.profit_closed + self.profit_open if self.prices_known else None
        answer: dict[str, Any] = {
            "profit_closed_coin": self.profit_closed,
            "profit_closed_percent": round(100 * self.profit_closed / self.starting_capital, 2),
            "profit_closed_ratio": self.profit_closed / self.starting_capital,
            "profit_all_coin": together,
            "profit_all_percent": None if together is None else round(100 * together / self.starting_capital, 2),
            "trade_count": closed + self.open_trades,
            "closed_trade_count": closed,
            "winning_trades": self.winning_trades,
            "losing_trades": self.losing_trades,
            "winrate": self.winning_trades / closed if closed else 0.0,
            "profit_factor": 0.72 if self.losing_trades else None,
            "expectancy": -4.74,
            "expectancy_ratio": -0.15 if closed else 100,
            "trading_volume": 81_234.5,
            "max_drawdown": self.max_drawdown,
            "max_drawdown_abs": 176.8,
            "avg_duration": "0:01:12",
            "bot_start_timestamp": self.first_start * 1000,
            "bot_start_date": datetime.fromtimestamp(self.first_start, UTC).strftime("%Y-%m-%d %H:%M:%S"),
        }
        if self.api_version >= 2.45:
            answer |= {"sharpe": -31.2, "sortino": -100.0, "calmar": -12.5, "cagr": -0.998, "current_drawdown": 0.0177}
        return answer

    def _balance(self) -> dict[str, Any]:
        # Without a cached price every open position counts as nothing: the total falls to the cash.
        total = self.total_bot if self.prices_known else self.cash
        return {
            "currencies": [
                {"currency": self.stake_currency, "free": self.cash, "used": self.waiting, "is_position": False}
            ],
            "total": total + 100.0,
            "total_bot": total,
            "starting_capital": self.starting_capital,
            "starting_capital_ratio": total / self.starting_capital - 1,
            "starting_capital_pct": round(100 * (total / self.starting_capital - 1), 2),
            "symbol": "",
            "value": 0.0,
            "value_bot": 0.0,
            "stake": self.stake_currency,
            "note": "Simulated balances" if self.dry_run else "",
        }

    def _status(self) -> list[dict[str, Any]]:
        rate = 101.5 if self.prices_known else None
        return [
            {
                "trade_id": number,
                "pair": "BTC/USDT",
                "amount": 0.02,
                "open_rate": 101.0,
                "current_rate": rate,
                "has_open_orders": number in self.ordered,
                "orders": [_order("buy", open_for=0.0)],
            }
            for number in range(1, self.open_trades + 1)
        ] + [_waiting(self._waiting_orders())] * bool(self.waiting)

    def _waiting_orders(self) -> list[dict[str, Any]]:
        return [_order("buy", open_for=self.waiting), _order("sell", open_for=50.0)]

    def _count(self) -> dict[str, Any]:
        return {"current": self.open_trades, "max": -1.0, "total_stake": 990.0 * self.open_trades}


def _unknown() -> Reply:
    """To a POST: every path is one of the web interface's, which are to be fetched."""
    return json_reply(_NOT_ALLOWED, 405, Allow="GET")


def _order(side: str, *, open_for: float) -> dict[str, Any]:
    """An order at the price of 100; filled where it is open for nothing."""
    return {
        "ft_order_side": side,
        "is_open": bool(open_for),
        "status": "open" if open_for else "closed",
        "remaining": open_for / 100,
        "safe_price": 100.0,
    }


def _waiting(orders: list[dict[str, Any]]) -> dict[str, Any]:
    return {"trade_id": 0, "pair": "ETH/USDT", "amount": 0.0, "has_open_orders": True, "orders": orders}
