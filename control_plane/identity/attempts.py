"""One attempt to prove who one is: let in under the limits, judged, and counted whatever becomes of the request.

The count is taken before the password is looked at and given back afterwards, so that attempts at once cannot outrun
it. While as many are under way as may fail, the next one waits for them; nobody waits for another account's.
"""

from __future__ import annotations

import asyncio
import hashlib
import math
import random
import time
from datetime import timedelta
from types import TracebackType
from typing import Self
from uuid import UUID

from sqlalchemy import text
from uuid_utils.compat import uuid7

from control_plane.audit.notes import note_person
from control_plane.database.sessions import Database
from control_plane.errors import AppError
from control_plane.identity.limits import FAILURES_OF_ACCOUNT, FAILURES_OF_NETWORK, LOCKOUT, account_of
from control_plane.security.limits import TooManyAttemptsError, check, network_of, take

_ADMIT = text("select sign_in_admit(:account, :network, :free)")
_SETTLE = text("select sign_in_settle(:account, :network, :good, :free, :longest)")
_FORGIVE = text("select sign_in_forgive(:account)")
_LOOK_EVERY_S = 0.1
_WAIT_S = 15.0


class WrongCredentialError(AppError):
    """What was given does not prove it. Raised inside an :class:`Attempt`, it is counted."""

    status, code, title = 401, "wrong_credential", "That did not match"


class Attempt:
    """``async with`` around the whole of proving who one is: password, and a second factor where there is one.

    Entering raises :class:`TooManyAttemptsError` where the account is locked, right password or not. Leaving it well
    forgives earlier failures; leaving it with :class:`WrongCredentialError` counts one; any other error counts nothing.
    Set :attr:`user_id` as soon as it is known whose account it is, for the log.
    """

    def __init__(self, database: Database, email: str, address: str | None) -> None:
        self.user_id: UUID | None = None
        self._database = database
        self._address = address
        self._account, self._network = account_of(email), network_of(address)
        self._row = {"account": _digest(self._account), "network": _digest(self._network), "free": LOCKOUT.free}

    async def __aenter__(self) -> Self:
        await self._check()
        deadline = time.monotonic() + _WAIT_S
        while (wait := await self._admit()) is not None:
            if wait:
                raise TooManyAttemptsError(math.ceil(wait.total_seconds()))
            if time.monotonic() > deadline:
                raise TooManyAttemptsError(1)
            await asyncio.sleep(_LOOK_EVERY_S * random.uniform(0.5, 1.5))  # noqa: S311 - only to spread who asks
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            await self._succeeded()
        elif isinstance(error, WrongCredentialError):
            await self._failed()
        elif isinstance(error, Exception):
            await self._settle(good=None)

    async def _admit(self) -> timedelta | None:
        async with self._database.anonymous() as session:
            wait: timedelta | None = await session.scalar(_ADMIT, self._row)
        return wait

    async def _settle(self, *, good: bool | None) -> timedelta | None:
        values = {**self._row, "good": good, "longest": timedelta(seconds=LOCKOUT.longest_s)}
        async with self._database.anonymous() as session:
            locked: timedelta | None = await session.scalar(_SETTLE, values)
        return locked

    async def _check(self) -> None:
        await check(self._database, FAILURES_OF_NETWORK, self._network)
        await check(self._database, FAILURES_OF_ACCOUNT, self._account)

    async def _succeeded(self) -> None:
        try:
            # Again: of many attempts at once, those that were judged before this one count against it.
            await self._check()
        except TooManyAttemptsError:
            await self._settle(good=None)
            raise
        await self._settle(good=True)

    async def _failed(self) -> None:
        locked = await self._settle(good=False)
        try:
            # Where the allowance is used up they refuse, and who is refused is not told whether it was right.
            await take(self._database, FAILURES_OF_NETWORK, self._network)
            await take(self._database, FAILURES_OF_ACCOUNT, self._account)
        finally:
            # After the answer: writing it takes longer where there is somebody to write about.
            self._database.afterwards(self._note(locked))

    async def _note(self, locked: timedelta | None) -> None:
        # For an account that nobody has, the same is done about a person who is not there.
        person = self.user_id or uuid7()
        async with self._database.anonymous(address=self._address) as session:
            await note_person(session, person, "sign_in.failed")
            if locked is not None:
                await note_person(session, person, "sign_in.locked", detail={"seconds": round(locked.total_seconds())})


async def forgive(database: Database, email: str) -> None:
    """Forget the failures of an account, from every network: its owner has shown by mail that it is theirs."""
    async with database.anonymous() as session:
        await session.execute(_FORGIVE, {"account": _digest(account_of(email))})


def _digest(subject: str) -> bytes:
    return hashlib.sha256(subject.encode()).digest()
