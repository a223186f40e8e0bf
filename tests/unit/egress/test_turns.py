"""Turns: never more than there are, never one left unused while somebody could use it, never one lost."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from agents.egress import EgressError
from agents.egress.deadlines import Deadlines
from agents.egress.turns import Turns

PER_HOST, PER_TENANT, TOTAL = 2, 3, 4


class Caller:
    """One call: waits for its turn, holds it until told to end."""

    def __init__(self, turns: Turns, host: str, tenant: str | None) -> None:
        self.host, self.tenant = host, tenant
        self.holds = False
        self.over = asyncio.Event()
        self.task = asyncio.create_task(self._run(turns))

    async def _run(self, turns: Turns) -> None:
        if not turns.take(self.host, self.tenant):
            await turns.wait(self.host, self.tenant)
        self.holds = True
        try:
            await self.over.wait()
        finally:
            self.holds = False
            turns.give(self.host, self.tenant)


async def settled() -> None:
    """Let every task that can run do so."""
    for _ in range(6):
        await asyncio.sleep(0)


def check(callers: list[Caller]) -> None:
    """The limits hold, and nobody waits without a reason."""
    holding = [caller for caller in callers if caller.holds]
    waiting = [caller for caller in callers if not caller.holds and not caller.task.done()]
    hosts = Counter(caller.host for caller in holding)
    tenants = Counter(caller.tenant for caller in holding if caller.tenant)
    assert len(holding) <= TOTAL
    assert max(hosts.values(), default=0) <= PER_HOST
    assert max(tenants.values(), default=0) <= PER_TENANT
    for caller in waiting:
        full = hosts[caller.host] == PER_HOST or (caller.tenant and tenants[caller.tenant] == PER_TENANT)
        assert full or len(holding) == TOTAL
    pairs = {(caller.host, caller.tenant) for caller in waiting}
    for pair in pairs:
        # Among those who want the same, who came first goes first.
        alike = [c for c in callers if (c.host, c.tenant) == pair and not c.task.done()]
        assert [c.holds for c in alike] == sorted((c.holds for c in alike), reverse=True)


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("call"), st.sampled_from("abc"), st.sampled_from(["one", "two", None])),
        st.tuples(st.sampled_from(["end", "cancel", "cancel while ending"]), st.integers(0, 30), st.none()),
    ),
    max_size=40,
)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    """A loop for all examples."""
    with asyncio.Runner() as runner:
        yield runner


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
def test_turns_are_used_up_never_exceeded_and_never_lost(
    runner: asyncio.Runner, steps: list[tuple[str, str | int, str | None]]
) -> None:
    async def scenario() -> None:
        deadlines = Deadlines(60.0)
        turns = Turns(per_host=PER_HOST, per_tenant=PER_TENANT, total=TOTAL, deadlines=deadlines)
        callers: list[Caller] = []
        for kind, which, tenant in steps:
            if isinstance(which, str):
                callers.append(Caller(turns, which, tenant))
            elif callers:
                caller = callers[which % len(callers)]
                if kind != "cancel":
                    caller.over.set()
                if kind == "cancel while ending":
                    await asyncio.sleep(0)
                if kind != "end":
                    # Also at the moment when a turn was just granted to somebody who does not know yet.
                    callers[(which + 1) % len(callers)].task.cancel()
            await settled()
            check(callers)
        for caller in callers:
            caller.over.set()
        await asyncio.gather(*(caller.task for caller in callers), return_exceptions=True)
        assert (turns._hosts.taken, turns._tenants.taken, len(turns._queue), len(deadlines)) == ({}, {}, 0, 0)
        assert turns._free == TOTAL
        deadlines.close()

    runner.run(scenario())


async def test_who_waits_in_vain_for_a_host_is_told_and_takes_nothing_along() -> None:
    deadlines = Deadlines(0.1)
    turns = Turns(per_host=1, per_tenant=1, total=2, deadlines=deadlines)
    assert turns.take("a", "one")
    results = await asyncio.gather(
        *(turns.wait(*wish) for wish in (("a", "two"), ("b", "one"), ("a", None))), return_exceptions=True
    )
    assert [isinstance(result, EgressError) and result.code for result in results] == ["timeout"] * 3
    turns.give("a", "one")
    assert turns.take("a", "two")
    assert turns.take("b", "one")
    assert not turns.take("c", None)


async def test_a_tenant_that_waits_for_itself_keeps_no_host_from_another() -> None:
    deadlines = Deadlines(5.0)
    turns = Turns(per_host=1, per_tenant=1, total=9, deadlines=deadlines)
    assert turns.take("a", "one")
    waiting = [asyncio.create_task(turns.wait("shared", "one")) for _ in range(5)]
    await settled()
    assert turns.take("shared", "two")
    turns.give("a", "one")
    await settled()
    assert not any(task.done() for task in waiting)
    turns.give("shared", "two")
    await settled()
    assert [task.done() for task in waiting] == [True, False, False, False, False]
    for task in waiting[1:]:
        task.cancel()
    await asyncio.gather(*waiting, return_exceptions=True)
    turns.give("shared", "one")
    assert (turns._hosts.taken, turns._tenants.taken) == ({}, {})
    deadlines.close()


async def test_deadlines_end_who_waits_and_spare_who_was_forgotten() -> None:
    ended = asyncio.Event()
    told = []

    class Waiter:
        deadline = 0.0

        def __init__(self, name: str) -> None:
            self.name = name

        def expire(self) -> None:
            told.append(self.name)
            if self.name == "last":
                ended.set()

    deadlines = Deadlines(0.05)
    waiters = [Waiter(name) for name in ("first", "forgotten", "last")]
    for waiter in waiters:
        deadlines.watch(waiter)
    deadlines.forget(waiters[1])
    async with asyncio.timeout(5):
        await ended.wait()
    assert told == ["first", "last"]
    assert len(deadlines) == 0
    # The timer went with the last of them, and comes back for the next.
    ended.clear()
    deadlines.watch(waiters[2])
    async with asyncio.timeout(5):
        await ended.wait()
