"""How a copy that trades is stopped: wound down first, then asked to end, then ended by force. Pure: no clock, no I/O.

Everything that decides is in the copy's row: since when it is asked, for what, and what came of it. So a launcher that
takes over, at whatever moment the last one was killed, goes on where that one was.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

import msgspec

from agents.engines.base import Standing

#: What a call to the bot and writing down its answer may take beyond the deadline; after that nothing holds up a stop.
MARGIN_S: Final = 10.0
#: How long a copy may be silent that never answered a check since its start: it hardly has anything to wind down.
SILENT_S: Final = 5.0
#: A bot that refused its configuration never traded (sysexits.h).
_EX_CONFIG: Final = 78
_NEVER_ASKED: Final = (
    "It ended without having been asked to cancel its orders. Look at its exchange account for orders and positions"
    " that are still open."
)


class Drain(msgspec.Struct, frozen=True, kw_only=True):
    """What a copy's row says of its winding down."""

    state: str | None = None
    """`asking` until the bot took the wish, then `asked`; `drained` or `unconfirmed` in the end. None before."""
    positions: str | None = None
    """What it was asked to do with its positions: `keep` or `close`."""
    started_at: datetime | None = None
    answered: bool = False
    """A check found this very copy healthy: so it may have traded."""
    detail: str | None = None
    """What could not be confirmed, for the bot's owner."""


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What a look at a bot that winds down comes to; ``state`` is None where it is to be looked at again."""

    state: str | None = None
    detail: str | None = None


def due(drain: Drain, positions: str, *, forced: bool, now: datetime, deadline_s: float) -> bool:
    """Whether a running copy is to be asked or looked at (again) before it is ended.

    ``positions`` is what shall become of them. Whatever happens, this ends with the deadline and its margin.
    """
    if forced:
        return False
    if drain.started_at is not None and now >= _deadline(drain, deadline_s) + timedelta(seconds=MARGIN_S):
        return False
    if drain.state in {"drained", "unconfirmed"}:
        # Whoever stops a bot for good while it restarts may want more of it than was asked.
        return drain.state == "drained" and (drain.positions, positions) == ("keep", "close")
    return True


def is_done(standing: Standing, positions: str) -> bool:
    """Whether a bot's word is evidence that nothing is left that was to go."""
    return standing.settled and standing.open_orders == 0 and (positions == "keep" or standing.open_positions == 0)


def judge(
    drain: Drain,
    positions: str,
    standing: Standing | None,
    problem: str | None,
    now: datetime,
    deadline_s: float,
    *,
    hopeless: bool = False,
) -> Outcome:
    """What one look came to: ``standing`` is what the bot said, ``problem`` in words why it said nothing.

    ``hopeless``: asking again would change nothing, so waiting for the deadline would not either.
    """
    if standing is not None and is_done(standing, positions):
        return Outcome(state="drained")
    if not hopeless and (drain.started_at is None or now < _deadline(drain, deadline_s)):
        return Outcome()
    return Outcome(state="unconfirmed", detail=unconfirmed_words(positions, standing, problem))


def unconfirmed_words(positions: str, standing: Standing | None, problem: str | None) -> str:
    """What was left unconfirmed, and what its owner can do."""
    what = "its orders are cancelled" if positions == "keep" else "its orders are cancelled and its positions closed"
    if standing is None:
        why = problem or "It did not answer."
    else:
        left = [
            f"{'an unknown number of' if count is None else count} open {name}"
            for name, count, matters in (
                ("orders", standing.open_orders, standing.open_orders != 0),
                ("positions", standing.open_positions, positions == "close" and standing.open_positions != 0),
            )
            if matters
        ]
        why = f"It still had {' and '.join(left)}." if left else "It was still at it."
    return f"It was ended before it confirmed that {what}. {why} Look at its exchange account for what is still open."


def left_unconfirmed(drain: Drain, *, ran: bool, exit_code: int | None) -> tuple[bool | None, str | None]:
    """Whether a copy that has ended may have left orders open, and that in words. None where nobody can say.

    A crash counts as unconfirmed where the copy had answered a check, so that it may have traded; the next copy of the
    bot takes its orders over and the question is void again.
    """
    if drain.state == "drained":
        return False, None
    if not ran or exit_code == _EX_CONFIG or (drain.state is None and not drain.answered):
        return None, None
    return True, drain.detail or _NEVER_ASKED


def seconds(count: float) -> timedelta:
    """``count`` seconds, to move a time of the database's by what passed on our clock since."""
    return timedelta(seconds=count)


def _deadline(drain: Drain, deadline_s: float) -> datetime:
    started = drain.started_at
    if started is None:
        raise ValueError("nothing has a deadline that was not begun")
    return started + timedelta(seconds=deadline_s if drain.answered else min(deadline_s, SILENT_S))
