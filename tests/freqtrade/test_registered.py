"""A real freqtrade that somebody runs, registered by its address: what TradeWise says of it, whatever befalls it.

The published package in a process of its own, trading in simulation on a small exchange of ours; the real application;
the poller as a process. "In time" is `story.py`'s: one look, three looks, or three looks that wait in vain.
"""

from __future__ import annotations

import pytest

from tests.freqtrade.published import PASSWORD, Freqtrade
from tests.freqtrade.story import CONNECTED, ONE_LOOK_S, THREE_LOOKS_S, THREE_WAITS_S, Change, Story
from tests.waiting import until

pytestmark = [pytest.mark.freqtrade]


async def test_it_is_connected_with_what_it_tells_of_itself(story: Story) -> None:
    view = await story.until(lambda shown: shown["latest"] is not None, "figures", within_s=ONE_LOOK_S)
    health = view["health"]
    assert (health["state"], health["trading_state"], health["simulated"]) == ("healthy", "running", True)
    assert (health["version"], health["credential_ok"]) == ("2026.9", True)
    assert health["loop_age_s"] < 5
    latest = view["latest"]
    assert (latest["currency"], latest["open_positions"], latest["closed_trades"]) == ("USDT", 2, 0)
    # Before the first closed trade nobody has won or lost.
    assert latest["win_rate"] is None
    assert float(latest["capital_base"]) == pytest.approx(4950)
    await story.assert_figures_hold()
    await story.assert_never_down()


async def test_stopped_and_started_by_its_own_api_is_told_and_is_nothing_bad(
    story: Story, freqtrade: Freqtrade
) -> None:
    await freqtrade.tell("stop")
    view = await story.until_trading("stopped")
    assert (view["status"], view["health"]["state"], view["health"]["reason"]) == ("connected", "healthy", None)
    await story.until_looked(4, within_s=ONE_LOOK_S)
    assert (await story.view())["health"]["trading_state"] == "stopped"
    await freqtrade.tell("start")
    await story.until_trading("running")
    await story.assert_figures_hold()
    await story.assert_never_down()


async def test_paused_is_told_and_is_nothing_bad(story: Story, freqtrade: Freqtrade) -> None:
    await freqtrade.tell("pause")
    view = await story.until_trading("paused")
    assert (view["status"], view["health"]["state"], view["health"]["reason"]) == ("connected", "healthy", None)
    await story.until_looked(4, within_s=ONE_LOOK_S)
    await freqtrade.tell("start")
    await story.until_trading("running")
    await story.assert_never_down()


async def test_a_reload_closes_the_port_and_changes_nothing_though_somebody_looks_just_then(
    story: Story, freqtrade: Freqtrade
) -> None:
    identity = await story.identity()
    for _ in range(3):
        await freqtrade.tell("reload_config")
        await until(lambda: not freqtrade.listens(), deadline_s=20.0, every_s=0.005, what="the port to close")
        # Looks at a closed port, and says so as it is: this look failed, the bot is not down.
        view = await story.ping()
        assert (view["status"], view["health"]["state"]) == ("connected", "healthy")
        assert view["health"]["reason"] in {None, "unreachable"}
        await until(freqtrade.listens, what="the port to open")
        await freqtrade.until_it_trades()
        await story.until(lambda shown: shown["health"]["failures"] == 0, "a good look", within_s=ONE_LOOK_S)
    assert await story.identity() == identity
    assert await story.told_of_counters() == 0
    await story.assert_figures_hold()
    await story.assert_never_down()


async def test_hung_is_told_after_three_looks_and_so_is_that_it_goes_on(story: Story, freqtrade: Freqtrade) -> None:
    freqtrade.freeze()
    view = await story.until_status("error", "timeout", within_s=THREE_WAITS_S)
    assert (view["health"]["state"], view["health"]["trading_state"]) == ("unhealthy", None)
    # Nobody gets the last words of a bot that hangs as if it had just said them.
    assert view["health"]["loop_age_s"] is None
    freqtrade.thaw()
    view = await story.until_status("connected", within_s=10.0 + THREE_LOOKS_S)
    assert (view["health"]["state"], view["health"]["trading_state"]) == ("healthy", "running")
    assert await story.statuses() == [CONNECTED, Change("error", "timeout"), CONNECTED]
    await story.assert_figures_hold()


async def test_hung_for_less_than_three_looks_is_nothing(story: Story, freqtrade: Freqtrade) -> None:
    freqtrade.freeze()
    await story.until(lambda shown: shown["health"]["failures"] == 1, "a look in vain", within_s=THREE_WAITS_S)
    freqtrade.thaw()
    await story.until(lambda shown: shown["health"]["failures"] == 0, "a good look", within_s=10.0 + ONE_LOOK_S)
    await story.assert_never_down(looks_take_long=True)


async def test_killed_is_told_after_three_looks_and_so_is_that_it_is_back(story: Story, freqtrade: Freqtrade) -> None:
    await freqtrade.kill()
    view = await story.until_status("error", "unreachable", within_s=THREE_LOOKS_S)
    assert (view["health"]["state"], view["health"]["trading_state"]) == ("unhealthy", None)
    assert view["health"]["failures"] >= 3
    await freqtrade.start()
    view = await story.until_status("connected", within_s=THREE_LOOKS_S)
    assert view["health"]["trading_state"] == "running"
    assert await story.statuses() == [CONNECTED, Change("error", "unreachable"), CONNECTED]
    # Its trades were in its database all the time.
    assert await story.told_of_counters() == 0
    await story.assert_figures_hold()


async def test_a_changed_password_is_told_at_once_and_the_new_one_ends_it(story: Story, freqtrade: Freqtrade) -> None:
    freqtrade.password = "another-battery-staple"
    try:
        freqtrade.configure()
        freqtrade.password, new = PASSWORD, freqtrade.password
        await freqtrade.tell("reload_config")
        freqtrade.password = new
        await freqtrade.until_it_trades()
        view = await story.until_status("error", "auth", within_s=ONE_LOOK_S)
        # It answers: it is the credentials that are wrong, not the bot that is away.
        assert (view["health"]["credential_ok"], view["health"]["trading_state"]) == (False, None)
        path = f"/bots/{story.bot_id}"
        await story.person.call("PATCH", path, json={"credentials": freqtrade.credentials}, status=200)
        await story.until_status("connected", within_s=ONE_LOOK_S)
        assert await story.statuses() == [CONNECTED, Change("error", "auth"), CONNECTED]
        assert await story.told_of_counters() == 0
    finally:
        freqtrade.password = PASSWORD
        await freqtrade.start_again()
