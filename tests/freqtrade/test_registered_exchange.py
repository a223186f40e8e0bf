"""A real freqtrade that its exchange does not answer: it is not down, and what hangs on prices is not known."""

from __future__ import annotations

import pytest

from tests.freqtrade.place import Place
from tests.freqtrade.published import Freqtrade
from tests.freqtrade.story import CONNECTED, ONE_LOOK_S, Change, Story
from tests.waiting import until

pytestmark = [pytest.mark.freqtrade]


@pytest.mark.parametrize("cut", ["maintenance", "refused"])
async def test_cut_from_its_exchange_is_told_and_not_as_down_and_its_figures_are_unknown(
    story: Story, place: Place, freqtrade: Freqtrade, cut: str
) -> None:
    await story.until(lambda shown: shown["latest"] is not None, "figures", within_s=ONE_LOOK_S)
    if cut == "maintenance":
        place.exchange.maintenance = True
    else:
        await place.exchange.close_port()
    # Remembered prices would do for five minutes: not waited for here.
    freqtrade.forget_prices(True)

    # It answers, and has no prices for what it holds: that is what is wrong with it, and it is not down.
    view = await story.until_status("connected", "exchange_unreachable", within_s=30.0 + 3 * ONE_LOOK_S)
    assert (view["health"]["state"], view["health"]["trading_state"]) == ("unhealthy", "running")
    assert view["health"]["reason"] == "exchange_unreachable"
    assert view["remedy"]
    # What hangs on prices is unknown, and what does not is known all the same.
    view = await story.until(lambda shown: shown["latest"]["equity"] is None, "no equity", within_s=ONE_LOOK_S)
    assert view["latest"]["open_profit"] is None
    assert (float(view["latest"]["realized_profit"]), view["latest"]["open_positions"]) == (0.0, 2)
    await story.until_looked(4, within_s=30.0)
    assert {row["equity"] for row in (await story.snapshots())[-3:]} == {None}
    freqtrade.forget_prices(False)
    if cut == "maintenance":
        place.exchange.maintenance = False
    else:
        await place.exchange.open_port()
    await story.until_status("connected", within_s=60.0 + 2 * ONE_LOOK_S)
    view = await story.until(lambda shown: shown["latest"]["equity"] is not None, "equity", within_s=ONE_LOOK_S)
    assert (view["health"]["state"], view["health"]["reason"]) == ("healthy", None)
    await story.assert_figures_hold()
    # Told once, and once that it is over; never that it is down.
    assert await story.statuses() == [CONNECTED, Change("connected", "exchange_unreachable"), CONNECTED]


@pytest.mark.parametrize("prices", ["remembered", "forgotten"])
async def test_an_exchange_that_is_silent_makes_no_bot_that_is_down(
    story: Story, place: Place, freqtrade: Freqtrade, prices: str
) -> None:
    # Once they are forgotten, whatever needs a price takes as long as the exchange does: for ever.
    freqtrade.forget_prices(prices == "forgotten")
    place.exchange.answering.clear()
    if prices == "forgotten":

        async def waits() -> bool:
            state, profit = await freqtrade.ask("show_config"), await freqtrade.ask("profit", within_s=1.0)
            return state is not None and profit is None

        await until(waits, deadline_s=30.0, what="figures that wait for the exchange")
    await story.until_looked(5, within_s=30.0)
    view = await story.view()
    assert (view["status"], view["health"]["state"]) == ("connected", "healthy")
    assert view["health"]["trading_state"] == "running"
    freqtrade.forget_prices(False)
    place.exchange.answering.set()
    await story.until_looked(3, within_s=30.0)
    await freqtrade.until_it_trades()
    await story.until(lambda shown: shown["health"]["loop_age_s"] < 5, "a loop that turns", within_s=60.0)
    await story.assert_figures_hold()
    await story.assert_never_down(looks_take_long=True)
