"""Servers that answer as OctoBot does: its classic website with an API in it, and the node of 2026."""

from __future__ import annotations

import asyncio
import json
import secrets
from base64 import b64encode
from typing import Any
from urllib.parse import parse_qs

from tests.servers.loopback import LoopbackServer, Reply, Request, json_reply

_FORM = """<!DOCTYPE html><title>OctoBot - Login</title>
<form method=post><input id="csrf_token" name="csrf_token" type="hidden" value="{token}">
<input id="password" name="password" type="password"></form>{error}"""


class OctobotServer(LoopbackServer):
    """A classic OctoBot. `password` None: it asks for none."""

    def __init__(self, *, password: str | None = None, attempts: int = 50) -> None:
        super().__init__()
        self.password = password
        self.attempts_left = attempts
        self.wrong = 0
        self.sessions: set[str] = set()
        self.forms: dict[str, str] = {}
        """The hidden field of each session that was given a form."""
        self.stopped = False
        self.pnl: list[dict[str, Any]] = []
        self.history: list[dict[str, Any]] = []
        self.positions: list[dict[str, Any]] | dict[str, list[dict[str, Any]]] = []
        """A list that says of each what it is; of older ones an object, `real_positions` and `simulated_positions`."""
        self.trades: list[dict[str, Any]] = []
        self.since = "2026-11-20 08:15:30"
        self.raw: dict[str, Reply] = {}
        """Answers by path in place of the regular ones."""
        self.hanging: set[str] = set()
        """Paths that are never answered."""

    async def handle(self, request: Request) -> Reply:
        path = request.path
        if path in self.hanging:
            await asyncio.Event().wait()
        if path == "/commands/stop":
            # By a GET as well: what a careless client does by fetching ahead.
            self.stopped = True
            return json_reply("Success")
        if path in self.raw:
            return self.raw[path]
        if path == "/api/ping":
            return json_reply(f"Running since {self.since}.")
        if path == "/api/version":
            return json_reply("OctoBot 2.0.13")
        if path == "/login":
            return self._login(request)
        if self.password is not None and _cookie(request) not in self.sessions:
            return Reply(302, b"<!doctype html>", "text/html; charset=utf-8", {"Location": f"/login?next={path}"})
        return self._api(path)

    def _api(self, path: str) -> Reply:
        if path == "/api/positions":
            if isinstance(self.positions, list):
                return json_reply(self.positions)
            # Text that is JSON, sent as the framework sends any text.
            return Reply(200, json.dumps(self.positions).encode(), "text/html; charset=utf-8")
        if path == "/api/trades":
            return json_reply(self.trades)
        if path == "/api/pnl_history":
            return json_reply(self.pnl)
        if path == "/api/historical_portfolio_value":
            return json_reply(self.history) if self.history else json_reply("No exchange portfolio", 404)
        return Reply(404, b"<html>", "text/html")

    def _login(self, request: Request) -> Reply:
        if request.method == "GET":
            session, token = secrets.token_hex(8), secrets.token_hex(8) + "&x"
            self.forms[session] = token
            page = _FORM.format(token=token.replace("&", "&amp;"), error="").encode()
            return Reply(200, page, "text/html; charset=utf-8", {"Set-Cookie": _set(session), "Vary": "Cookie"})
        given = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        genuine = self.forms.pop(_cookie(request), None)
        if self.attempts_left <= 0 or genuine is None or given.get("csrf_token") != genuine:
            return Reply(200, _FORM.format(token="t", error="refused").encode(), "text/html")
        if given.get("password") != self.password:
            self.wrong += 1
            self.attempts_left -= 1
            return Reply(200, _FORM.format(token="t", error="Invalid password").encode(), "text/html")
        session = secrets.token_hex(8)
        self.sessions.add(session)
        return Reply(302, b"", "text/html", {"Location": "/", "Set-Cookie": _set(session)})


def _set(session: str) -> str:
    return f"session={session}; Expires=Thu, 26 Nov 2026 20:00:00 GMT; HttpOnly; Path=/"


def _cookie(request: Request) -> str:
    return request.headers.get("cookie", "").partition("session=")[2].partition(";")[0]


class OctobotNodeServer(LoopbackServer):
    """A node."""

    def __init__(self, *, wallet: str = "0xabcdef", passphrase: str = "correct-horse") -> None:
        super().__init__()
        self.expected = f"Basic {b64encode(f'{wallet}:{passphrase}'.encode()).decode()}"
        self.configured = True
        self.status = "running"

    async def handle(self, request: Request) -> Reply:
        if request.path == "/api/v1/setup/status":
            return json_reply({"configured": self.configured})
        if not self.configured:
            return json_reply({"detail": "Node not configured"}, 503)
        if request.headers.get("authorization") != self.expected:
            return json_reply({"detail": "Unauthorized"}, 401)
        if request.path == "/api/v1/nodes/me":
            return json_reply({"node_type": "master", "backend_type": "sqlite", "workers": 2, "status": self.status,
                               "sqlite_file": "node.db"})  # fmt: skip
        if request.path == "/api/v1/nodes/stop" and request.method == "POST":
            self.status = "stopped"
            return json_reply({"status": "stopped"})
        return json_reply({"detail": "Not Found"}, 404)
