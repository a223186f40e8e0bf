"""When a mail or a message that did not go is tried again. Pure."""

from __future__ import annotations

from typing import Final

FIRST_S = 5.0
LONGEST_S = 3600.0
GIVE_UP_AFTER_S = 86400.0

#: Seconds after each try of a message to a webhook or a chat: a day in all, then it is given up.
MESSAGE_DELAYS_S: Final = (5, 30, 120, 600, 1800, 3600, 7200, 14400, 28800, 28800)


def delay_after(attempts: int, chance: float) -> float:
    """Seconds until the next try after ``attempts`` (at least 1): doubling up to an hour, a fifth more or less.

    ``chance`` from 0 to 1 spreads those that failed together.
    """
    doubled: float = min(FIRST_S * 2 ** min(attempts - 1, 20), LONGEST_S)
    return doubled * (0.8 + 0.4 * chance)


def is_over(age_s: float, *, permanent: bool) -> bool:
    """Whether a mail is given up: it was refused for good, or it is a day old."""
    return permanent or age_s >= GIVE_UP_AFTER_S


def message_delay(attempts: int, chance: float, asked_s: float | None = None) -> float | None:
    """Seconds until a message is tried again after ``attempts`` (at least 1), a fifth more or less; None: given up.

    ``asked_s`` are those for which the receiver asked not to be called: an hour of it is heeded at most.
    """
    if attempts > len(MESSAGE_DELAYS_S):
        return None
    return max(MESSAGE_DELAYS_S[attempts - 1] * (0.8 + 0.4 * chance), min(asked_s or 0.0, LONGEST_S))
