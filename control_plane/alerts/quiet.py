"""Quiet hours: until when a message is held back. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import msgspec


class Quiet(msgspec.Struct, frozen=True):
    """From when until when, by the clocks of a time zone, people are left in peace; the two are never the same."""

    start: time
    end: time
    zone: str


def quiet_until(quiet: Quiet | None, now: datetime) -> datetime | None:
    """The end of the quiet hours that ``now`` lies in, None outside of them.

    A window that runs over midnight belongs to the day it begins on. Where clocks are changed within it, its ends are
    still what the clocks say; an end that the clocks leave out comes when they have passed it.
    """
    if quiet is None:
        return None
    zone = ZoneInfo(quiet.zone)
    today = now.astimezone(zone).date()
    for day in (today - timedelta(days=1), today):
        last = day if quiet.start < quiet.end else day + timedelta(days=1)
        begins = datetime.combine(day, quiet.start, zone).astimezone(UTC)
        ends = datetime.combine(last, quiet.end, zone).astimezone(UTC)
        if begins <= now < ends:
            return ends
    return None
