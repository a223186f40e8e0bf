"""A server of our own bot API (`docs/bot-api.md`), with figures that the test sets: the document, executable.

The hosted paper bot is a program of its own; this one stands in for bots that others run.
"""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from tests.servers.loopback import LoopbackServer, Reply, Request, json_reply

_STATES = {"start": "running", "pause": "paused", "stop": "stopped"}


class BotServer(LoopbackServer):
    """One bot. Amounts are decimals here and strings on the wire; `open_profit` and shares may be None."""

    def __init__(self, *, token: str = "bot-token-0123456789", bot_id: str = "bot-1", prefix: str = "") -> None:
        super().__init__()
        self.token = token
        self.bot_id = bot_id
        self.prefix = prefix
        self.trading_state = "running"
        self.simulated = True
        self.currency = "USDT"
        self.version = "1.4.0"
        self.started_at = datetime.now(UTC) - timedelta(hours=1)
        self.last_tick_at: datetime | None = None
        """None: it ticked just now."""
        self.ticked = True
        """False before the first tick."""
        self.capital_base = Decimal(10000)
        self.realized_profit = Decimal("125.5")
        self.open_profit: Decimal | None = Decimal("-20.25")
        self.fees_paid = Decimal("3.5")
        self.position_value = Decimal(2500)
        self.win_rate: Decimal | None = Decimal("0.625")
        self.max_drawdown: Decimal | None = Decimal("0.031")
        self.closed_trades, self.open_positions = 8, 1
        self.trades: list[dict[str, Any]] = []
        self.ledger: list[dict[str, Any]] = []
        self.draining: str | None = None
        self.open_orders = 2
        self.drains = True
        """False for a bot whose orders stay open however long one waits."""
        self.api_version = "1.1"
        """1.0 for a bot that has no way to wind down."""
        self.overrides: dict[str, Reply] = {}
        """Answers by route, such as `performance`, in place of the regular ones."""

    @property
    def equity(self) -> Decimal | None:
        """Capital and profits together; unknown while the open profit is."""
        return None if self.open_profit is None else self.capital_base + self.realized_profit + self.open_profit

    async def handle(self, request: Request) -> Reply:
        root, _, route = request.path.partition("/api/v1/")
        if root != self.prefix:
            return _problem(404, "not_found", "There is nothing here.")
        if route in self.overrides:
            return self.overrides[route]
        if route == "ping":
            return json_reply({"status": "pong"})
        if request.headers.get("authorization") != f"Bearer {self.token}":
            return _problem(401, "unauthorized", "Give the bot's token.", WWW_Authenticate="Bearer")
        return self._authorised(request, route)

    def _authorised(self, request: Request, route: str) -> Reply:
        if request.method == "POST" and route in _STATES:
            self.trading_state = _STATES[route]
            return json_reply(self._state())
        if route == "drain" and self.api_version != "1.0":
            return self._drain(request)
        if request.method == "GET" and route == "state":
            return json_reply(self._state())
        if request.method == "GET" and route == "performance":
            return json_reply(self._performance())
        if request.method == "GET" and route in {"trades", "ledger"}:
            return self._page(self.trades if route == "trades" else self.ledger, request)
        return _problem(404, "not_found", "There is nothing here.")

    def _drain(self, request: Request) -> Reply:
        if request.method == "POST":
            self.draining = request.json()["positions"]
            if self.drains:
                self.open_orders = 0
                self.open_positions = 0 if self.draining == "close" else self.open_positions
        done = self.draining is not None and self.open_orders == 0
        state = "none" if self.draining is None else "drained" if done else "draining"
        told = {"open_orders": self.open_orders, "open_positions": self.open_positions}
        answer = {"state": state, "positions": self.draining, **told}
        return json_reply(answer, 202 if request.method == "POST" else 200)

    def _state(self) -> dict[str, Any]:
        last_tick = (self.last_tick_at or datetime.now(UTC)) if self.ticked else None
        return {
            "bot_id": self.bot_id,
            "version": self.version,
            "api_version": self.api_version,
            "trading_state": self.trading_state,
            "simulated": self.simulated,
            "currency": self.currency,
            "strategy": "dca",
            "symbol": "BTC/USDT",
            "started_at": self.started_at.isoformat(),
            "last_tick_at": None if last_tick is None else last_tick.isoformat(),
            "tick_interval_seconds": 1.0,
        }

    def _performance(self) -> dict[str, Any]:
        equity = self.equity
        return {
            "as_of": datetime.now(UTC).isoformat(),
            "currency": self.currency,
            "simulated": self.simulated,
            "equity": _text(equity),
            "cash": None if equity is None else _text(equity - self.position_value),
            "position_value": _text(self.position_value),
            "capital_base": _text(self.capital_base),
            "realized_profit": _text(self.realized_profit),
            "open_profit": _text(self.open_profit),
            "fees_paid": _text(self.fees_paid),
            "win_rate": _text(self.win_rate),
            "closed_trades": self.closed_trades,
            "open_positions": self.open_positions,
            "max_drawdown": _text(self.max_drawdown),
        }

    def _page(self, items: list[dict[str, Any]], request: Request) -> Reply:
        start, limit = int(request.query.get("cursor", "0")), int(request.query.get("limit", "50"))
        following = start + limit
        cursor = str(following) if following < len(items) else None
        return json_reply({"items": items[start:following], "next_cursor": cursor})


def _text(value: Decimal | None) -> str | None:
    return None if value is None else str(value)


def _problem(status: int, code: str, detail: str, **headers: str) -> Reply:
    body = {"type": "about:blank", "title": code, "status": status, "detail": detail, "code": code}
    return json_reply(body, status, content_type="application/problem+json", **headers)
