"""freqtrade, REST API 2.40 to 2.50: HTTP Basic on each call, everything under `/api/v1`.

What its own documentation does not say and real processes do:

- `/ping` and `/health` answer while trading is stopped; only `/show_config` tells the trading state.
- Figures declared as numbers come as null once prices are too old, and `/balance` then counts open positions as worth
  nothing: without `/profit.profit_all_coin` its total is no equity.
- A question that cannot be answered now, such as `/count` while stopped, is HTTP 502 with `{"error": ...}`: no gateway.
- `/balance` does not count money that waits in an order to buy: where some is in orders, they are asked for and added.
- `/balance` asks the exchange and is as slow as that is; its silence says nothing about the bot. So do `/profit` and
  `/status` once remembered prices are too old: with an exchange that is silent they answer in minutes.
- Nothing but the list of open trades tells that orders are cancelled. Its `has_open_orders` leaves out the stop-losses
  that lie on the exchange: those protect a position that is kept, and stay.
- `/stopentry` to a bot whose trading is stopped begins it again, paused; and only then does it cancel or exit.
- `api_version` is a float (2.50 arrives as 2.5) and tells nothing that the answers do not: it is not read.
- A POST to a route that a version does not know is 405, for the web interface's GET has every path; without it, 404.
- API 2.40 has no `/pause`: there `/stopentry` sets `max_open_trades` to 0, the state goes on reading "running", and
  only `/reload_config` brings the entries back.
- A reload closes the port for half a second: `unreachable` once, and the poller waits for more before it judges.
"""

import asyncio
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar

import msgspec

from agents.egress import Authorization, EgressError, GuardedClient, Response
from agents.engines.base import (
    Action,
    ControlRefused,
    DrainRefused,
    ReadFailure,
    Reading,
    Reason,
    Standing,
    accepted,
    check_pong,
    failure_of,
)
from agents.engines.shared import FIGURES_S, all_told
from agents.engines.values import age, amount, count, label, moment, share, word
from control_plane.engines.freqtrade import FAMILY
from control_plane.security.addresses import BotUrl
from control_plane.security.credentials import FreqtradeCredential

T = TypeVar("T")

_NO_ROUTE: Final = frozenset({404, 405})


# Only what is read is declared: fields come and go between versions, and nearly every one can be null.
class _Config(msgspec.Struct):
    state: str
    dry_run: bool | None = None
    version: str | None = None
    bot_name: str | None = None
    stake_currency: str | None = None
    max_open_trades: Decimal | None = None  # a float, and -1 for any number of them


class _Health(msgspec.Struct):
    """Seconds since 1970, all null before the first loop."""

    last_process_ts: Decimal | None = None
    bot_start_ts: Decimal | None = None  # first start ever on this bot's database
    bot_startup_ts: Decimal | None = None  # start or last reload of this process


class _Profit(msgspec.Struct):
    profit_closed_coin: Decimal | None = None
    profit_all_coin: Decimal | None = None  # closed and open together
    closed_trade_count: int | None = None
    winrate: Decimal | None = None
    max_drawdown: Decimal | None = None  # closed trades only


class _Holding(msgspec.Struct):
    currency: str | None = None
    used: Decimal | None = None  # in orders, the bot's own and others' on the same account
    is_position: bool | None = None  # of futures, whose collateral is counted


class _Balance(msgspec.Struct):
    total_bot: Decimal | None = None  # what the bot manages; `total` would be the whole account
    starting_capital: Decimal | None = None
    stake: str | None = None
    currencies: list[_Holding] = []


class _Order(msgspec.Struct):
    is_open: bool
    ft_order_side: str | None = None
    remaining: Decimal | None = None
    safe_price: Decimal | None = None


class _Count(msgspec.Struct):
    current: int


class _Trade(msgspec.Struct):
    trade_id: int
    has_open_orders: bool | None = None
    orders: list[_Order] = []


@dataclass(slots=True)
class _Figures:
    """What a full look found out of the performance; None where it was not told."""

    positions: int | None = None
    profit: _Profit | None = None
    balance: _Balance | None = None
    trades: list[_Trade] | None = None


class _Complaint(msgspec.Struct):
    error: str | None = None
    detail: str | None = None


class _NotNow(Exception):  # noqa: N818  -- an answer of the bot's, not a fault
    """The bot answered that it cannot answer this in its present state."""


class FreqtradeEngine:
    """Reads freqtrade bots."""

    family = FAMILY

    def __init__(self, *, figures_s: float = FIGURES_S) -> None:
        self._figures_s = figures_s

    def shared_key(self, base_url: BotUrl, credential: FreqtradeCredential, config: None) -> Hashable | None:  # noqa: ARG002
        """A process is one bot."""
        return None

    async def check(
        self, client: GuardedClient, base_url: BotUrl, credential: FreqtradeCredential, config: None, *, now: datetime
    ) -> Reading:
        """State, and how fresh the loop is where there is one that turns: one or two calls."""
        del config
        bot = _Bot(client, base_url, Authorization.basic(credential.username, credential.password))
        reading = Reading(reachable=False, credential_ok=None, full=False)
        try:
            reading, config_told = await _read_config(bot, reading, timed=True)
            if reading.trading_state in {"running", "paused"}:
                reading = await _read_loop(bot, reading, config_told, now)
        except EgressError as error:
            return reading.failed(failure_of(error))
        except ReadFailure as failure:
            return reading.failed(failure)
        return reading

    async def read(
        self, client: GuardedClient, base_url: BotUrl, credential: FreqtradeCredential, config: None, *, now: datetime
    ) -> Reading:
        """Liveness without the credential, then state and loop, then performance; stops where a step fails."""
        del config
        bot = _Bot(client, base_url, Authorization.basic(credential.username, credential.password))
        reading = Reading(reachable=False, credential_ok=None, full=False)
        until = asyncio.get_running_loop().time() + self._figures_s
        try:
            reading = await _greet(bot, reading)
            reading, config_told = await _read_config(bot, reading)
            reading = await _read_loop(bot, reading, config_told, now)
            return await _read_performance(bot, reading, until)
        except EgressError as error:
            return reading.failed(failure_of(error))
        except ReadFailure as failure:
            return reading.failed(failure)

    async def control(
        self,
        client: GuardedClient,
        base_url: BotUrl,
        credential: FreqtradeCredential,
        config: None,
        action: Action,
    ) -> None:
        """One command, by its older name where the newer is not known."""
        del config
        bot = _Bot(client, base_url, Authorization.basic(credential.username, credential.password))
        routes: tuple[str, ...] = (action,)
        if action == "pause":
            routes = ("pause", "stopentry", "stopbuy")
        elif action == "start" and _silently_paused(await _config(bot)):
            # What an older one calls running has no entries after a pause, and /start would change nothing.
            routes = ("reload_config",)
        for route in routes:
            if await bot.command(route, must=True):
                return
        raise ControlRefused(f"Its API has no way to {action} its trading.")

    async def drain(
        self, client: GuardedClient, base_url: BotUrl, credential: FreqtradeCredential, *, close: bool
    ) -> None:
        """No more entries; with `close`, every trade is exited, which also takes back its entry if that is open."""
        bot = _Bot(client, base_url, Authorization.basic(credential.username, credential.password))
        # A bot whose trading is stopped would begin to manage its trades again: only where there is something to exit.
        if close or (await _state(bot)) != "stopped":
            await _stop_entries(bot)
        if close and not await bot.command("forceexit", {"tradeid": "all"}):
            raise DrainRefused("It offers no way to exit its trades.")

    async def drained(
        self, client: GuardedClient, base_url: BotUrl, credential: FreqtradeCredential, *, close: bool
    ) -> Standing:
        """Where positions are kept, orders are cancelled at each look, for exits are made as long as it trades; once
        none is left its trading is stopped, and only what the look after that finds is evidence.
        """
        bot = _Bot(client, base_url, Authorization.basic(credential.username, credential.password))
        try:
            trades = await bot.ask("status", list[_Trade])
        except _NotNow:
            raise ReadFailure(Reason.HTTP_ERROR, "The bot cannot tell its trades now.", reachable=True) from None
        settled = close or await _kept(bot, trades)
        known = all(trade.has_open_orders is not None for trade in trades)
        return Standing(
            open_orders=sum(bool(trade.has_open_orders) for trade in trades) if known else None,
            open_positions=len(trades),
            settled=settled,
        )


class _Bot:
    """One freqtrade process, as a set of calls."""

    def __init__(self, client: GuardedClient, url: BotUrl, auth: Authorization) -> None:
        self._client = client
        self._url = url
        self._auth = auth

    async def ping(self) -> Response:
        return await self._client.get_json(self._url, "/api/v1/ping")

    async def command(self, route: str, body: dict[str, str] | None = None, *, must: bool = False) -> bool:
        """Have it do something; False where this version knows no such route. Raises as `accepted`.

        That it cannot in its present state means that it is done already or, where it ``must`` be, `ControlRefused`.
        """
        response = await self._client.post_json(self._url, f"/api/v1/{route}", body, auth=self._auth)
        if response.status in _NO_ROUTE:
            return False
        if not _is_complaint(response):
            accepted(response, dict[str, Any])
        elif must:
            raise ControlRefused("It cannot do that in its present state: it has no trader that runs.")
        return True

    async def cancel(self, trade_id: int) -> None:
        """Cancel a trade's open order. That it is gone by now is no failure: the next look tells."""
        response = await self._client.delete_json(self._url, f"/api/v1/trades/{trade_id}/open-order", auth=self._auth)
        if response.status != 404 and not _is_complaint(response):
            accepted(response, dict[str, Any])

    async def get(self, route: str) -> Response:
        """An authorised call's answer, whatever it is."""
        return await self._client.get_json(self._url, f"/api/v1/{route}", auth=self._auth)

    async def ask(self, route: str, shape: type[T]) -> T:
        """An authorised call. Raises `_NotNow` as well as what `accepted` raises."""
        response = await self.get(route)
        if _is_complaint(response):
            raise _NotNow
        return accepted(response, shape)

    async def ask_if_possible(self, route: str, shape: type[T]) -> T | None:
        """As `ask`, but None where the bot cannot answer now."""
        try:
            return await self.ask(route, shape)
        except _NotNow:
            return None


async def _state(bot: _Bot) -> str:
    return (await _config(bot)).state


async def _config(bot: _Bot) -> _Config:
    try:
        return await bot.ask("show_config", _Config)
    except _NotNow:
        raise ReadFailure(Reason.HTTP_ERROR, "The bot cannot tell its state now.", reachable=True) from None


async def _stop_entries(bot: _Bot) -> None:
    """By the older name where the newer is not known. Raises `DrainRefused` where neither is."""
    if not await bot.command("stopentry") and not await bot.command("stopbuy"):
        raise DrainRefused("It offers no way to stop its entries.")


def _silently_paused(told: _Config) -> bool:
    """Whether it runs without making any entry: what API 2.40 comes to after a pause."""
    return told.state.lower() == "running" and told.max_open_trades == 0


async def _kept(bot: _Bot, trades: Sequence[_Trade]) -> bool:
    """One step towards trades without orders and a bot that makes none; whether it was so already."""
    stopped = await _state(bot) == "stopped"
    ordered = [trade.trade_id for trade in trades if trade.has_open_orders]
    if ordered and stopped:
        # Only a bot that manages its trades cancels.
        await _stop_entries(bot)
    for trade_id in ordered:
        await bot.cancel(trade_id)
    if not ordered and not stopped:
        await bot.command("stop")
    return stopped and not ordered


def _is_complaint(response: Response) -> bool:
    """Tell the bot's own 502 and 503 from those of a proxy that does not reach it."""
    if response.status not in {502, 503}:
        return False
    try:
        complaint = response.decode(_Complaint)
    except EgressError:
        return False
    if response.status == 502:
        return complaint.error is not None and complaint.error.startswith("Error querying")
    return complaint.detail == "Bot is not in the correct state."


async def _greet(bot: _Bot, reading: Reading) -> Reading:
    response = await bot.ping()
    # A proxy may ask for the bot's own credential on every route, this one included.
    if response.status != 401:
        check_pong(response)
    return msgspec.structs.replace(reading, reachable=True, latency_ms=response.latency_ms)


async def _read_config(bot: _Bot, reading: Reading, *, timed: bool = False) -> tuple[Reading, _Config]:
    response = await bot.get("show_config")
    if _is_complaint(response):
        raise ReadFailure(Reason.HTTP_ERROR, "The bot cannot tell its state now.", reachable=True)
    config = accepted(response, _Config)
    # Web server mode has no trader and says so by an empty state.
    state = word(config.state or "webserver")
    reading = msgspec.structs.replace(
        reading,
        reachable=True,
        credential_ok=True,
        trading_state="paused" if _silently_paused(config) else state,
        simulated=config.dry_run,
        version=label(config.version),
        currency=label(config.stake_currency, 16),
        latency_ms=response.latency_ms if timed else reading.latency_ms,
    )
    return reading, config


async def _read_loop(bot: _Bot, reading: Reading, config: _Config, now: datetime) -> Reading:
    health = await bot.ask_if_possible("health", _Health)
    if health is None:
        return reading
    return msgspec.structs.replace(
        reading,
        loop_age_s=age(moment(health.last_process_ts), now),
        identity=_identity(config.bot_name, health.bot_start_ts),
        started_at=moment(health.bot_startup_ts),
    )


def _identity(bot_name: str | None, bot_start: Decimal | None) -> str | None:
    """Name and first start: two processes hardly share both, two addresses of one process always do."""
    first_start = moment(bot_start)
    if first_start is None:
        return None
    return f"freqtrade:{label(bot_name) or ''}@{int(first_start.timestamp())}"


async def _read_performance(bot: _Bot, reading: Reading, until: float) -> Reading:
    """What needs prices waits for the exchange once the bot has forgotten them. It has told its state by then: a
    silence here is its exchange's, and says no more than that the figures are not known now.
    """
    told = _Figures()
    whole = await all_told(_ask_figures(bot, told), until)
    missing = [name for name in ("positions", "profit", "balance") if getattr(told, name) is None]
    detail = f"It did not tell just now, and so unknown: {', '.join(missing)}." if missing else None
    return _with_figures(msgspec.structs.replace(reading, full=whole and not missing, detail=detail), told)


async def _ask_figures(bot: _Bot, told: _Figures) -> None:
    """What the bot knows by itself comes first: after a call that waits for the exchange in vain no other is made."""
    counted = await bot.ask_if_possible("count", _Count)
    if counted is not None:
        told.positions = counted.current
    else:
        # While stopped only the long list answers.
        told.trades = await bot.ask_if_possible("status", list[_Trade])
        told.positions = None if told.trades is None else len(told.trades)
    told.profit = await bot.ask_if_possible("profit", _Profit)
    told.balance = await bot.ask_if_possible("balance", _Balance)
    priced = told.profit is not None and told.profit.profit_all_coin is not None
    if priced and told.trades is None and told.balance is not None and _in_orders(told.balance):
        told.trades = await bot.ask_if_possible("status", list[_Trade])


def _with_figures(reading: Reading, told: _Figures) -> Reading:
    profit, balance = told.profit, told.balance
    reading = msgspec.structs.replace(reading, open_positions=count(told.positions))
    if balance is not None:
        reading = msgspec.structs.replace(reading, capital_base=amount(balance.starting_capital))
    if profit is None:
        return reading
    realized, together = amount(profit.profit_closed_coin), amount(profit.profit_all_coin)
    managed = None if together is None or balance is None else amount(balance.total_bot)
    waiting = None if balance is None else _waiting(balance, told.trades)
    closed_trades = count(profit.closed_trade_count)
    return msgspec.structs.replace(
        reading,
        realized_profit=realized,
        open_profit=None if realized is None or together is None else together - realized,
        equity=None if managed is None or waiting is None else amount(managed + waiting),
        closed_trades=closed_trades,
        # Before the first closed trade the bot says 0, which would read as "lost them all".
        win_rate=share(profit.winrate) if closed_trades else None,
        max_drawdown=share(profit.max_drawdown),
    )


def _in_orders(balance: _Balance) -> bool:
    """Whether some of its stake currency is in orders, of the bot or of others, in spot trading."""
    holdings = balance.currencies
    used = any(holding.currency == balance.stake and holding.used for holding in holdings)
    return used and not any(holding.is_position for holding in holdings)


def _waiting(balance: _Balance, trades: Sequence[_Trade] | None) -> Decimal | None:
    """Stake currency in the bot's own open orders to buy, in spot trading; None where that cannot be told now."""
    if not _in_orders(balance):
        return Decimal(0)
    if trades is None:
        return None
    orders = [order for trade in trades for order in trade.orders if order.is_open and order.ft_order_side == "buy"]
    total = Decimal(0)
    for order in orders:
        remaining, price = amount(order.remaining), amount(order.safe_price)
        if remaining is None or price is None:
            return None
        total += remaining * price
    return total
