"""Our own bot API (`docs/bot-api.md`): the paper bot that we host, and any bot whose author follows the document."""

from collections.abc import Hashable
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Final

import msgspec

from agents.egress import Authorization, EgressError, GuardedClient
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
from agents.engines.values import age, amount, count, label, share, word
from control_plane.engines.tradewise import FAMILY
from control_plane.security.addresses import BotUrl
from control_plane.security.credentials import TradewiseCredential

_UNREAD = Reading(reachable=False, credential_ok=None, full=False)
_NO_ROUTE: Final = frozenset({404, 405})
_Time = Annotated[datetime, msgspec.Meta(tz=True)]


class _State(msgspec.Struct):
    bot_id: str
    version: str
    trading_state: str
    simulated: bool
    currency: str
    started_at: _Time
    last_tick_at: _Time | None
    tick_interval_seconds: float | None = None


class _Performance(msgspec.Struct):
    currency: str
    simulated: bool
    equity: Decimal | None
    capital_base: Decimal | None
    realized_profit: Decimal | None
    open_profit: Decimal | None
    win_rate: Decimal | None
    max_drawdown: Decimal | None
    closed_trades: int | None
    open_positions: int | None


class _Drain(msgspec.Struct):
    state: str
    open_orders: int | None
    open_positions: int | None


class TradewiseEngine:
    """Reads bots that serve our own API."""

    family = FAMILY

    def shared_key(self, base_url: BotUrl, credential: TradewiseCredential, config: None) -> Hashable | None:  # noqa: ARG002
        """An address is one bot."""
        return None

    async def check(
        self, client: GuardedClient, base_url: BotUrl, credential: TradewiseCredential, config: None, *, now: datetime
    ) -> Reading:
        """State alone: one call."""
        del config
        auth = Authorization.bearer(credential.token)
        try:
            answer = await client.get_json(base_url, "/api/v1/state", auth=auth)
            return _with_state(accepted(answer, _State), now, answer.latency_ms)
        except EgressError as error:
            return _UNREAD.failed(failure_of(error))
        except ReadFailure as failure:
            return _UNREAD.failed(failure)

    async def read(
        self, client: GuardedClient, base_url: BotUrl, credential: TradewiseCredential, config: None, *, now: datetime
    ) -> Reading:
        """Liveness without the credential, then state, then performance; stops where a step fails."""
        del config
        auth = Authorization.bearer(credential.token)
        reading = _UNREAD
        try:
            greeting = await client.get_json(base_url, "/api/v1/ping")
            check_pong(greeting)
            reading = msgspec.structs.replace(reading, reachable=True, latency_ms=greeting.latency_ms)
            state = accepted(await client.get_json(base_url, "/api/v1/state", auth=auth), _State)
            reading = _with_state(state, now, greeting.latency_ms)
            answer = await client.get_json(base_url, "/api/v1/performance", auth=auth)
            return _with_performance(reading, state, accepted(answer, _Performance))
        except EgressError as error:
            return reading.failed(failure_of(error))
        except ReadFailure as failure:
            return reading.failed(failure)

    async def control(
        self, client: GuardedClient, base_url: BotUrl, credential: TradewiseCredential, config: None, action: Action
    ) -> None:
        """One call, which the bot answers with its state."""
        del config
        answer = await client.post_json(
            base_url, f"/api/v1/{action}", None, auth=Authorization.bearer(credential.token)
        )
        if answer.status in _NO_ROUTE:
            raise ControlRefused(f"Its API has no way to {action} its trading.")
        accepted(answer, _State)

    async def drain(
        self, client: GuardedClient, base_url: BotUrl, credential: TradewiseCredential, *, close: bool
    ) -> None:
        """One call. A bot of API 1.0, which has no such route, is at least kept from making new entries."""
        auth = Authorization.bearer(credential.token)
        wish = {"positions": "close" if close else "keep"}
        answer = await client.post_json(base_url, "/api/v1/drain", wish, auth=auth)
        if answer.status in _NO_ROUTE:
            paused = await client.post_json(base_url, "/api/v1/pause", None, auth=auth)
            if paused.status in _NO_ROUTE:
                raise DrainRefused("Its API has no way to wind down, and none to pause its trading.")
            accepted(paused, _State)
            raise DrainRefused("It makes no new entries, but its API (1.0) has no way to cancel its orders.")
        accepted(answer, _Drain)

    async def drained(
        self,
        client: GuardedClient,
        base_url: BotUrl,
        credential: TradewiseCredential,
        *,
        close: bool,  # noqa: ARG002 - the bot was told
    ) -> Standing:
        """What the bot says of itself."""
        auth = Authorization.bearer(credential.token)
        told = accepted(await client.get_json(base_url, "/api/v1/drain", auth=auth), _Drain)
        return Standing(
            open_orders=count(told.open_orders),
            open_positions=count(told.open_positions),
            settled=told.state == "drained",
        )


def _with_state(state: _State, now: datetime, latency_ms: float) -> Reading:
    bot_id = label(state.bot_id)
    return Reading(
        reachable=True,
        credential_ok=True,
        full=False,
        latency_ms=latency_ms,
        trading_state=word(state.trading_state),
        loop_age_s=age(state.last_tick_at, now),
        loop_interval_s=state.tick_interval_seconds,
        simulated=state.simulated,
        version=label(state.version),
        identity=None if bot_id is None else f"tradewise:{bot_id}",
        started_at=state.started_at,
        currency=label(state.currency, 16),
    )


def _with_performance(reading: Reading, state: _State, performance: _Performance) -> Reading:
    if (performance.currency, performance.simulated) != (state.currency, state.simulated):
        detail = "The bot's state and performance name different currencies, or only one is simulated."
        raise ReadFailure(Reason.BAD_PAYLOAD, detail, reachable=True)
    return msgspec.structs.replace(
        reading,
        full=True,
        equity=amount(performance.equity),
        capital_base=amount(performance.capital_base),
        realized_profit=amount(performance.realized_profit),
        open_profit=amount(performance.open_profit),
        win_rate=share(performance.win_rate),
        max_drawdown=share(performance.max_drawdown),
        closed_trades=count(performance.closed_trades),
        open_positions=count(performance.open_positions),
    )
