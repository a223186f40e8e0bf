"""The hub: each tenant's followers, bounded, with a resync after every gap."""

from __future__ import annotations

import json
from uuid import UUID, uuid4

from control_plane.live.hub import RESYNC, Hub

ADA, BOB, BOT = uuid4(), uuid4(), uuid4()


def say(hub: Hub, tenant: UUID, identity: UUID = BOT) -> None:
    hub._receive("tradewise_observed", json.dumps({"tenant": str(tenant), "kind": "bot", "id": str(identity)}))


async def test_a_change_reaches_every_follower_of_its_tenant_and_no_other() -> None:
    hub = Hub("postgresql://nobody@localhost/none")
    async with hub.follow(ADA) as first, hub.follow(ADA) as second, hub.follow(BOB) as other:
        say(hub, ADA)
        say(hub, uuid4())
        told = first.get_nowait()
        assert (told.kind, told.id) == ("bot", BOT)
        # Made once for all, so that a change costs no statement for each follower.
        assert second.get_nowait() is told
        assert told.position is not None
        assert first.empty()
        assert other.empty()
    assert not hub._followers


async def test_who_is_too_slow_is_told_to_read_everything_again() -> None:
    hub = Hub("postgresql://nobody@localhost/none")
    async with hub.follow(ADA) as slow, hub.follow(ADA) as quick:
        for _ in range(256):
            say(hub, ADA)
            quick.get_nowait()
        say(hub, ADA)
        assert slow.qsize() == 1
        assert slow.get_nowait() == RESYNC
        assert quick.get_nowait().id == BOT


async def test_a_connection_that_stands_again_is_a_gap() -> None:
    hub = Hub("postgresql://nobody@localhost/none")
    async with hub.follow(ADA) as one, hub.follow(BOB) as other:
        hub._resync()
        assert one.get_nowait() == other.get_nowait() == RESYNC


async def test_what_is_no_notification_of_ours_harms_nobody() -> None:
    hub = Hub("postgresql://nobody@localhost/none")
    async with hub.follow(ADA) as queue:
        strange = json.dumps({"tenant": str(ADA), "kind": "bot", "id": "x"})
        for payload in ("", "x", "[]", "{}", '{"tenant": 1}', strange):
            hub._receive("tradewise_observed", payload)
        assert queue.empty()
        say(hub, ADA)
        assert queue.get_nowait().id == BOT
