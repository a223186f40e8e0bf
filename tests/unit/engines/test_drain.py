"""Each family winds down in its own words; what counts as evidence is the same."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from agents.egress import EgressError, GuardedClient
from agents.engines.base import DrainRefused, ReadFailure, Standing
from agents.engines.freqtrade import FreqtradeEngine
from agents.engines.tradewise import TradewiseEngine
from control_plane.security.addresses import parse_bot_url
from control_plane.security.credentials import FreqtradeCredential, TradewiseCredential
from tests.servers.bot_server import BotServer
from tests.servers.freqtrade_server import FreqtradeServer
from tests.servers.loopback import json_reply
from tests.unit.egress.support import LOOPBACK
from tests.unit.engines.support import Always, paths


@pytest.fixture
async def client() -> AsyncIterator[GuardedClient]:
    async with GuardedClient.for_hosted(LOOPBACK) as made:
        yield made


async def ours(client: GuardedClient, server: BotServer, *, close: bool, ask: bool = True) -> Standing:
    engine, url, credential = TradewiseEngine(), parse_bot_url(server.url), TradewiseCredential(server.token)
    if ask:
        await engine.drain(client, url, credential, close=close)
    return await engine.drained(client, url, credential, close=close)


async def theirs(client: GuardedClient, server: FreqtradeServer, *, close: bool, looks: int = 3) -> list[Standing]:
    """What each of some looks after asking once tells."""
    engine, url = FreqtradeEngine(), parse_bot_url(server.url)
    credential = FreqtradeCredential(server.username, server.password)
    await engine.drain(client, url, credential, close=close)
    return [await engine.drained(client, url, credential, close=close) for _ in range(looks)]


@pytest.mark.parametrize("close", [False, True])
async def test_our_own_is_asked_once_and_tells_what_is_open(client: GuardedClient, close: bool) -> None:
    async with BotServer() as server:
        standing = await ours(client, server, close=close)
        assert standing == Standing(open_orders=0, open_positions=0 if close else 1, settled=True)
        assert server.draining == ("close" if close else "keep")
        assert [request.method for request in server.requests] == ["POST", "GET"]


async def test_our_own_is_still_at_it(client: GuardedClient) -> None:
    async with BotServer() as server:
        server.drains = False
        assert await ours(client, server, close=False) == Standing(open_orders=2, open_positions=1, settled=False)


async def test_a_bot_that_nobody_asked_is_no_evidence(client: GuardedClient) -> None:
    async with BotServer() as server:
        assert not (await ours(client, server, close=False, ask=False)).settled


async def test_an_older_bot_makes_no_new_entries_at_least(client: GuardedClient) -> None:
    async with BotServer() as server:
        server.api_version = "1.0"
        with pytest.raises(DrainRefused):
            await ours(client, server, close=False)
        assert server.trading_state == "paused"


@pytest.mark.parametrize(
    ("status", "told"), [(401, ReadFailure), (500, ReadFailure), (503, ReadFailure), (405, DrainRefused)]
)
async def test_an_older_bot_that_was_not_paused_either_is_not_said_to_be(
    client: GuardedClient, status: int, told: type[Exception]
) -> None:
    async with BotServer() as server:
        server.api_version = "1.0"
        server.overrides["pause"] = json_reply({"detail": "no"}, status)
        with pytest.raises(told) as refused:
            await ours(client, server, close=False)
        assert server.trading_state == "running"
        assert paths(server) == ["drain", "pause"]
    assert "no new entries" not in str(refused.value)


async def test_a_changed_token_is_told(client: GuardedClient) -> None:
    async with BotServer() as server:
        with pytest.raises(ReadFailure) as failure:
            await TradewiseEngine().drain(
                client, parse_bot_url(server.url), TradewiseCredential("another-token"), close=False
            )
    assert failure.value.credential_ok is False


async def test_a_closed_port_is_told(client: GuardedClient) -> None:
    async with BotServer() as server:
        await server.close_port()
        with pytest.raises(EgressError):
            await ours(client, server, close=False)


async def test_freqtrade_cancels_then_stops_and_keeps_its_positions(client: GuardedClient) -> None:
    async with FreqtradeServer() as server:
        server.ordered = {2, 4}
        looks = await theirs(client, server, close=False)
        assert server.trading_state == "stopped"
        assert server.open_trades == 5
    assert [look.open_orders for look in looks] == [2, 0, 0]
    assert [look.settled for look in looks] == [False, False, True]
    assert looks[-1].open_positions == 5


async def test_an_order_of_freqtrades_that_came_between_is_cancelled_as_well(client: GuardedClient) -> None:
    async with FreqtradeServer() as server:
        looks = await theirs(client, server, close=False, looks=1)
        server.ordered = {1}
        looks += await theirs(client, server, close=False, looks=3)
    assert [look.open_orders for look in looks] == [0, 1, 0, 0]
    assert [look.settled for look in looks] == [False, False, False, True]


async def test_freqtrade_closes_its_positions_where_that_is_asked(client: GuardedClient) -> None:
    async with FreqtradeServer() as server:
        server.ordered = {1}
        [look] = await theirs(client, server, close=True, looks=1)
        assert server.trading_state == "paused"
    assert look == Standing(open_orders=0, open_positions=0, settled=True)
    assert [request.json() for request in server.requests if request.path.endswith("forceexit")] == [{"tradeid": "all"}]


async def test_an_exit_of_freqtrades_that_nobody_takes_is_no_evidence(client: GuardedClient) -> None:
    async with FreqtradeServer() as server:
        server.exits_fill = False
        [look] = await theirs(client, server, close=True, looks=1)
    assert (look.open_orders, look.open_positions) == (5, 5)


async def test_a_freqtrade_that_its_owner_stopped_is_not_started_for_nothing(client: GuardedClient) -> None:
    async with FreqtradeServer() as server:
        server.trading_state = "stopped"
        [look] = await theirs(client, server, close=False, looks=1)
        assert server.trading_state == "stopped"
        assert look == Standing(open_orders=0, open_positions=5, settled=True)
        server.ordered = {3}
        looks = await theirs(client, server, close=False)
        assert server.trading_state == "stopped"
        assert (looks[-1].open_orders, looks[-1].settled) == (0, True)
        [look] = await theirs(client, server, close=True, looks=1)
        assert look.open_positions == 0


async def test_an_older_freqtrade_knows_the_older_name(client: GuardedClient) -> None:
    async with FreqtradeServer(api_version=2.4) as server:
        looks = await theirs(client, server, close=False)
        assert "/api/v1/stopentry" in {request.path for request in server.requests}
    assert looks[-1].settled


@pytest.mark.parametrize("status", [404, 405])
async def test_a_freqtrade_that_knows_no_such_route_cannot_wind_down(client: GuardedClient, status: int) -> None:
    async with Always(json_reply({"detail": "no"}, status)) as server:
        credential = FreqtradeCredential("freqtrader", "correct-horse")
        with pytest.raises(DrainRefused, match="no way to stop its entries"):
            await FreqtradeEngine().drain(client, parse_bot_url(server.url), credential, close=True)
    assert paths(server) == ["stopentry", "stopbuy"]


async def test_a_freqtrade_without_a_trader_cannot_be_asked(client: GuardedClient) -> None:
    async with FreqtradeServer() as server:
        server.trading_state = ""
        with pytest.raises(ReadFailure):
            await theirs(client, server, close=False)
