"""Engines of third parties, as agents ask them: what they tell is a reading as ours are, or is told as none."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Hashable
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

import structlog

from agents.egress import EgressError, GuardedClient, MeansExhausted
from agents.engines.asking import Asking, EndedError, StuckError
from agents.engines.base import Action, Engine, ReadFailure, Reading, Reason, Standing, failure_of
from agents.engines.values import amount, count, label, share, word
from control_plane.bots.kinds import LONGEST_REST_S
from control_plane.engines.family import Family
from control_plane.security.addresses import BotUrl

_LONGEST_DETAIL: Final = 500
_LONGEST_IDENTITY: Final = 128
_NOTHING: Final = Reading(reachable=False, credential_ok=None, full=False)


class _Kind(NamedTuple):
    """What a field has to be, and how it is brought to what is kept of it. None is always taken where it may stand."""

    types: tuple[type, ...]
    wanted: str
    keep: Callable[[Any], Any] = lambda value: value
    needed: bool = False


def _seconds(value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise ValueError
    return value


def _aware(value: datetime) -> datetime:
    if value.utcoffset() is None:
        raise ValueError
    return value


_FLAG: Final = _Kind((bool,), "true or false")
_TIME_TAKEN: Final = _Kind((int, float), "a number of at least zero", _seconds)
_AMOUNT: Final = _Kind((Decimal,), "a Decimal of at most sixteen digits before the point", amount)
_SHARE: Final = _Kind((Decimal,), "a Decimal", share)
_COUNT: Final = _Kind((int,), "a count", count)
_KINDS: Final[dict[str, _Kind]] = {
    "reachable": _FLAG._replace(needed=True),
    "credential_ok": _FLAG,
    "full": _FLAG._replace(needed=True),
    "reason": _Kind((Reason,), "a Reason"),
    "detail": _Kind((str,), "a text", lambda text: label(text, _LONGEST_DETAIL)),
    "retry_after_s": _TIME_TAKEN._replace(keep=lambda value: min(_seconds(value), LONGEST_REST_S)),
    "latency_ms": _TIME_TAKEN,
    "trading_state": _Kind((str,), "a word", word),
    "loop_age_s": _TIME_TAKEN,
    "simulated": _FLAG,
    "version": _Kind((str,), "a text", label),
    "identity": _Kind((str,), "a text", lambda text: label(text, _LONGEST_IDENTITY)),
    "started_at": _Kind((datetime,), "an aware time", _aware),
    "loop_interval_s": _TIME_TAKEN,
    "currency": _Kind((str,), "a text", lambda text: label(text, 16)),
    "equity": _AMOUNT,
    "capital_base": _AMOUNT,
    "realized_profit": _AMOUNT,
    "open_profit": _AMOUNT,
    "win_rate": _SHARE,
    "max_drawdown": _SHARE,
    "closed_trades": _COUNT,
    "open_positions": _COUNT,
    "tally": _COUNT,
}


class Foreign:
    """Stands before an engine of a plug-in. Ours are asked as they are: what they tell is held by their own tests."""

    def __init__(self, engine: Engine[Any, Any], family: Family) -> None:
        self.family = family
        self._engine = engine
        self._asking = Asking()

    def shared_key(self, base_url: BotUrl, credential: Any, config: Any) -> Hashable | None:
        """As the engine says."""
        return self._engine.shared_key(base_url, credential, config)

    async def check(
        self, client: GuardedClient, base_url: BotUrl, credential: Any, config: Any, *, now: datetime
    ) -> Reading:
        """Its short look. Raises `MeansExhausted` alone."""
        return await self._told(base_url, lambda: self._engine.check(client, base_url, credential, config, now=now))

    async def read(
        self, client: GuardedClient, base_url: BotUrl, credential: Any, config: Any, *, now: datetime
    ) -> Reading:
        """Its full look. Raises as `check`."""
        return await self._told(base_url, lambda: self._engine.read(client, base_url, credential, config, now=now))

    async def control(
        self, client: GuardedClient, base_url: BotUrl, credential: Any, config: Any, action: Action
    ) -> None:
        """As the engine does it."""
        await self._asking.of(base_url, lambda: self._engine.control(client, base_url, credential, config, action))

    async def drain(self, client: GuardedClient, base_url: BotUrl, credential: Any, *, close: bool) -> None:
        """As the engine does it."""
        await self._asking.of(base_url, lambda: self._engine.drain(client, base_url, credential, close=close))

    async def drained(self, client: GuardedClient, base_url: BotUrl, credential: Any, *, close: bool) -> Standing:
        """As the engine says."""
        told = await self._asking.of(base_url, lambda: self._engine.drained(client, base_url, credential, close=close))
        if not isinstance(told, Standing):
            raise TypeError("the engine of a plug-in told no standing")
        return told

    async def _told(self, base_url: BotUrl, ask: Callable[[], Awaitable[Any]]) -> Reading:
        name = self.family.name
        try:
            return _sound(await _answer(lambda: self._asking.of(base_url, ask)), name)
        except MeansExhausted:
            raise  # of this machine, whoever's engine it was
        except StuckError:
            return _broken(f"The engine {name} does not end an earlier look that was given up.")
        except Exception as error:  # noqa: BLE001 - a stranger's code may raise anything
            # Only the kind and the place are told, because the rest may hold what it was asked with.
            raised = error.raised if isinstance(error, EndedError) else error
            kind = type(raised).__name__
            structlog.get_logger("engines").error("engine_failed", engine=name, error=kind, at=_place(raised))
            return _broken(f"The engine {name} failed, and told nothing: {kind}.")


async def _answer(ask: Callable[[], Awaitable[Any]]) -> Any:
    """What the engine tells, or raises as our own raise within."""
    try:
        return await ask()
    except ReadFailure as failure:
        return _NOTHING.failed(failure)
    except EgressError as error:
        return _NOTHING.failed(failure_of(error))
    except TimeoutError:
        detail = "The bot answered too slowly to be read."
        return _NOTHING.failed(ReadFailure(Reason.TIMEOUT, detail, reachable=False))


def _place(error: BaseException) -> str | None:
    """The file, line and function that raised, for whoever has to mend the plug-in; no value of theirs is in it."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return None
    code = last.tb_frame.f_code
    return f"{Path(code.co_filename).name}:{last.tb_lineno} in {code.co_name}"


def _sound(told: object, engine: str) -> Reading:
    """The reading with every value as it is kept; one that names the first field that is of another kind."""
    if not isinstance(told, Reading):
        return _broken(f"The engine {engine} told no reading.")
    kept: dict[str, Any] = {}
    for name, kind in _KINDS.items():
        value = getattr(told, name)
        if value is None and not kind.needed:
            continue
        try:
            kept[name] = kind.keep(_of_kind(value, kind))
        except (ReadFailure, ValueError, ArithmeticError):
            detail = f"The engine {engine} told a reading whose {name} is not {kind.wanted}."
            ok = told.credential_ok if isinstance(told.credential_ok, bool) else None
            return Reading(
                reachable=told.reachable is True, credential_ok=ok, full=False, reason=Reason.BAD_PAYLOAD, detail=detail
            )
    return Reading(**({"credential_ok": None} | kept))


def _of_kind(value: object, kind: _Kind) -> object:
    # A truth value is an int to Python, and no number to anybody.
    if not isinstance(value, kind.types) or (isinstance(value, bool) and bool not in kind.types):
        raise ValueError
    return value


def _broken(detail: str) -> Reading:
    return _NOTHING.failed(ReadFailure(Reason.BAD_PAYLOAD, detail, reachable=False))
