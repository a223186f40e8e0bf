"""A timing wheel: when each bot is due, to a quarter of a second, at a cost that does not grow with their number."""

from __future__ import annotations

from typing import Generic, Protocol, TypeVar

#: Each tick finds the caches cold: at four of them a second a look costs a tenth less than at ten, and who is waited
#: for does not lie here.
TICK_S = 0.25
_NOWHERE = -1


class Timed(Protocol):
    """What can lie in a wheel: it knows where, and a wheel is the only one that writes that."""

    tick: int


T = TypeVar("T", bound=Timed)


class Wheel(Generic[T]):
    """Items by the tick at which they are due. An item lies in one place: put again, it has moved.

    Times are monotonic seconds. Nothing is searched for: what was moved or taken away is passed over when its old tick
    comes. Not more ticks are held than there are different ones ahead.
    """

    def __init__(self, now: float, *, tick_s: float = TICK_S) -> None:
        self._tick_s = tick_s
        self._slots: dict[int, list[T]] = {}
        self._next = int(now / tick_s)

    def put(self, item: T, at: float) -> None:
        """Have ``item`` told by the first advance at or after ``at``, never before."""
        tick = max(self._next, -int(-at // self._tick_s))
        item.tick = tick
        slot = self._slots.get(tick)
        if slot is None:
            self._slots[tick] = [item]
        else:
            slot.append(item)

    def next_at(self, now: float) -> float:
        """When the next tick begins: who advances just then keeps nobody waiting for longer than a tick."""
        return (int(now / self._tick_s) + 1) * self._tick_s

    def take(self, item: T) -> None:
        """Have ``item`` told no more, until it is put again."""
        item.tick = _NOWHERE

    def advance(self, now: float) -> list[T]:
        """Everything that has fallen due since the last time, earliest first, each once."""
        last, due = int(now / self._tick_s), []
        ticks = range(self._next, last + 1)
        # After a long silence there are more ticks behind us than there are slots.
        passed = ticks if len(ticks) <= len(self._slots) else sorted(tick for tick in self._slots if tick <= last)
        for tick in passed:
            for item in self._slots.pop(tick, ()):
                if item.tick == tick:
                    item.tick = _NOWHERE
                    due.append(item)
        self._next = max(self._next, last + 1)
        return due
