"""An engine whose listing is cut short: what it leaves out is not gone."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.faults.recovery import Recovery
from tests.faults.stage import Stage
from tests.servers.engine_proxy import EngineProxy
from tests.waiting import until

pytestmark = pytest.mark.engine

_LISTINGS = 3


@pytest.fixture(scope="module")
async def proxy(engine_url: str) -> AsyncIterator[EngineProxy]:
    """The launcher's way to the engine."""
    with tempfile.TemporaryDirectory(prefix="tw-") as folder:
        async with EngineProxy(Path(folder) / "engine.sock", engine_url) as made:
            yield made


@pytest.fixture(scope="module")
def agents_environ(proxy: EngineProxy) -> Mapping[str, str]:
    """The launcher stands behind that proxy."""
    return {"TRADEWISE_DOCKER_HOST": proxy.url}


@pytest.fixture
async def stage(whole_stage: Stage) -> Stage:
    """The stage with its four bots: they come through every fault of this file."""
    await whole_stage.running(4 - len(await whole_stage.others()))
    return whole_stage


def _listed(proxy: EngineProxy) -> int:
    return sum("/containers/json" in asked for asked in proxy.requests)


@pytest.mark.parametrize("cut", ["empty", "half", "torn"])
async def test_listing_cut_short(stage: Stage, proxy: EngineProxy, recovery: Recovery, cut: str) -> None:
    bots = await stage.others()
    half: Any = {"empty": lambda _: [], "half": lambda whole: whole[::2], "torn": None}[cut]
    then = "what is missing is asked for one by one: nothing is restarted, and nothing made twice"
    with recovery("listing empty, halved or torn", then) as row:
        proxy.shorten, proxy.torn = half, cut == "torn"
        seen = _listed(proxy)
        try:
            await until(partial(lambda wanted: _listed(proxy) >= wanted, seen + _LISTINGS), what="some listings")
            assert await stage.others() == bots
        finally:
            proxy.shorten, proxy.torn = None, False
        row.again()
        await stage.well(bots)
    assert await stage.admin.fetchval("select max(attempt) from bots") == 0


async def test_a_bot_that_ends_while_listings_are_empty_is_started_again(stage: Stage, proxy: EngineProxy) -> None:
    bots = await stage.others([stage.witness])
    proxy.shorten = lambda _: []
    try:
        stage.kill_copy(stage.witness)
        seen = _listed(proxy)
        await until(partial(lambda wanted: _listed(proxy) >= wanted, seen + 2), what="some listings")
    finally:
        proxy.shorten = None
    await stage.well(bots)
