"""Until when people are left in peace: by the clocks of their zone, over midnight and over changes of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from control_plane.alerts.quiet import Quiet, quiet_until

NIGHT = Quiet(time(22), time(7), "Europe/Berlin")
LUNCH = Quiet(time(12), time(13, 30), "America/New_York")


def at(text: str, zone: str = "UTC") -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone)).astimezone(UTC)


@pytest.mark.parametrize(
    ("quiet", "now", "until"),
    [
        pytest.param(None, at("2027-01-10 03:00"), None, id="none"),
        pytest.param(NIGHT, at("2027-01-10 21:59", "Europe/Berlin"), None, id="just-before"),
        pytest.param(
            NIGHT, at("2027-01-10 22:00", "Europe/Berlin"), at("2027-01-11 07:00", "Europe/Berlin"), id="begins"
        ),
        pytest.param(
            NIGHT, at("2027-01-11 06:59", "Europe/Berlin"), at("2027-01-11 07:00", "Europe/Berlin"), id="after-midnight"
        ),
        pytest.param(NIGHT, at("2027-01-11 07:00", "Europe/Berlin"), None, id="over"),
        pytest.param(NIGHT, at("2027-01-10 21:30"), at("2027-01-11 06:00"), id="the-zone-counts-and-not-utc"),
        pytest.param(
            LUNCH, at("2027-07-01 12:30", "America/New_York"), at("2027-07-01 13:30", "America/New_York"), id="by-day"
        ),
        # The night of 28 March 2027 has an hour less, that of 31 October 2027 one more.
        pytest.param(NIGHT, at("2027-03-27 21:30"), at("2027-03-28 05:00"), id="clocks-go-forward"),
        pytest.param(NIGHT, at("2027-10-30 21:30"), at("2027-10-31 06:00"), id="clocks-go-back"),
    ],
)
def test_when_it_is_quiet(quiet: Quiet | None, now: datetime, until: datetime | None) -> None:
    assert quiet_until(quiet, now) == until


zones = st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"])
clocks = st.times().map(lambda value: value.replace(second=0, microsecond=0))
moments = st.datetimes(datetime(2025, 1, 1), datetime(2030, 1, 1)).map(lambda value: value.replace(tzinfo=UTC))  # noqa: DTZ001


@given(clocks, clocks, zones, moments)
def test_every_quiet_hour_ends_within_a_day_and_then_it_is_loud(
    start: time, end: time, zone: str, now: datetime
) -> None:
    assume(start != end)
    quiet = Quiet(start, end, zone)
    until = quiet_until(quiet, now)
    local = now.astimezone(ZoneInfo(zone)).time()
    inside = start <= local < end if start < end else local >= start or local < end
    changed = any(
        ZoneInfo(zone).utcoffset((now + timedelta(hours=hours)).astimezone(ZoneInfo(zone)).replace(tzinfo=None))
        != ZoneInfo(zone).utcoffset(now.astimezone(ZoneInfo(zone)).replace(tzinfo=None))
        for hours in (-26, 26)
    )
    if not changed:
        assert (until is not None) == inside
    if until is not None:
        assert now < until <= now + timedelta(hours=25)
        assert quiet_until(quiet, until) is None or changed
