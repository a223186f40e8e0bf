"""hummingbot by way of hummingbot-api: HTTP Basic, no prefix, many bots behind one address.

- One call tells of all bots of an API: they share it, for some seconds.
- An unknown bot is no 404: it is missing in the list, or has `status` "not_found". So is one whose container ended.
- No figures means "stopped" to the API, for a bot without controllers and just after the API restarts as well: that it
  was stopped is believed where its newest run says so.
- Amounts are floats or texts; their unit is the quote of the pairs, which may differ; percentages are of the volume
  traded, not of capital, and are not read.
- A start or stop that failed is HTTP 200 with `success` false. There is no pause.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, NamedTuple, NoReturn, TypeVar
from urllib.parse import quote

import msgspec

from agents.egress import Authorization, EgressError, GuardedClient
from agents.engines.base import Action, ControlRefused, Outside, ReadFailure, Reading, Reason, accepted, failure_of
from agents.engines.shared import Shared, key_of
from agents.engines.values import amount, label, word
from control_plane.engines.hummingbot import FAMILY, HummingbotConfig, HummingbotCredential
from control_plane.security.addresses import BotUrl

#: How old an answer may be that is shared: with the usual interval, one call or two serve all bots of an API.
FRESH_S: Final = 8.0
#: Version and newest run change seldom.
_SLOW_S: Final = 60.0

_WON: Final = frozenset({"TAKE_PROFIT", "TRAILING_STOP"})
_LOST: Final = frozenset({"STOP_LOSS"})
_CLOSED: Final = _WON | _LOST | {"TIME_LIMIT", "COMPLETED"}

_UNTOLD: Final = "{}, so they are not added up: state it in the bot's configuration (currency)."
_DIFFERENT: Final = (
    "Its pairs have different quote currencies, or another than you stated: their amounts are not added up."
)
_SOME_ON_PAPER: Final = "Some of its connectors trade on paper and some do not: their amounts are not added up."

T = TypeVar("T")


class _Position(msgspec.Struct):
    connector_name: str | None = None
    trading_pair: str | None = None
    amount: Decimal | None = None


class _Performance(msgspec.Struct):
    realized_pnl_quote: Decimal | None = None
    unrealized_pnl_quote: Decimal | None = None
    positions_summary: list[_Position] | None = None
    close_type_counts: dict[str, int] | None = None


class _Controller(msgspec.Struct):
    performance: _Performance | None = None


class _Bot(msgspec.Struct):
    status: str | None = None
    performance: dict[str, _Controller] | None = None
    recently_active: bool | None = None


class _Status(msgspec.Struct):
    # By name and undecoded: what one bot reports must not make the others unreadable.
    data: dict[str, msgspec.Raw]


class _About(msgspec.Struct):
    name: str
    version: str | None = None


class _Run(msgspec.Struct):
    run_status: str | None = None


class _Runs(msgspec.Struct):
    data: list[_Run]


class _Done(msgspec.Struct):
    success: bool


class _Answer(msgspec.Struct):
    response: _Done


class _Told(NamedTuple):
    """What one call told of every bot of an API."""

    bots: dict[str, msgspec.Raw]
    latency_ms: float


class HummingbotEngine(Outside):
    """Reads the bots of hummingbot-apis."""

    family = FAMILY

    def __init__(self, *, fresh_for_s: float = FRESH_S) -> None:
        self._statuses: Shared[_Told] = Shared(fresh_for_s)
        self._versions: Shared[str | None] = Shared(_SLOW_S)
        # By bot: a list of them all would be long, and still lack the run of one that was deployed long ago.
        self._runs: Shared[str | None] = Shared(_SLOW_S)

    def shared_key(self, base_url: BotUrl, credential: HummingbotCredential, config: HummingbotConfig) -> Hashable:  # type: ignore[override]
        """All bots of one API and credential."""
        del config
        return key_of(base_url, credential.username, credential.password)

    async def check(
        self,
        client: GuardedClient,
        base_url: BotUrl,
        credential: HummingbotCredential,
        config: HummingbotConfig,
        *,
        now: datetime,
    ) -> Reading:
        """Its entry in the list that all bots of the API share."""
        del now
        return await self._look(_Api(client, base_url, credential), config, full=False)

    async def read(
        self,
        client: GuardedClient,
        base_url: BotUrl,
        credential: HummingbotCredential,
        config: HummingbotConfig,
        *,
        now: datetime,
    ) -> Reading:
        """The same entry with its figures, and the API's version."""
        del now
        return await self._look(_Api(client, base_url, credential), config, full=True)

    async def control(
        self,
        client: GuardedClient,
        base_url: BotUrl,
        credential: HummingbotCredential,
        config: HummingbotConfig,
        action: Action,
    ) -> None:
        """Start or stop the whole bot, with all its controllers."""
        if action == "pause":
            raise ControlRefused("hummingbot has no pause: stop it, or use its controllers' kill switch.")
        api = _Api(client, base_url, credential)
        try:
            answer = await client.post_json(
                base_url, f"/bot-orchestration/{action}-bot", {"bot_name": config.bot_name}, auth=api.auth
            )
            done = accepted(answer, _Answer).response.success
        finally:
            # What is kept would go on showing the state of before; one that failed may have been heard all the same.
            self._statuses.forget(api.key)
            self._runs.forget(api.key_of_run(config.bot_name))
        if not done:
            raise ControlRefused(f"The API refuses to {action} it: it knows no running instance of this name.")

    async def _look(self, api: _Api, config: HummingbotConfig, *, full: bool) -> Reading:
        reading = Reading(reachable=False, credential_ok=None, full=False)
        try:
            told = await self._statuses.get(api.key, api.statuses)
            reading = msgspec.structs.replace(reading, credential_ok=True, latency_ms=told.latency_ms)
            bot = _entry(told, config.bot_name)
            reading = await self._with_state(reading, bot, api, config)
            if full:
                reading = msgspec.structs.replace(reading, version=await self._versions.get(api.key, api.version))
                reading = _with_figures(reading, bot, config)
        except EgressError as error:
            return reading.failed(failure_of(error))
        except ReadFailure as failure:
            return reading.failed(failure)
        return reading

    async def _with_state(self, reading: Reading, bot: _Bot, api: _Api, config: HummingbotConfig) -> Reading:
        state, detail = word(bot.status), None
        if state == "stopped" and await self._run_status(api, config.bot_name) != "STOPPED":
            state = None
            detail = (
                "The API has no figures of this bot, so whether it trades is unknown: it may have no controllers, have"
                " been stopped by other means, or the API has just been started."
            )
        return msgspec.structs.replace(reading, reachable=True, trading_state=state, detail=detail)

    async def _run_status(self, api: _Api, bot_name: str) -> str | None:
        """How the newest run of a bot stands; unknown where the API cannot tell, which is no fault of the bot's."""
        try:
            return await self._runs.get(api.key_of_run(bot_name), lambda: api.run_status(bot_name))
        except EgressError:
            return None
        except ReadFailure as failure:
            # These are of the credential and of the whole API, whatever was asked.
            if failure.reason in {Reason.AUTH, Reason.RATE_LIMITED}:
                raise
            return None


class _Api:
    """One hummingbot-api, as a set of calls."""

    def __init__(self, client: GuardedClient, url: BotUrl, credential: HummingbotCredential) -> None:
        self._client = client
        self._url = url
        self.auth = Authorization.basic(credential.username, credential.password)
        self._secret = (credential.username, credential.password)
        self.key = key_of(url, *self._secret)

    def key_of_run(self, bot_name: str) -> bytes:
        """Like ``key``, for what is asked of one bot."""
        return key_of(self._url, *self._secret, bot_name)

    async def statuses(self) -> _Told:
        answer = await self._client.get_json(self._url, "/bot-orchestration/status", auth=self.auth)
        return _Told(accepted(answer, _Status).data, answer.latency_ms)

    async def version(self) -> str | None:
        """Public: it needs no credential, and gets none. Unknown where a proxy, say, lets nobody in without one."""
        try:
            return label(accepted(await self._client.get_json(self._url, "/"), _About).version)
        except (EgressError, ReadFailure):
            return None

    async def run_status(self, bot_name: str) -> str | None:
        """How the newest run of a bot stands."""
        path = f"/bot-orchestration/bot-runs?bot_name={quote(bot_name, safe='')}&limit=1"
        runs = accepted(await self._client.get_json(self._url, path, auth=self.auth), _Runs).data
        return runs[0].run_status if runs else None


def _entry(told: _Told, name: str) -> _Bot:
    raw = told.bots.get(name)
    if raw is None:
        _absent()
    try:
        bot = msgspec.json.decode(raw, type=_Bot)
    except (ValueError, ArithmeticError, RecursionError):
        detail = "What the API tells of this bot does not have the form expected."
        raise ReadFailure(Reason.BAD_PAYLOAD, detail, reachable=True, credential_ok=True) from None
    if bot.status == "not_found":
        _absent()
    return bot


def _absent() -> NoReturn:
    detail = "The API answers, but has no bot of this name that runs: see whether its instance does, and its bot_name."
    raise ReadFailure(Reason.UNREACHABLE, detail, reachable=False, credential_ok=True)


def _with_figures(reading: Reading, bot: _Bot, config: HummingbotConfig) -> Reading:
    controllers = bot.performance or {}
    if config.controller_id is not None:
        controllers = {name: one for name, one in controllers.items() if name == config.controller_id}
        if bot.performance and not controllers:
            detail = f"It has no controller {config.controller_id}: see its controller_id. Its figures are unknown."
            return msgspec.structs.replace(reading, full=True, detail=detail)
    if all(one.performance is None for one in controllers.values()):
        # Nothing is known now, which is no zero: after a stop the API forgets them.
        return msgspec.structs.replace(reading, full=True)
    # One that cannot be read now leaves the sums unknown: left out of them, it would seem lost and then won again.
    told = [one.performance or _Performance() for one in controllers.values()]
    positions = [position for one in told for position in one.positions_summary or ()]
    # What the positions of one controller tell is not told of another's amounts.
    silent = len(told) > 1 and any(_is_silent(one) for one in told)
    simulated = None if silent else _the_one(_is_paper(position) for position in positions)
    reading = msgspec.structs.replace(reading, full=True, simulated=simulated, **_counts(told, positions))
    currency, problem = _currency(positions, config, silent=silent)
    if problem is not None:
        return msgspec.structs.replace(reading, detail=problem)
    realized = _sum(one.realized_pnl_quote for one in told)
    unrealized = _sum(one.unrealized_pnl_quote for one in told)
    capital = amount(config.capital)
    equity = None if capital is None or realized is None or unrealized is None else capital + realized + unrealized
    return msgspec.structs.replace(
        reading,
        currency=currency,
        realized_profit=realized,
        open_profit=unrealized,
        capital_base=capital,
        equity=amount(equity),
    )


def _is_silent(one: _Performance) -> bool:
    """Whether it has amounts, and no position by which to know their currency, or whether they are of paper."""
    return not one.positions_summary and bool(one.realized_pnl_quote or one.unrealized_pnl_quote)


def _counts(told: list[_Performance], positions: list[_Position]) -> dict[str, Any]:
    counts: dict[str, int] = {}
    for one in told:
        for name, number in (one.close_type_counts or {}).items():
            kind = name.rpartition(".")[2]
            counts[kind] = counts.get(kind, 0) + number
    if any(number < 0 for number in counts.values()):
        raise ReadFailure(Reason.BAD_PAYLOAD, "The bot reports a count that cannot be.", reachable=True)
    known = all(one.close_type_counts is not None for one in told)
    closed = sum(number for kind, number in counts.items() if kind in _CLOSED)
    won = sum(number for kind, number in counts.items() if kind in _WON)
    telling = won + sum(number for kind, number in counts.items() if kind in _LOST)
    return {
        # A market maker may close nothing but by quoting anew: that is no trade, but forgotten when its amounts are.
        "tally": sum(counts.values()) if known else None,
        "closed_trades": closed if known and closed < 2**31 else None,
        "win_rate": round(Decimal(won) / closed, 8) if known and closed and telling == closed else None,
        "open_positions": sum(bool(position.amount) for position in positions)
        if all(one.positions_summary is not None for one in told)
        else None,
    }


def _currency(positions: list[_Position], config: HummingbotConfig, *, silent: bool) -> tuple[str | None, str | None]:
    """The currency of all amounts, or why no amount may be told: the quote of all pairs, agreeing with what is stated.

    What the owner states is their word for every pair of the bot, also of a controller that has no position now: it is
    asked for just that, and without it a bot would have no equity whenever one of its controllers is out of the market.
    """
    if len({_is_paper(position) for position in positions}) > 1:
        return None, _SOME_ON_PAPER
    quotes = {_quote(position) for position in positions}
    if config.currency is not None:
        quotes.add(config.currency.upper())
    if not quotes:
        return None, _UNTOLD.format("No open position tells in which currency its amounts are")
    if len(quotes) > 1 or None in quotes:
        return None, _DIFFERENT
    if silent and config.currency is None:
        return None, _UNTOLD.format("A controller has amounts, and no open position to tell their currency")
    return quotes.pop(), None


def _quote(position: _Position) -> str | None:
    base, _, quoted = (position.trading_pair or "").rpartition("-")
    return label(quoted.upper(), 16) if base else None


def _is_paper(position: _Position) -> bool | None:
    return None if position.connector_name is None else position.connector_name.endswith("_paper_trade")


def _the_one(values: Iterable[bool | None]) -> bool | None:
    seen = set(values)
    return seen.pop() if len(seen) == 1 else None


def _sum(values: Iterable[Decimal | None]) -> Decimal | None:
    """All of them together; None as soon as one is unknown."""
    total = Decimal(0)
    for value in values:
        kept = amount(value)
        if kept is None:
            return None
        total += kept
    return amount(total)
