"""When a mail that did not go is tried again. Pure."""

from __future__ import annotations

FIRST_S = 5.0
LONGEST_S = 3600.0
GIVE_UP_AFTER_S = 86400.0


def delay_after(attempts: int, chance: float) -> float:
    """Seconds until the next try after ``attempts`` (at least 1): doubling up to an hour, a fifth more or less.

    ``chance`` from 0 to 1 spreads those that failed together.
    """
    doubled: float = min(FIRST_S * 2 ** min(attempts - 1, 20), LONGEST_S)
    return doubled * (0.8 + 0.4 * chance)


def is_over(age_s: float, *, permanent: bool) -> bool:
    """Whether a mail is given up: it was refused for good, or it is a day old."""
    return permanent or age_s >= GIVE_UP_AFTER_S
