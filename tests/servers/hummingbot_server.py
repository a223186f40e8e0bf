"""A server that answers as hummingbot-api 1.0 does, oddities included: one API, many bots, known by their messages."""

from __future__ import annotations

import asyncio
from base64 import b64encode
from typing import Any
from urllib.parse import unquote

from tests.servers.loopback import LoopbackServer, Reply, Request, json_reply

_WRONG = {"detail": "Incorrect username or password"}
_NOT_FOUND = {"detail": "Not Found"}
_RUNNING: dict[str, Any] = {"error_logs": [], "general_logs": [], "recently_active": True, "source": "docker"}


def position(pair: str, size: Any = "0.5", connector: str = "binance") -> dict[str, Any]:
    """An entry of `positions_summary`."""
    return {
        "connector_name": connector,
        "trading_pair": pair,
        "side": "BUY",
        "amount": size,
        "breakeven_price": 100.0,
        "unrealized_pnl_quote": "1.5",
        "realized_pnl_quote": "2",
        "cum_fees_quote": 0.1,
        "volume_traded_quote": 1000,
    }


def performance(
    realized: Any = "12.5", unrealized: Any = -2.25, *positions: dict[str, Any], **closes: int
) -> dict[str, Any]:
    """What one controller reports."""
    return {
        "status": "running",
        "performance": {
            "realized_pnl_quote": realized,
            "unrealized_pnl_quote": unrealized,
            "global_pnl_quote": 10.25,
            "realized_pnl_pct": 0.4,
            "unrealized_pnl_pct": -0.1,
            "global_pnl_pct": 0.3,
            "volume_traded": 4321.5,
            "positions_summary": list(positions),
            "close_type_counts": {f"CloseType.{name}": number for name, number in closes.items()},
        },
        "custom_info": {},
    }


class HummingbotServer(LoopbackServer):
    """One API."""

    def __init__(self, *, username: str = "admin", password: str = "correct-horse") -> None:
        super().__init__()
        self.username = username
        self.password = password
        self.bots: dict[str, dict[str, Any]] = {}
        """What the API holds of each bot that runs, by name: controllers by id."""
        self.silent: set[str] = set()
        """Bots that have sent nothing for 30 seconds."""
        self.runs: dict[str, str] = {}
        """The `run_status` of each bot's newest run."""
        self.ill: Reply | None = None
        """What it answers about runs, where it cannot tell of them."""
        self.runs_answer = asyncio.Event()
        self.runs_answer.set()
        """Cleared: nothing about runs comes."""
        self.answers = asyncio.Event()
        self.answers.set()
        """Cleared: the list of all bots does not come."""
        self.refuses = False
        """Commands reach nobody, and are 200 all the same."""

    async def handle(self, request: Request) -> Reply:
        if request.path in {"", "/"}:
            return json_reply({"name": "Hummingbot API", "version": "1.0.1", "status": "running"})
        expected = b64encode(f"{self.username}:{self.password}".encode()).decode()
        if request.headers.get("authorization") != f"Basic {expected}":
            return json_reply(_WRONG, 401, WWW_Authenticate="Basic")
        root, _, route = request.path.partition("/bot-orchestration/")
        if root or not route:
            return json_reply(_NOT_FOUND, 404)
        if request.method == "POST":
            return self._command(route, request.json()["bot_name"])
        if route == "status":
            await self.answers.wait()
            return json_reply({"status": "success", "data": {name: self._status(name) for name in self.bots}})
        if route == "bot-runs":
            await self.runs_answer.wait()
            if self.ill is not None:
                return self.ill
            name = unquote(request.query["bot_name"])
            runs = [{"id": 1, "bot_name": name, "run_status": self.runs[name]}] if name in self.runs else []
            return json_reply({"status": "success", "data": runs, "total": len(runs), "limit": 1, "offset": 0})
        if route.endswith("/status"):
            return json_reply({"status": "success", "data": self._status(route.removesuffix("/status"))})
        return json_reply(_NOT_FOUND, 404)

    def _status(self, name: str) -> dict[str, Any]:
        if name not in self.bots:
            return {"status": "not_found", "error": f"Bot {name} not found"}
        controllers, active = self.bots[name], name not in self.silent
        # Without figures it calls a bot stopped, whatever it does.
        status = "stopped" if not controllers else "running" if active else "idle"
        return {**_RUNNING, "status": status, "performance": controllers, "recently_active": active}

    def _command(self, route: str, name: str) -> Reply:
        if self.refuses or name not in self.bots:
            answer = {"success": False, "message": f"Bot {name} not found"}
            return json_reply({"status": "success", "response": answer})
        if route == "stop-bot":
            # What is known of its figures goes at once.
            self.bots[name], self.runs[name] = {}, "STOPPED"
        elif route == "start-bot":
            self.bots[name] = {"main": performance()}
        else:
            return json_reply(_NOT_FOUND, 404)
        return json_reply({"status": "success", "response": {"success": True}})
