"""What waits to be written: a look that says nothing new is not, unless what is written would grow old."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import msgspec
import pytest

from agents.engines.base import Reading
from agents.poller.buffer import Buffer
from agents.poller.check import BUDGET_S
from agents.poller.decide import decide
from agents.poller.facts import Bot, Health, Outcome
from agents.poller.intervals import Pace
from agents.poller.unit_value import Figures, Mark
from agents.poller.waiting import Change, Result, Snapshot, changes_of
from agents.poller.watched import Watched
from control_plane.bots.kinds import LONGEST_LOOK_S

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
WELL = Reading(reachable=True, credential_ok=True, full=False, latency_ms=1.0, trading_state="running", loop_age_s=0.5)
ONE = Decimal(1)
PACE = Pace(check_s=2.0, reading_s=8.0, check=timedelta(seconds=2))


class Looks:
    """Looks at one bot, each handed on."""

    def __init__(self, pace: Pace = PACE) -> None:
        self.buffer = Buffer(100)
        self.watched = Watched()
        self.watched.bot = Bot(
            id=uuid4(), tenant_id=uuid4(), hosted=False, engine="tradewise", desired="running", status="connected",
            reason=None, generation=1, told_generation=1, api_url="http://bot.example:8080",
        )  # fmt: skip
        self.watched.shard = 1
        self.watched.pace = pace
        self.watched.health = Health(
            state="healthy", observed_at=NOW - timedelta(seconds=2), healthy_at=NOW - timedelta(seconds=2),
            credential_ok=True, trading_state="running", observed_generation=1,
        )  # fmt: skip
        self.at = NOW

    def look(self, reading: Reading = WELL, *, urgent: bool = False, after_s: float = 2.0, **outcome: Any) -> int:
        """How many bots are written for a look that comes ``after_s`` after the last one."""
        watched = self.watched
        decision = decide(
            watched.bot, watched.health, Outcome(reading=reading, observed_at=self.at, **outcome), watched.pace.check
        )
        result = Result(
            watched,
            1,
            watched.bot,
            watched.health,
            decision,
            reading,
            urgent,
            full=reading.full,
        )
        watched.health = decision.health
        self.at += timedelta(seconds=after_s)
        self.buffer.put(result)
        return len(self.buffer.take())


def test_what_repeats_is_written_before_it_is_old_and_not_each_time() -> None:
    looks = Looks()
    assert [looks.look() for _ in range(8)] == [1, 0, 0, 1, 0, 0, 1, 0]


def test_looks_that_come_seldom_are_all_written() -> None:
    looks = Looks(Pace(check_s=15.0, reading_s=60.0, check=timedelta(seconds=15)))
    assert [looks.look(after_s=15.0) for _ in range(4)] == [1] * 4


def test_looks_that_come_very_often_are_old_after_three() -> None:
    looks = Looks(Pace(check_s=0.5, reading_s=2.0, check=timedelta(seconds=0.5)))
    assert [looks.look(after_s=0.5) for _ in range(7)] == [1, 0, 0, 1, 0, 0, 1]


@pytest.mark.parametrize(
    ("reading", "more"),
    [
        (msgspec.structs.replace(WELL, trading_state="paused"), {}),
        (msgspec.structs.replace(WELL, version="2.0"), {}),
        (msgspec.structs.replace(WELL, reachable=False, credential_ok=None), {"reason": "unreachable", "detail": "x"}),
        (msgspec.structs.replace(WELL, full=True, currency="USDT", equity=Decimal(1)), {}),
        (WELL, {"urgent": True}),
    ],
    ids=["its trading", "a fact", "a failure", "figures", "somebody waits"],
)
def test_anything_new_is_written_at_once(reading: Reading, more: dict[str, Any]) -> None:
    looks = Looks()
    assert (looks.look(), looks.look()) == (1, 0)
    assert looks.look(reading, **more) == 1


def test_where_an_older_one_still_waits_the_newest_is_what_is_written() -> None:
    looks = Looks()
    buffer, watched = looks.buffer, looks.watched
    for _ in range(2):
        decision = decide(watched.bot, watched.health, Outcome(reading=WELL, observed_at=looks.at), PACE.check)
        buffer.put(Result(watched, 1, watched.bot, watched.health, decision, WELL, full=WELL.full))
        watched.health = decision.health
        looks.at += timedelta(seconds=2)
    [waiting] = buffer.take()
    assert waiting.result.decision.health.observed_at == NOW + timedelta(seconds=2)


def test_without_room_figures_go_before_changes_and_oldest_first() -> None:
    looks = Looks()
    buffer = Buffer(3)
    states = ("running", "running", "paused", "running", "stopped", "stopped")
    for state in states:
        reading = msgspec.structs.replace(WELL, full=True, equity=ONE, trading_state=state)
        watched = looks.watched
        decision = decide(watched.bot, watched.health, Outcome(reading=reading, observed_at=looks.at), PACE.check)
        buffer.put(Result(watched, 1, watched.bot, watched.health, decision, reading, full=True))
        watched.health = decision.health
        looks.at += timedelta(seconds=2)
    assert (buffer.rows, buffer.dropped) == (3, 6)
    buffer.give_back(buffer.take())
    [waiting] = buffer.take()
    assert [change.trading_state for change in waiting.changes] == ["paused", "running", "stopped"]
    assert not waiting.snapshots
    assert waiting.history == waiting.changes


@pytest.mark.parametrize("given_back", [False, True])
def test_where_no_room_is_for_changes_either_the_oldest_is_told_as_unknown(given_back: bool) -> None:
    looks = Looks()
    buffer, watched = Buffer(1), looks.watched
    for state in ("paused", "running", "stopped"):
        reading = msgspec.structs.replace(WELL, trading_state=state)
        decision = decide(watched.bot, watched.health, Outcome(reading=reading, observed_at=looks.at), PACE.check)
        buffer.put(Result(watched, 1, watched.bot, watched.health, decision, reading))
        watched.health = decision.health
        looks.at += timedelta(seconds=2)
        if given_back:
            buffer.give_back(buffer.take())
    assert buffer.dropped == 2
    [waiting] = buffer.take()
    told = sorted((change.at, change.state, change.trading_state) for change in waiting.history)
    assert told == [(NOW, "unknown", None), (NOW + timedelta(seconds=4), "healthy", "stopped")]


def settled(*readings: dict[str, Any]) -> list[tuple[Decimal | None, bool]]:
    """The index after each of some full readings of one bot, and whether its counters were seen to begin anew."""
    watched, seen = Watched(), []
    watched.mark = None
    for told in readings:
        figures = {"currency": "USDT", "capital_base": Decimal(1000), "closed_trades": 0} | told
        snapshot = Snapshot(NOW, msgspec.structs.replace(WELL, full=True, **figures), anew=False)
        snapshot.settle(watched)
        seen.append((snapshot.value, snapshot.reset is not None))
    return seen


def worth(equity: int | None, tally: int | None, **more: Any) -> dict[str, Any]:
    return {"equity": None if equity is None else Decimal(equity), "tally": tally, **more}


def test_a_tally_that_fell_is_a_reset_where_no_closed_trade_tells_of_one() -> None:
    seen = settled(worth(1500, 3000), worth(1000, 0), worth(1100, 7))
    assert seen == [(ONE, False), (ONE, True), (Decimal("1.1"), False)]


def test_a_tally_that_is_unknown_for_a_while_is_remembered() -> None:
    seen = settled(worth(1500, 3000), worth(1500, None), worth(1000, 2), worth(1000, 2))
    assert seen == [(ONE, False), (ONE, False), (ONE, True), (ONE, False)]


@pytest.mark.parametrize("tallies", [(None, None), (3000, None), (None, 0), (3000, 3000), (3000, 3001)])
def test_without_a_tally_that_fell_a_loss_is_a_loss(tallies: tuple[int | None, int | None]) -> None:
    first, second = tallies
    assert settled(worth(1500, first), worth(750, second)) == [(ONE, False), (Decimal("0.5"), False)]


def test_both_counters_that_fell_are_one_reset() -> None:
    seen = settled(worth(1500, 3000, closed_trades=7), worth(1000, 0), worth(1000, 0))
    assert seen == [(ONE, False), (ONE, True), (ONE, False)]


@pytest.mark.parametrize("between", [True, None])
def test_money_that_is_made_up_and_real_money_are_two_stories(between: bool | None) -> None:
    seen = settled(
        worth(1500, None, simulated=True),
        worth(1500, None, simulated=between),
        worth(200, None, capital_base=Decimal(200), simulated=False),
        worth(220, None, capital_base=Decimal(200), simulated=False),
    )
    assert seen == [(ONE, False), (ONE, False), (ONE, False), (Decimal("1.1"), False)]


class Places:
    """Full readings of one bot, of generations, addresses and databases of their own."""

    def __init__(self, identity: str | None = None) -> None:
        self.looks = Looks()
        self.watched.mark, self.watched.tells = None, True
        self.watched.health = msgspec.structs.replace(self.watched.health, identity=identity)

    @property
    def watched(self) -> Watched:
        return self.looks.watched

    def reads(
        self,
        equity: int,
        identity: str | None,
        generation: int = 1,
        url: str = "http://bot.example:8080",
        **figures: Any,
    ) -> tuple[Decimal | None, bool]:
        """The index, and whether an event is told."""
        looks, watched = self.looks, self.watched
        watched.bot = msgspec.structs.replace(watched.bot, generation=generation, told_generation=1, api_url=url)
        told = {"currency": "USDT", "capital_base": Decimal(1000)} | figures
        reading = msgspec.structs.replace(WELL, full=True, identity=identity, equity=Decimal(equity), **told)
        decision = decide(watched.bot, watched.health, Outcome(reading=reading, observed_at=looks.at), PACE.check)
        looks.buffer.put(Result(watched, 1, watched.bot, watched.health, decision, reading, full=True))
        watched.health = decision.health
        looks.at += timedelta(seconds=2)
        if not looks.buffer.rows:
            return None, False
        [waiting] = looks.buffer.take()
        for snapshot in waiting.snapshots:
            snapshot.settle(watched)
        return waiting.snapshots[-1].value, waiting.snapshots[-1].reset is not None


ELSEWHERE = "http://other.example:8080"


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (("a", 1), ("b", 2), False),
        (("a", 1), ("b", 2, ELSEWHERE), False),
        (("a", 1), ("a", 2, ELSEWHERE), True),
        (("a", 1), ("a", 2), True),
        ((None, 1), (None, 2, ELSEWHERE), False),
        ((None, 1), ("b", 2, ELSEWHERE), False),
        (("a", 1), (None, 2, ELSEWHERE), False),
        ((None, 1), (None, 2), True),
        ((None, 1), ("b", 2), True),
        (("a", 1), (None, 2), True),
    ],
)
def test_a_bot_that_was_pointed_elsewhere_is_another_story_and_no_event(
    first: tuple[Any, ...], second: tuple[Any, ...], same: bool
) -> None:
    places = Places()
    assert places.reads(1500, *first, closed_trades=3) == (ONE, False)
    # Fewer trades are told where it is another bot's counter: nobody is to wonder.
    trades = 3 if same else 1
    assert places.reads(750, *second, closed_trades=trades) == (Decimal("0.5") if same else ONE, False)
    assert places.reads(1500, *second, closed_trades=trades) == (ONE if same else Decimal(2), False)


def test_what_a_bot_was_is_known_though_it_did_not_answer_elsewhere_at_first() -> None:
    places = Places()
    assert places.reads(1500, "a") == (ONE, False)
    looks, watched = places.looks, places.watched
    watched.bot = msgspec.structs.replace(watched.bot, generation=2)
    silent = msgspec.structs.replace(WELL, reachable=False, credential_ok=None)
    looks.look(silent, reason="unreachable")
    assert watched.health.identity is None
    assert places.reads(750, "b", 2) == (ONE, False)
    # Another database under the same generation is an event.
    assert places.reads(300, "c", 2) == (ONE, True)


def test_what_its_row_says_of_an_older_generation_is_what_a_bot_was() -> None:
    places = Places("a")
    figures = Figures(
        currency="USDT", equity=Decimal(1500), capital_base=Decimal(1000), closed_trades=None, simulated=None
    )
    places.watched.mark = Mark(figures=figures, unit_value=Decimal(3))
    assert places.reads(750, "b", 2) == (Decimal(3), False)


def test_a_reading_from_elsewhere_that_has_no_room_is_not_forgotten() -> None:
    places = Places()
    assert places.reads(1500, "a") == (ONE, False)
    places.looks.buffer = Buffer(0)
    assert places.reads(750, "b", 2) == (None, False)
    places.looks.buffer = Buffer(100)
    assert places.reads(700, "b", 2) == (ONE, False)
    places.looks.buffer = Buffer(1)
    assert places.reads(1400, "b", 2) == (Decimal(2), False)


@pytest.mark.parametrize("tallies", [(3000, 0, 1), (None, None, None)])
def test_a_reset_seen_while_the_equity_is_unknown_is_no_loss_later(tallies: tuple[int | None, ...]) -> None:
    # More trades than before the reset by the time that the equity is known again.
    seen = settled(
        worth(1500, tallies[0], closed_trades=2),
        worth(None, tallies[1], closed_trades=0),
        worth(1000, tallies[2], closed_trades=3),
        worth(1100, tallies[2], closed_trades=3),
    )
    assert seen == [(ONE, False), (None, True), (ONE, False), (Decimal("1.1"), False)]


@pytest.mark.parametrize(
    ("interval_s", "apart_s", "gap_at_s"),
    [(15, 45, None), (15, 46, 30), (60, 180, None), (60, 181, 120), (1, 4, None), (1, 21, None), (1, 22, 2)],
)
def test_a_gap_is_where_nobody_looked_and_not_where_a_look_was_waited_for(
    interval_s: int, apart_s: int, gap_at_s: int | None
) -> None:
    before = Health(state="unhealthy", reason="timeout", observed_at=NOW)
    after = msgspec.structs.replace(before, observed_at=NOW + timedelta(seconds=apart_s))
    gap = []
    if gap_at_s is not None:
        gap = [
            Change(NOW + timedelta(seconds=gap_at_s), "unknown", None, None),
            Change(NOW + timedelta(seconds=apart_s), "unhealthy", "timeout", None),
        ]
    assert changes_of(before, after, timedelta(seconds=interval_s)) == gap
    assert LONGEST_LOOK_S == BUDGET_S
