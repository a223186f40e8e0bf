"""Any bot that answers JSON: the calls and paths that its owner declared (`control_plane/engines/http.py`)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final, Self

import msgspec

from agents.egress import Authorization, EgressError, GuardedClient, Response
from agents.engines.base import ControlRefused, Outside, ReadFailure, Reading, Reason, accepted, failure_of
from agents.engines.values import age, amount, count, label, moment, share, word
from control_plane.engines.http import FAMILY, HttpConfig, HttpCredential
from control_plane.engines.http_fields import AMOUNTS, CountField, FlagField, NumberField, TimeField, WordField
from control_plane.engines.json_path import Path, look_up, parse
from control_plane.security.addresses import BotUrl

_LONGEST_NUMBER: Final = 64

_steps = lru_cache(maxsize=4096)(parse)
#: A number in a text. `Decimal` takes more: underscores between digits, the digits of every script.
_NUMBER: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class _Fraction(Decimal):
    """A number with a point or an exponent: every digit that was sent, and how it was written."""

    __slots__ = ("written",)
    written: str

    def __new__(cls, written: str) -> Self:
        made = super().__new__(cls, written)
        made.written = written
        return made


_DOCUMENT: Final = msgspec.json.Decoder(float_hook=_Fraction)


class HttpEngine(Outside):
    """Reads bots by declaration."""

    family = FAMILY

    async def check(
        self, client: GuardedClient, base_url: BotUrl, credential: HttpCredential, config: HttpConfig, *, now: datetime
    ) -> Reading:
        """The first call, and those that tell the state; with all that is declared of their answers."""
        return await _look(client, base_url, credential, config, now, full=False)

    async def read(
        self, client: GuardedClient, base_url: BotUrl, credential: HttpCredential, config: HttpConfig, *, now: datetime
    ) -> Reading:
        """Every call; ends where one fails."""
        return await _look(client, base_url, credential, config, now, full=True)

    async def control(self, *_: object) -> None:
        """Always refused: nothing is declared that does anything."""
        raise ControlRefused("A bot that is read by declaration can only be read.")


async def _look(
    client: GuardedClient, url: BotUrl, credential: HttpCredential, config: HttpConfig, now: datetime, *, full: bool
) -> Reading:
    reading = Reading(reachable=False, credential_ok=None, full=False)
    answers: dict[str, Any] = {}
    try:
        for name in _calls(config, full=full):
            response = await _call(client, url, config.calls[name], credential, config)
            answers[name] = _document(response, name)
            if not reading.reachable:
                reading = msgspec.structs.replace(
                    reading, reachable=True, credential_ok=True, latency_ms=response.latency_ms
                )
        return _with_fields(msgspec.structs.replace(reading, full=full), answers, config, now)
    except EgressError as error:
        return reading.failed(failure_of(error))
    except ReadFailure as failure:
        return reading.failed(failure)


def _calls(config: HttpConfig, *, full: bool) -> list[str]:
    """The first one, and all others or those of the state: without it a short look would take back, each time, what a
    full one told."""
    fields = (config.fields.trading_state, config.fields.last_loop_at)
    wanted = config.calls if full else {field.call for field in fields if field is not None}
    leading = config.leading
    return [leading, *(name for name in config.calls if name in wanted and name != leading)]


async def _call(
    client: GuardedClient, url: BotUrl, path: str, credential: HttpCredential, config: HttpConfig
) -> Response:
    auth = None
    if config.auth == "basic":
        auth = Authorization.basic(credential.username or "", credential.password or "")
    elif config.auth == "bearer":
        auth = Authorization.bearer(credential.token or "")
    elif config.auth == "header":
        auth = Authorization.under(config.header or "Authorization", credential.token or "")
    return await client.get_json(url, path, auth=auth)


def _document(response: Response, name: str) -> Any:
    raw = accepted(response, msgspec.Raw)
    try:
        return _DOCUMENT.decode(raw)
    except (ValueError, ArithmeticError, RecursionError):
        detail = f"The answer to the call {name} is not valid JSON."
        raise ReadFailure(Reason.BAD_PAYLOAD, detail, reachable=True) from None


def _with_fields(reading: Reading, answers: Mapping[str, Any], config: HttpConfig, now: datetime) -> Reading:
    """What is declared of the answers that are there."""
    first = config.leading
    found: dict[str, Any] = {}
    missing: list[str] = []
    for name, field in config.mapped.items():
        constant = getattr(field, "value", None)
        if constant is None and (field.call or first) not in answers:
            continue
        told = constant if constant is not None else look_up(answers[field.call or first], _path(field.path))
        if told is None:
            missing.append(name)
        found[name] = None if told is None else _value(name, field, told)
    if "last_loop_at" in found:
        found["loop_age_s"] = age(found.pop("last_loop_at"), now)
    if found.get("currency") is None:
        # An amount of nobody knows what is no amount.
        found |= dict.fromkeys(AMOUNTS)
    detail = f"Not in the bot's answer, and so unknown: {', '.join(missing)}." if missing and reading.full else None
    return msgspec.structs.replace(reading, detail=detail, **found)


def _path(text: str | None) -> Path:
    return _steps(text or "")


def _value(name: str, field: object, told: Any) -> Any:
    """What was found, as the field's own kind of value. Raises `ReadFailure` naming the field where it cannot be."""
    if isinstance(field, NumberField):
        number = _number(name, told)
        number = number if field.scale is None else number * field.scale
        return amount(number) if name in AMOUNTS else share(number)
    if isinstance(field, CountField):
        number = _number(name, told)
        if number != number.to_integral_value():
            raise _unfit(name, "a whole number")
        return count(int(number))
    if isinstance(field, TimeField):
        return _time(name, field, told)
    if isinstance(field, FlagField):
        return _flag(name, field, told)
    text = _text(name, told)
    if isinstance(field, WordField):
        return (field.words or {}).get(text) or word(text)
    return label(text, 16 if name == "currency" else 64)


def _number(name: str, told: Any) -> Decimal:
    """A number, or a text that is one; of a size that arithmetic stays cheap with."""
    if isinstance(told, bool) or not isinstance(told, int | Decimal | str):
        raise _unfit(name, "a number")
    if isinstance(told, str):
        told = told.strip()
        if len(told) > _LONGEST_NUMBER or not _NUMBER.fullmatch(told):
            raise _unfit(name, "a number")
    try:
        number = Decimal(told)
    except (ArithmeticError, ValueError):
        raise _unfit(name, "a number") from None
    if not number.is_finite() or number.adjusted() > _LONGEST_NUMBER:
        raise _unfit(name, "a number that can be")
    return number


def _time(name: str, field: TimeField, told: Any) -> datetime | None:
    if field.unit == "text":
        try:
            at = datetime.fromisoformat(told) if isinstance(told, str) else None
        except ValueError:
            at = None
        if at is None:
            raise _unfit(name, "a time such as 2026-11-26T17:00:00Z")
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at
    number = _number(name, told)
    return moment(number / 1000 if field.unit == "ms" else number)


def _flag(name: str, field: FlagField, told: Any) -> bool:
    if field.words is not None:
        meant = field.words.get(_text(name, told))
        if meant is not None:
            return meant
    if isinstance(told, bool):
        return told
    raise _unfit(name, "true or false, or one of its words")


def _text(name: str, told: Any) -> str:
    """A text, a number or a truth value, as the bot wrote it."""
    if isinstance(told, bool):
        return "true" if told else "false"
    if isinstance(told, _Fraction):
        return told.written
    if isinstance(told, str | int | Decimal):
        return str(told)
    raise _unfit(name, "a text")


def _unfit(name: str, wanted: str) -> ReadFailure:
    detail = f"What the configuration names for {name} is not {wanted}: see to its path."
    return ReadFailure(Reason.BAD_PAYLOAD, detail, reachable=True)
