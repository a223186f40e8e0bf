"""One call for many, whatever becomes of those who wait for it."""

from __future__ import annotations

import asyncio
import time

import pytest

from agents.egress import EgressError
from agents.engines.shared import FIGURES_S, Shared, all_told, key_of, no_older_than
from agents.poller.check import BUDGET_S
from control_plane.security.addresses import parse_bot_url

KEY, OTHER = b"one", b"other"


class Source:
    """Counts how often it is asked, and answers when it is told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.cancelled = 0
        self.open = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self) -> int:
        self.asked += 1
        number = self.asked
        try:
            await self.open.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.error is not None:
            raise self.error
        return number


async def test_those_who_ask_together_get_one_answer_and_those_who_ask_later_another() -> None:
    shared, source = Shared[int](fresh_for_s=0.0), Source()
    waiting = [asyncio.create_task(shared.get(KEY, source)) for _ in range(5)]
    await asyncio.sleep(0)
    source.open.set()
    assert await asyncio.gather(*waiting) == [1] * 5
    assert await shared.get(KEY, source) == 2


async def test_a_fresh_answer_serves_the_next_and_only_for_its_own_key() -> None:
    shared, source = Shared[int](fresh_for_s=60.0), Source()
    source.open.set()
    assert [await shared.get(key, source) for key in (KEY, KEY, OTHER, KEY)] == [1, 1, 2, 1]
    shared.forget(KEY)
    assert await shared.get(KEY, source) == 3


async def test_a_failure_reaches_all_who_wait_and_nobody_after() -> None:
    shared, source = Shared[int](fresh_for_s=60.0), Source()
    source.error = ValueError("no")
    waiting = [asyncio.create_task(shared.get(KEY, source)) for _ in range(3)]
    await asyncio.sleep(0)
    source.open.set()
    assert [type(outcome) for outcome in await asyncio.gather(*waiting, return_exceptions=True)] == [ValueError] * 3
    source.error = None
    assert await shared.get(KEY, source) == 2


async def test_whoever_gives_up_takes_nothing_from_the_others() -> None:
    shared, source = Shared[int](fresh_for_s=60.0), Source()
    first, second = (asyncio.create_task(shared.get(KEY, source)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    source.open.set()
    assert (await second, source.cancelled) == (1, 0)


async def test_a_call_that_nobody_waits_for_ends() -> None:
    shared, source = Shared[int](fresh_for_s=60.0), Source()
    only = asyncio.create_task(shared.get(KEY, source))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    only.cancel()
    with pytest.raises(asyncio.CancelledError):
        await only
    await asyncio.sleep(0)
    assert source.cancelled == 1
    source.open.set()
    assert await shared.get(KEY, source) == 2


async def test_what_was_asked_before_a_change_is_not_kept_after_it() -> None:
    shared, source = Shared[int](fresh_for_s=60.0), Source()
    before = asyncio.create_task(shared.get(KEY, source))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    shared.forget(KEY)
    after = asyncio.create_task(shared.get(KEY, source))
    await asyncio.sleep(0)
    source.open.set()
    assert (await before, await after) == (1, 2)
    assert await shared.get(KEY, source) == 2


async def test_who_wants_nothing_older_than_a_moment_is_told_what_was_asked_since() -> None:
    shared, source = Shared[int](fresh_for_s=60.0), Source()
    source.open.set()
    before = time.monotonic()
    assert await shared.get(KEY, source) == 1
    with no_older_than(before):
        assert await shared.get(KEY, source) == 1
    with no_older_than(time.monotonic()):
        assert await shared.get(KEY, source) == 2
    # And what they were told serves the others.
    assert await shared.get(KEY, source) == 2


async def test_who_wants_nothing_older_waits_for_no_answer_that_is_on_its_way_since_before() -> None:
    shared, source = Shared[int](fresh_for_s=60.0), Source()
    early = asyncio.create_task(shared.get(KEY, source))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    with no_older_than(time.monotonic()):
        late = [asyncio.create_task(shared.get(KEY, source)) for _ in range(2)]
        await asyncio.sleep(0)
    source.open.set()
    assert (await early, await asyncio.gather(*late)) == (1, [2, 2])
    assert await shared.get(KEY, source) == 2


def test_keys_tell_origins_and_credentials_apart_and_hold_none() -> None:
    one, other = parse_bot_url("http://a:8080"), parse_bot_url("http://a:8080/b")
    keys = {key_of(one, "u", "p"), key_of(other, "u", "p"), key_of(one, "up", ""), key_of(one, "u", None), key_of(one)}
    assert len(keys) == 5
    assert key_of(one, "u", "p") == key_of(one, "u", "p")


def test_what_a_look_can_do_without_ends_before_the_look_does() -> None:
    # With room for a bot of ours that is asked again while it starts.
    assert FIGURES_S + 2.0 < BUDGET_S


@pytest.mark.parametrize(("error", "all_came"), [(None, True), (EgressError("timeout", "late"), False)])
async def test_calls_are_made_until_one_is_not_answered_in_time(error: EgressError | None, all_came: bool) -> None:
    async def calls() -> None:
        if error is not None:
            raise error

    assert await all_told(calls(), asyncio.get_running_loop().time() + 5.0) is all_came
    assert await all_told(asyncio.Event().wait(), asyncio.get_running_loop().time() + 0.01) is False


async def test_whatever_else_becomes_of_calls_is_told() -> None:
    async def broken() -> None:
        raise EgressError("bad_payload", "no JSON")

    with pytest.raises(EgressError):
        await all_told(broken(), asyncio.get_running_loop().time() + 5.0)
    # The look's own end is no end of its figures.
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await all_told(asyncio.Event().wait(), asyncio.get_running_loop().time() + 5.0)
