"""What is done about containers that no bot accounts for, and about listings that lack some."""

from __future__ import annotations

from datetime import timedelta

import pytest

from agents.launcher import listing
from agents.launcher.quarantine import Finding, Quarantine, Rules
from agents.launcher.runtimes.base import Observed
from tests.unit.launcher.rows import NOW, ago, copy, seen

OLD = ago(86400)


def orphans(count: int, **more: object) -> list[Observed]:
    return [
        Observed(ref=f"orphan-{number}", state="running", bot_id=None, instance_id=None, created_at=OLD)
        for number in range(count)
    ]


def later(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def test_one_is_told_at_once_and_ended_only_after_its_grace() -> None:
    quarantine, found = Quarantine(Rules(grace=300)), orphans(1)
    first = quarantine.look(found, NOW)
    # However old it is: this launcher has only just come to this database.
    assert (first.news, first.due) == (tuple(found), ())
    assert first.told == {"count": 1, "held": None, "containers": ["orphan-0"]}
    assert quarantine.look(found, NOW + later(299)) == Finding(due=(), news=(), told=first.told)
    assert quarantine.look(found, NOW + later(300)).due == tuple(found)


def test_a_young_one_is_left_alone_by_the_engines_clock_too() -> None:
    quarantine = Quarantine(Rules(grace=300))
    young = [Observed(ref="o", state="running", bot_id=None, instance_id=None, created_at=NOW + later(100))]
    quarantine.look(young, NOW)
    assert not quarantine.look(young, NOW + later(399)).due
    assert quarantine.look(young, NOW + later(400)).due


def test_one_that_comes_back_begins_anew() -> None:
    quarantine, found = Quarantine(Rules(grace=300)), orphans(1)
    quarantine.look(found, NOW)
    assert quarantine.look([], NOW + later(200)) == Finding(due=(), news=(), told=None)
    assert quarantine.look(found, NOW + later(400)).news == tuple(found)


def test_too_many_are_an_alarm_and_never_cleared_away() -> None:
    quarantine, found = Quarantine(Rules(grace=0, limit=5)), orphans(6)
    finding = quarantine.look(found, NOW)
    assert finding.due == ()
    assert finding.told is not None
    assert (finding.told["count"], finding.told["held"], len(finding.told["containers"])) == (6, "too_many", 5)
    assert len(quarantine.look(found[:5], NOW).due) == 5


def test_a_dry_run_ends_nothing() -> None:
    finding = Quarantine(Rules(grace=0, remove=False)).look(orphans(1), NOW)
    assert (finding.due, (finding.told or {})["held"]) == ((), "report_only")


@pytest.mark.parametrize(
    ("live", "gone", "expected"),
    [(1, 1, False), (2, 2, False), (3, 3, True), (6, 3, False), (5, 3, True), (100, 51, True)],
)
def test_a_listing_that_lacks_many_at_once_is_doubtful(live: int, gone: int, expected: bool) -> None:
    copies = [copy(container_id=f"c{number}") for number in range(live)]
    listed = [seen(ref=f"c{number}") for number in range(gone, live)]
    missing = listing.missing(copies, listed)
    assert missing == [f"c{number}" for number in range(gone)]
    assert listing.doubtful(copies, missing) is expected


def test_copies_that_need_not_be_listed_are_not_missed() -> None:
    copies = [copy("creating"), copy("exited"), copy(container_id=None)]
    assert listing.missing(copies, []) == []
