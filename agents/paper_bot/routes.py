"""The routes of docs/bot-api.md: who may ask, and which document answers."""

import base64
import binascii
import hmac
import json
import sqlite3
from collections.abc import Callable

from . import documents, timestamps
from .bot import Bot
from .config import digest
from .documents import Document
from .store import Table
from .trader import Positions, TradingState
from .wire import ApiError, Request, Response

DEFAULT_LIMIT = 50
LARGEST_LIMIT = 200
PING = "/api/v1/ping"
DRAIN = "/api/v1/drain"

Handler = Callable[[Request], Document]


class Api:
    """Answers requests about one bot."""

    def __init__(self, bot: Bot) -> None:
        self._bot = bot
        self._routes: dict[str, tuple[str, Handler]] = {
            PING: ("GET", lambda _: {"status": "pong"}),
            "/api/v1/state": ("GET", lambda _: documents.state(bot)),
            "/api/v1/performance": ("GET", lambda _: documents.performance(bot)),
            "/api/v1/trades": ("GET", lambda request: self._page("trades", request)),
            "/api/v1/ledger": ("GET", lambda request: self._page("entries", request)),
            DRAIN: ("GET, POST", self._drain),
            "/api/v1/start": ("POST", lambda _: self._control("running")),
            "/api/v1/pause": ("POST", lambda _: self._control("paused")),
            "/api/v1/stop": ("POST", lambda _: self._control("stopped")),
        }

    def __call__(self, request: Request) -> Response:
        """Answer one request; raises ApiError. Only `ping` says anything to somebody without the token."""
        if request.path != PING:
            self._authenticate(request)
        route = self._routes.get(request.path)
        if route is None:
            raise ApiError(
                404, "not_found", "There is no such path. All paths begin with /api/v1/ and have no final slash."
            )
        methods, handler = route
        allowed = methods.replace("GET", "GET, HEAD")
        if request.method not in allowed.split(", "):
            raise ApiError(405, "method_not_allowed", f"Use {allowed} here.", {"Allow": allowed})
        try:
            # What is asked for by a drain is done by the next look at it, so it is only accepted.
            accepted = request.method == "POST" and request.path == DRAIN
            return Response(202 if accepted else 200, handler(request))
        except sqlite3.Error:
            raise ApiError(
                503, "disk_failed", "The bot's disk fails; free or repair it and start the bot again."
            ) from None

    def _authenticate(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        known = hmac.compare_digest(digest(token.strip()), self._bot.config.token_digest)
        if not known or scheme.lower() != "bearer":
            detail = "Send the bot's token as Authorization: Bearer <token>."
            raise ApiError(401, "unauthorized", detail, {"WWW-Authenticate": "Bearer"})

    def _control(self, state: TradingState) -> Document:
        self._bot.set_state(state)
        return documents.state(self._bot)

    def _drain(self, request: Request) -> Document:
        if request.method == "POST":
            self._bot.wind_down(_positions(request.body), timestamps.now())
        return documents.drain(self._bot)

    def _page(self, table: Table, request: Request) -> Document:
        limit, before = _limit(request.query.get("limit")), _from_cursor(request.query.get("cursor"))
        items, older = self._bot.page(table, limit, before)
        return documents.page(items, None if older is None else _to_cursor(older))


def _positions(body: bytes) -> Positions:
    """What shall become of positions: kept, where the body does not say."""
    problem = ApiError(400, "invalid_drain", 'Send {"positions": "keep"} or {"positions": "close"}, or no body.')
    try:
        wish = json.loads(body) if body.strip() else {}
    except (ValueError, RecursionError):
        raise problem from None
    positions = wish.get("positions", "keep") if isinstance(wish, dict) else None
    if positions == "close":
        return "close"
    if positions == "keep":
        return "keep"
    raise problem


def _limit(value: str | None) -> int:
    if value is None:
        return DEFAULT_LIMIT
    if not (value.isascii() and value.isdigit() and len(value) < 6 and 1 <= int(value) <= LARGEST_LIMIT):
        raise ApiError(400, "invalid_limit", f"Send limit as a number from 1 to {LARGEST_LIMIT}.")
    return int(value)


def _to_cursor(record_id: int) -> str:
    """Opaque on purpose, so that clients do not come to rely on what is inside."""
    return base64.urlsafe_b64encode(f"before:{record_id}".encode()).decode().rstrip("=")


def _from_cursor(value: str | None) -> int | None:
    if value is None:
        return None
    try:
        label, _, record_id = base64.urlsafe_b64decode(value + "=" * (-len(value) % 4)).decode().partition(":")
    except (binascii.Error, ValueError):
        label, record_id = "", ""
    if (
        label != "before"
        or not (record_id.isascii() and record_id.isdigit() and len(record_id) < 19)
        or int(record_id) < 1
    ):
        raise ApiError(400, "invalid_cursor", "Send the next_cursor of an earlier answer, or leave it out.")
    return int(record_id)
