"""OctoBot, both of its faces: the classic web interface, and the node of 2026 and later.

Classic (`/api` of a website):

- Without a login an API route answers 302 to `/login`, which a client that follows takes for 200 HTML.
- The login is a form with a hidden field against forgery and a session cookie. Ten or fifty wrong passwords from one
  address ban that address until the bot restarts: a refused one is not sent again for a while, and for twice as long
  after each further time.
- `/api/ping` and `/api/version` answer a JSON text, without a login. Some routes send JSON and call it HTML.
- `/api/positions` is one list that says of each what it is (`SoR`); older ones send an object of two lists.
- `/commands/stop` ends the process, by a plain GET even: nothing here ever asks for a route that does anything.

Node (`/api/v1`): HTTP Basic with the wallet's address in lower case; 503 before it is set up.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from html import unescape
from typing import Any, Final, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from agents.egress import Authorization, EgressError, GuardedClient, Response
from agents.engines.base import (
    Action,
    ControlRefused,
    Outside,
    ReadFailure,
    Reading,
    Reason,
    accepted,
    failure_of,
    refusal,
)
from agents.engines.shared import FIGURES_S, all_told, key_of
from agents.engines.values import amount, count, label, word
from control_plane.engines.octobot import FAMILY, OctobotConfig, OctobotCredential
from control_plane.security.addresses import BotUrl

_MOST_SESSIONS: Final = 4096
#: After a refused password, in seconds, until it is sent again; doubled each time, and after so many not at all.
_FIRST_PAUSE_S: Final = 900.0
_LONGEST_PAUSE_S: Final = 86_400.0
_MOST_REFUSALS: Final = 9
_FRESH: Final = timedelta(days=2)
_MS_FROM: Final = 10**11

_HIDDEN = re.compile(rb"<input\b[^>]*\bname=[\"']csrf_token[\"'][^>]*>", re.IGNORECASE)
_VALUE = re.compile(rb"\bvalue=[\"']([^\"'<>]{1,512})[\"']", re.IGNORECASE)
_COOKIE = re.compile(r"(?:\A|, ?)([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64})=([!#-+\--:<-\[\]-~]{0,4096})")
_SINCE = re.compile(r"(\d{4}-\d{2}-\d{2})[ T](\d{2}:\d{2}:\d{2})", re.ASCII)

T = TypeVar("T")


class _Pnl(msgspec.Struct):
    pnl: Decimal | None = None
    q: str | None = None


class _Point(msgspec.Struct):
    time: Any = None
    value: Decimal | None = None


class _Position(msgspec.Struct):
    unrealized_pnl: Decimal | None = None
    market: str | None = None
    kind: str | None = msgspec.field(default=None, name="SoR")


class _Trade(msgspec.Struct):
    kind: str | None = msgspec.field(default=None, name="SoR")


class _Positions(msgspec.Struct):
    real_positions: list[_Position] = []
    simulated_positions: list[_Position] = []


_SIMULATED: Final = {"Real": False, "Simulated": True}
_AS_TOLD: Final[Any] = list[_Position] | _Positions


@dataclass(slots=True)
class _Figures:
    """What a full look found out besides; None where it was not told."""

    closed: list[_Pnl] | None = None
    history: list[_Point] | None = None
    trades: list[_Trade] | None = None


class _Node(msgspec.Struct):
    node_type: str | None = None
    status: str | None = None


class _NodeComplaint(msgspec.Struct):
    detail: str | None = None


@dataclass(slots=True)
class _Session:
    """What is known of one login: its cookie, or until when the password is not tried again."""

    cookies: str = ""
    refusals: int = 0
    not_before: float = 0.0


class _LoginNeededError(Exception):
    """The session is none, or over."""


class OctobotEngine(Outside):
    """Reads OctoBots. Holds their session cookies, and nothing else of a credential."""

    family = FAMILY

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, figures_s: float = FIGURES_S) -> None:
        self._clock = clock
        self._figures_s = figures_s
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()

    async def check(
        self,
        client: GuardedClient,
        base_url: BotUrl,
        credential: OctobotCredential,
        config: OctobotConfig,
        *,
        now: datetime,
    ) -> Reading:
        """classic: liveness and one route behind the login. node: itself."""
        return await self._look(client, base_url, credential, config, now, full=False)

    async def read(
        self,
        client: GuardedClient,
        base_url: BotUrl,
        credential: OctobotCredential,
        config: OctobotConfig,
        *,
        now: datetime,
    ) -> Reading:
        """classic: the same, then profits, portfolio and version. A node has no figures of a portfolio to tell."""
        return await self._look(client, base_url, credential, config, now, full=True)

    async def control(
        self,
        client: GuardedClient,
        base_url: BotUrl,
        credential: OctobotCredential,
        config: OctobotConfig,
        action: Action,
    ) -> None:
        """A node can be stopped. A classic one is refused: it would end its process, which nothing here could undo."""
        if config.mode == "classic":
            raise ControlRefused(
                "A classic OctoBot told to stop ends its whole process, and only you can start it again."
            )
        if action != "stop":
            raise ControlRefused(f"An OctoBot node has no way to {action} from outside.")
        auth = _basic(credential)
        accepted(await client.post_json(base_url, "/api/v1/nodes/stop", None, auth=auth), msgspec.Raw)

    async def _look(
        self,
        client: GuardedClient,
        url: BotUrl,
        credential: OctobotCredential,
        config: OctobotConfig,
        now: datetime,
        *,
        full: bool,
    ) -> Reading:
        reading = Reading(reachable=False, credential_ok=None, full=False)
        until = asyncio.get_running_loop().time() + self._figures_s
        try:
            if config.mode == "node":
                return await _read_node(client, url, credential, full=full)
            site = _Site(client, url, credential, self._session(url, credential), self._clock())
            reading = await _greet(site, reading)
            positions: list[_Position] | _Positions = await site.ask("/api/positions", _AS_TOLD)
            reading = _with_positions(msgspec.structs.replace(reading, credential_ok=True), positions, config)
            return await _read_figures(site, reading, config, now, until) if full else reading
        except EgressError as error:
            return reading.failed(failure_of(error))
        except ReadFailure as failure:
            return reading.failed(failure)

    def _session(self, url: BotUrl, credential: OctobotCredential) -> _Session:
        key = key_of(url, credential.password)
        session = self._sessions.setdefault(key, _Session())
        self._sessions.move_to_end(key)
        if len(self._sessions) > _MOST_SESSIONS:
            self._sessions.popitem(last=False)
        return session


class _Site:
    """One classic OctoBot, as a set of calls, logged in where it asks for that."""

    def __init__(
        self, client: GuardedClient, url: BotUrl, credential: OctobotCredential, session: _Session, now_s: float
    ) -> None:
        self._client = client
        self._url = url
        self._password = credential.password
        self._session = session
        self._now_s = now_s

    async def public(self, path: str) -> Response:
        """A call that needs no login."""
        return await self._client.get_json(self._url, path)

    async def ask(self, path: str, shape: type[T]) -> T:
        """A call behind the login; logs in where there is no session, or none any more. Raises as `accepted`."""
        try:
            return await self._ask(path, shape)
        except _LoginNeededError:
            await self._log_in()
        try:
            return await self._ask(path, shape)
        except _LoginNeededError:
            raise _refused() from None

    async def _ask(self, path: str, shape: type[T]) -> T:
        headers = {"Cookie": self._session.cookies} if self._session.cookies else {}
        response = await self._client.fetch(self._url, "GET", path, headers=headers)
        if 300 <= response.status < 400:
            raise _LoginNeededError
        # Said to be HTML or not: what counts is whether it reads as what was asked for.
        return accepted(response, shape)

    async def _log_in(self) -> None:
        """Raises `ReadFailure` where there is no password, it is refused, or it is not to be tried again yet."""
        if self._password is None:
            detail = "The bot asks for a password and was registered without one: enter it."
            raise ReadFailure(Reason.AUTH, detail, reachable=True, credential_ok=False)
        if self._now_s < self._session.not_before:
            raise _refused()
        self._session.cookies = ""
        form = await self._client.fetch(self._url, "GET", "/login", headers={"Accept": "text/html"})
        token = _hidden_token(form)
        fields = {"password": self._password} | ({"csrf_token": token} if token else {})
        answer = await self._client.fetch(
            self._url,
            "POST",
            "/login",
            headers={"Cookie": _cookies(form), "Content-Type": "application/x-www-form-urlencoded"},
            body=urlencode(fields).encode(),
        )
        if 300 <= answer.status < 400:
            self._session.cookies = _cookies(answer) or _cookies(form)
            self._session.refusals = 0
            return
        if answer.status >= 400 and answer.status not in {401, 403}:
            raise refusal(answer)
        pause = min(_FIRST_PAUSE_S * 2**self._session.refusals, _LONGEST_PAUSE_S)
        self._session.refusals += 1
        self._session.not_before = self._now_s + (pause if self._session.refusals < _MOST_REFUSALS else math.inf)
        raise _refused()


def _refused() -> ReadFailure:
    detail = (
        "The bot refuses the password. It is not tried again for a while, because OctoBot locks out whoever gets it"
        " wrong too often: enter the right one."
    )
    return ReadFailure(Reason.AUTH, detail, reachable=True, credential_ok=False)


def _hidden_token(form: Response) -> str | None:
    """The form's field against forgery. Raises `ReadFailure` where no form came."""
    if form.status != 200:
        raise refusal(form)
    field = _HIDDEN.search(form.body)
    value = _VALUE.search(field[0]) if field else None
    return unescape(value[1].decode("latin-1")) if value else None


def _cookies(response: Response) -> str:
    """What the answer's cookies come to in a request. Attributes are not kept: a session goes to its own bot only."""
    found = _COOKIE.findall(response.headers.get("set-cookie", ""))
    return "; ".join(f"{name}={value}" for name, value in found)


async def _greet(site: _Site, reading: Reading) -> Reading:
    response = await site.public("/api/ping")
    said = accepted(response, str)
    if not said.startswith("Running since"):
        raise ReadFailure(Reason.BAD_PAYLOAD, "The address answers, but not as a classic OctoBot.", reachable=True)
    return msgspec.structs.replace(reading, reachable=True, latency_ms=response.latency_ms, started_at=_started(said))


def _started(said: str) -> datetime | None:
    since = _SINCE.search(said)
    try:
        return datetime.fromisoformat(f"{since[1]}T{since[2]}+00:00") if since else None
    except ValueError:
        return None


def _with_positions(reading: Reading, told: list[_Position] | _Positions, config: OctobotConfig) -> Reading:
    kinds: set[bool | None]
    if isinstance(told, list):
        positions = told
        kinds = {_SIMULATED.get(position.kind or "") for position in told}
    else:
        positions = told.real_positions + told.simulated_positions
        kinds = {bool(told.simulated_positions), not told.real_positions} if positions else set()
    if len(kinds) > 1:
        detail = "Some of its positions are real and some simulated: their amounts are not added up."
        return msgspec.structs.replace(reading, detail=detail)
    simulated = next(iter(kinds), None)
    same = all(position.market is None or position.market == config.currency for position in positions)
    return msgspec.structs.replace(
        reading,
        open_positions=count(len(positions)),
        simulated=simulated,
        # Spot trading has no positions in this sense, so none is no zero of open profit.
        open_profit=None if simulated is None or not same else _sum(position.unrealized_pnl for position in positions),
    )


async def _read_figures(site: _Site, reading: Reading, config: OctobotConfig, now: datetime, until: float) -> Reading:
    version = accepted(await site.public("/api/version"), str)
    reading = msgspec.structs.replace(reading, version=label(version), currency=config.currency)
    told = _Figures()
    # Spot trading has no positions: there its trades alone tell whether its money is real.
    whole = await all_told(_ask_figures(site, told, config, trades=reading.open_positions == 0), until)
    closed, history = told.closed, told.history
    missing = [name for name, value in (("closed trades", closed), ("portfolio", history)) if value is None]
    detail = f"It did not tell just now, and so unknown: {', '.join(missing)}." if missing else reading.detail
    reading = msgspec.structs.replace(reading, full=whole and not missing, detail=detail)
    kinds = {_SIMULATED.get(trade.kind or "") for trade in told.trades or ()}
    if len(kinds) == 1:
        reading = msgspec.structs.replace(reading, simulated=kinds.pop())
    if closed is not None:
        reading = _with_profits(reading, closed, config)
    if history:
        values = [(_moment(point.time), point.value) for point in history]
        at, newest = values[-1]
        fresh = at is not None and now - at < _FRESH
        reading = msgspec.structs.replace(
            reading, capital_base=amount(values[0][1]), equity=amount(newest) if fresh else None
        )
    return reading


async def _ask_figures(site: _Site, told: _Figures, config: OctobotConfig, *, trades: bool) -> None:
    told.closed = await _if_there(site, "/api/pnl_history", list[_Pnl])
    path = f"/api/historical_portfolio_value?currency={quote(config.currency, safe='')}&time_frame=1d"
    told.history = await _if_there(site, path, list[_Point])
    if trades:
        told.trades = await _if_there(site, "/api/trades", list[_Trade])


async def _if_there(site: _Site, path: str, shape: type[T]) -> T | None:
    """None where the bot has none of that now, or more than may be read: then what else it told still holds."""
    try:
        return await site.ask(path, shape)
    except EgressError as error:
        if error.code == "too_large":
            return None
        raise
    except ReadFailure as failure:
        if failure.reason is Reason.HTTP_ERROR and failure.reachable:
            return None
        raise


def _with_profits(reading: Reading, closed: list[_Pnl], config: OctobotConfig) -> Reading:
    if any(entry.q is not None and entry.q != config.currency for entry in closed):
        detail = f"Some of its profits are in another currency than {config.currency}: they are not added up."
        return msgspec.structs.replace(reading, closed_trades=count(len(closed)), detail=detail)
    profits = [amount(entry.pnl) for entry in closed]
    won = sum(profit is not None and profit > 0 for profit in profits)
    known = closed and None not in profits
    return msgspec.structs.replace(
        reading,
        closed_trades=count(len(closed)),
        realized_profit=_sum(profits),
        win_rate=round(Decimal(won) / len(closed), 8) if known else None,
    )


def _sum(values: Iterable[Decimal | None]) -> Decimal | None:
    """All of them together; None as soon as one is unknown."""
    total = Decimal(0)
    for value in values:
        kept = amount(value)
        if kept is None:
            return None
        total += kept
    return amount(total)


def _moment(told: Any) -> datetime | None:
    """Seconds or milliseconds since 1970, as a number or a text of one; unknown for anything else."""
    try:
        number = Decimal(str(told)[:32])
        if not number.is_finite() or not 0 < number < _MS_FROM * 1000:
            return None
        return datetime.fromtimestamp(float(number if number < _MS_FROM else number / 1000), UTC)
    except (ArithmeticError, ValueError, OSError):
        return None


def _basic(credential: OctobotCredential) -> Authorization:
    return Authorization.basic((credential.username or "").lower(), credential.password or "")


async def _read_node(client: GuardedClient, url: BotUrl, credential: OctobotCredential, *, full: bool) -> Reading:
    response = await client.get_json(url, "/api/v1/nodes/me", auth=_basic(credential))
    if response.status == 503 and _not_set_up(response):
        detail = "The node answers, but has not been set up yet: open its own page and do so."
        raise ReadFailure(Reason.HTTP_ERROR, detail, reachable=True)
    node = accepted(response, _Node)
    return Reading(
        reachable=True,
        credential_ok=True,
        full=full,
        latency_ms=response.latency_ms,
        trading_state=word(node.status),
    )


def _not_set_up(response: Response) -> bool:
    try:
        return (response.decode(_NodeComplaint).detail or "").startswith("Node not configured")
    except EgressError:
        return False
