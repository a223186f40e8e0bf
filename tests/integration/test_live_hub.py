"""The hub that fans changes out to the followers of a tenant."""

from __future__ import annotations

import asyncio
from uuid import uuid4

from control_plane.live.hub import END, Change, Hub
from tests.factories import Urls


async def test_followers_are_told_when_the_process_goes_away(urls: Urls) -> None:
    tenant = uuid4()
    async with Hub(urls["api"]) as hub, hub.follow(tenant) as early:
        hub.end()
        async with hub.follow(tenant) as late:
            for queue in (early, late):
                seen: list[Change] = []
                while not seen or seen[-1] is not END:
                    seen.append(await asyncio.wait_for(queue.get(), 5))


async def test_a_follower_that_is_too_slow_is_told_to_read_everything_again(urls: Urls) -> None:
    tenant, payload = uuid4(), '{{"tenant":"{}","kind":"bot","id":"{}"}}'
    async with Hub(urls["api"]) as hub, hub.follow(tenant) as queue:
        for _ in range(1000):
            hub._receive("tradewise_observed", payload.format(tenant, uuid4()))
        kinds = [queue.get_nowait().kind for _ in range(queue.qsize())]
    assert kinds[0] == "resync"
    assert len(kinds) <= 256
