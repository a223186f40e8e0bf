"""Limits of attempts that hold across replicas: counted in PostgreSQL, one row a subject, no lock that all share.

The algorithm is the generic cell rate algorithm (ITU-T I.371): ``burst`` attempts at once, then one each
``each_s`` seconds. A subject (an account, an address) is kept as a digest. Counting happens in a transaction of its
own, so that a request that fails is counted all the same.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from datetime import timedelta

import msgspec
from sqlalchemy import text

from control_plane.database.sessions import Database
from control_plane.errors import AppError

_TAKE = text("select take_attempt(:rule, :subject, :each, :burst)")
_WAIT = text("select attempt_wait(:rule, :subject, :each, :burst)")
_FORGET = text("select forget_attempts(:rule, :subject)")


class TooManyAttemptsError(AppError):
    """Too often in too short a time. ``Retry-After`` tells when to try again, in seconds."""

    status, code, title = 429, "too_many_attempts", "Too many attempts"

    def __init__(self, retry_after_s: int) -> None:
        super().__init__(
            f"too many attempts: try again in {retry_after_s} s", headers={"Retry-After": str(retry_after_s)}
        )
        self.retry_after_s = retry_after_s


class Rule(msgspec.Struct, frozen=True):
    """``burst`` attempts at once, then one each ``each_s`` seconds. ``name`` is stable: it is kept in the database."""

    name: str
    each_s: float
    burst: int


async def take(database: Database, rule: Rule, subject: str) -> None:
    """Count one attempt of ``subject``. Raises :class:`TooManyAttemptsError` where it has none left."""
    await _ask(database, rule, subject, _TAKE)


async def check(database: Database, rule: Rule, subject: str) -> None:
    """As :func:`take` without counting: for rules that count failures alone."""
    await _ask(database, rule, subject, _WAIT)


async def forget(database: Database, rule: Rule, subject: str) -> None:
    """Give ``subject`` its whole allowance back, as after a success."""
    async with database.anonymous() as session:
        await session.execute(_FORGET, {"rule": rule.name, "subject": _digest(subject)})


async def _ask(database: Database, rule: Rule, subject: str, statement: object) -> None:
    values = {
        "rule": rule.name,
        "subject": _digest(subject),
        "each": timedelta(seconds=rule.each_s),
        "burst": rule.burst,
    }
    async with database.anonymous() as session:
        wait: timedelta | None = await session.scalar(statement, values)
    if wait is not None:
        raise TooManyAttemptsError(math.ceil(wait.total_seconds()))


def network_of(address: str | None) -> str:
    """What counts as one address: a whole /64 of IPv6, which one subscriber commonly holds; ``unknown`` for none."""
    if address is None:
        return "unknown"
    parsed = ipaddress.ip_address(address)
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)


def _digest(subject: str) -> bytes:
    return hashlib.sha256(subject.encode()).digest()
