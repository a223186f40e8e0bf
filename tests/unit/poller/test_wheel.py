"""The timing wheel: nothing early, nothing late by more than a tick, nothing twice, nothing forgotten."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from agents.poller.wheel import Wheel

TICK_S = 0.05
_TIMES = st.floats(0, 200, allow_nan=False)


class Item:
    """Something that is due."""

    def __init__(self) -> None:
        self.tick = -1
        self.at: float | None = None


@given(
    start=st.floats(0, 1e6),
    moves=st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.integers(0, 9), _TIMES),
            st.tuples(st.just("take"), st.integers(0, 9), st.just(0.0)),
            st.tuples(st.just("advance"), st.just(0), st.floats(0, 30)),
        ),
        max_size=60,
    ),
)
def test_every_item_is_told_once_at_its_time(start: float, moves: list[tuple[str, int, float]]) -> None:
    wheel: Wheel[Item] = Wheel(start, tick_s=TICK_S)
    items = [Item() for _ in range(10)]
    now = start
    for move, number, value in [*moves, ("advance", 0, 300.0)]:
        item = items[number]
        if move == "put":
            wheel.put(item, start + value)
            item.at = max(start + value, now)
        elif move == "take":
            wheel.take(item)
            item.at = None
        else:
            now += value
            told = wheel.advance(now)
            assert len(told) == len(set(map(id, told)))
            for one in told:
                # Never before its time; where that was past already, at the next opportunity.
                assert one.at is not None
                assert one.at <= now
                one.at = None
            for left in items:
                assert left.at is None or left.at > now - 2 * TICK_S
    assert all(item.at is None for item in items)


def test_what_is_due_earlier_is_told_earlier_after_a_silence_too() -> None:
    wheel: Wheel[Item] = Wheel(100.0, tick_s=TICK_S)
    items = [Item() for _ in range(50)]
    for number, item in enumerate(items):
        wheel.put(item, 100.0 + (number * 37 % 50))
    told = wheel.advance(1000.0)
    assert [items.index(item) for item in told] == sorted(range(50), key=lambda number: number * 37 % 50)
    assert wheel.advance(2000.0) == []


def test_a_hundred_thousand_cost_no_more_slots_than_there_are_ticks() -> None:
    wheel: Wheel[Item] = Wheel(0.0, tick_s=TICK_S)
    for number in range(100_000):
        wheel.put(Item(), number % 60_000 / 1000)
    assert len(wheel._slots) <= 60 / TICK_S + 1
    told = sum(len(wheel.advance(tick * TICK_S)) for tick in range(1, 1205))
    assert told == 100_000


@given(now=st.floats(0, 1e9))
def test_who_advances_as_a_tick_begins_keeps_nobody_waiting_for_longer_than_a_tick(now: float) -> None:
    wheel: Wheel[Item] = Wheel(now)
    assert now < wheel.next_at(now) <= now + 0.25
    item = Item()
    wheel.put(item, now)
    assert [*wheel.advance(now), *wheel.advance(wheel.next_at(now))] == [item]
