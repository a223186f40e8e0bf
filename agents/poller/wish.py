"""What a wish about a bot's trading comes to after one look at the bot. Pure: no clock, no I/O."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

import msgspec

from agents.engines.base import Reason
from control_plane.bots.kinds import CONFIRM_WITHIN_S

NOT_CONFIRMED: Final = "not_confirmed"
CONTROL_REFUSED: Final = "control_refused"
SUPERSEDED: Final = "superseded"

ASK_AGAIN_AFTER_S: Final = 10.0
MOST_ATTEMPTS: Final = 4
#: What a bot was asked so long ago has shown by now, or will not.
SETTLED_AFTER_S: Final = 30.0
#: The rest of a bot that asks for fewer calls and does not say for how long.
REST_S: Final = 10.0
_STANDS: Final = f"{CONFIRM_WITHIN_S:.0f}"


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What the row says: which state is wanted, since when, and how often the bot was asked."""

    wanted: str
    generation: int | None = None
    """Of the bot that was meant: another one is not asked. None in rows of before this was noted."""
    asked: int
    requested_by: str | None
    requested_at: datetime
    attempts: int
    tried_at: datetime | None
    unsettled_at: datetime | None = None
    """When the bot was last asked for what an earlier wish wanted, and was not seen to do it: it may do so yet."""


class Seen(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at the bot gave, begun after the row was read. None is unknown, which is no evidence."""

    state: str | None
    problem: str | None = None
    """Why it told nothing, in words."""
    hopeless: str | None = None
    """The reason, where asking would not help: refused credentials, an address that we may not call."""
    after_asking: bool = False
    """The look began after the bot had taken the command that the wish needs, from this process."""
    hangs: bool = False
    """It was waited for in vain: what it is asked now it may do whenever it goes on, long after nobody wants it."""
    rest_s: float | None = None
    """It is to be left alone for so many seconds: it asked for fewer calls."""


class Step(StrEnum):
    """What to do next."""

    CONFIRM = "confirm"
    GIVE_UP = "give_up"
    ASK = "ask"
    WAIT = "wait"


def judge(wish: Wish, seen: Seen, now: datetime) -> Step:
    """What a wish comes to after one look. Pure. Evidence counts whenever it comes; nothing is asked after the end.

    A state that is wanted is no evidence while the bot may still do what it was asked before, for another wish: then it
    is asked first, and what it shows after that counts.
    """
    if seen.state == wish.wanted and (seen.after_asking or _settled(wish, now)):
        return Step.CONFIRM
    # Nothing can be seen before its rest is over.
    if seen.hopeless is not None or now + _rest(seen) >= wish.requested_at + timedelta(seconds=CONFIRM_WITHIN_S):
        return Step.GIVE_UP
    if seen.hangs or seen.rest_s is not None:
        return Step.WAIT
    if wish.tried_at is None:
        return Step.ASK
    again = wish.attempts < MOST_ATTEMPTS and now - wish.tried_at >= timedelta(seconds=ASK_AGAIN_AFTER_S)
    return Step.ASK if again else Step.WAIT


def _rest(seen: Seen) -> timedelta:
    return timedelta(seconds=seen.rest_s or 0.0)


def reason_of(seen: Seen) -> str:
    """The reason with which a wish is given up after a look."""
    return seen.hopeless or (Reason.RATE_LIMITED.value if seen.rest_s is not None else NOT_CONFIRMED)


def _settled(wish: Wish, now: datetime) -> bool:
    return wish.unsettled_at is None or now - wish.unsettled_at >= timedelta(seconds=SETTLED_AFTER_S)


def overtaken(wish: Wish, generation: int | None, desired: str) -> str | None:
    """Why a bot is not to be asked any more, by what its row says now (a generation of None: it has none)."""
    if generation is None:
        return "The bot was removed, or its tenant suspended, before its trading was asked."
    if desired != "running":
        return "The bot was stopped before its trading was."
    if wish.generation is not None and wish.generation != generation:
        return "The bot was changed before its trading was."
    return None


def words(wish: Wish, seen: Seen, problem: str | None) -> str:
    """Why a wish was given up, for who wished it."""
    asked = "It was never asked" if not wish.attempts else f"It was asked {_times(wish.attempts)}"
    if seen.hopeless is not None:
        return seen.problem or f"{asked}."
    if seen.rest_s is not None:
        return f"{asked}: it is to be left alone for {seen.rest_s:.0f} more seconds, and a wish stands for {_STANDS}."
    if seen.state is not None:
        return f"{asked}, and its trading was {seen.state} {_STANDS} seconds after the wish. {problem or ''}".rstrip()
    unseen = "and could not be looked at afterwards" if wish.attempts else "because it could not be looked at"
    return f"{asked}, {unseen}. {problem or seen.problem or ''}".rstrip()


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count} times")
