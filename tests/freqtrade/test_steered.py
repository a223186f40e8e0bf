"""A real freqtrade, told from TradeWise how to trade: what its own state shows is confirmed, and nothing else is."""

from __future__ import annotations

from typing import Any

import pytest

from control_plane.bots.kinds import CONFIRM_WITHIN_S, STATE_OF
from control_plane.engines.family import Action
from tests.freqtrade.published import Freqtrade
from tests.freqtrade.story import CONNECTED, ONE_LOOK_S, THREE_LOOKS_S, Change, Story

pytestmark = [pytest.mark.freqtrade]

#: One look on behalf of a wish gives up waiting for an answer after this; a regular one takes two seconds more.
_LOOK_S = 8.0
#: From a wish that the bot takes until its own state has shown it: its loop turns once a second.
_CONFIRMED_S = ONE_LOOK_S
#: The first look that waits in vain, the time in which a wish must show, and the look that was under way at its end.
_GIVEN_UP_S = 10.0 + CONFIRM_WITHIN_S + _LOOK_S + 4.0


async def _until_confirmed(story: Story, *, within_s: float = _CONFIRMED_S) -> dict[str, Any]:
    return await story.until(
        lambda view: view["trading"]["confirmed_at"] is not None, "a wish that is confirmed", within_s=within_s
    )


async def test_stopped_paused_and_started_from_here_is_confirmed_by_its_own_state(
    story: Story, freqtrade: Freqtrade
) -> None:
    actor = f"user:{story.person.user_id}"
    actions: tuple[Action, ...] = ("stop", "start", "pause", "stop", "pause", "start")
    for action in actions:
        wanted = STATE_OF[action]
        before = await freqtrade.state()
        taken = await story.wish(action)
        # Taken, and nothing is claimed.
        assert (taken["wanted"], taken["confirmed_at"], taken["problem"]) == (wanted, None, None)
        assert taken["state"] == before != wanted
        view = await _until_confirmed(story)
        # The bot itself, asked by nobody but us, says the same.
        assert await freqtrade.state() == wanted
        assert (view["trading"]["state"], view["trading"]["problem"]) == (wanted, None)
        view = await story.until_trading(wanted)
        assert (view["status"], view["reason"], view["health"]["state"]) == ("connected", None, "healthy")
        assert (await story.told_of_trading())[-2:] == [
            ("trading", action, None, actor),
            ("trading_confirmed", None, f"Its trading is {wanted}.", actor),
        ]
    # Each wish was told once, and once answered.
    assert len(await story.told_of_trading()) == 2 * len(actions)
    await story.until_looked(3, within_s=ONE_LOOK_S)
    # It trades again, with what it had.
    await freqtrade.until_it_trades()
    await story.assert_figures_hold()
    await story.assert_never_down()


async def test_what_it_does_already_is_confirmed_and_not_done_again(story: Story, freqtrade: Freqtrade) -> None:
    await story.wish("start")
    await _until_confirmed(story)
    assert await story.attempts() == 0
    # Its owner's own console is not overruled by a wish that was fulfilled once.
    await freqtrade.tell("pause")
    await story.until_trading("paused")
    await story.until_looked(3, within_s=ONE_LOOK_S)
    view = await story.view()
    assert (view["trading"]["wanted"], view["trading"]["state"]) == ("running", "paused")
    assert await freqtrade.state() == "paused"
    await story.wish("start")
    await _until_confirmed(story)
    assert (await freqtrade.state(), await story.attempts()) == ("running", 1)
    await story.assert_never_down()


async def test_a_wish_to_one_that_hangs_for_a_while_is_confirmed_once_it_goes_on(
    story: Story, freqtrade: Freqtrade
) -> None:
    freqtrade.freeze()
    await story.wish("stop")
    await story.until(lambda view: view["health"]["failures"] == 1, "a look in vain", within_s=10.0 + ONE_LOOK_S)
    view = await story.view()
    # Nobody has said anything: neither that it was done nor that it cannot be.
    assert (view["trading"]["confirmed_at"], view["trading"]["problem"]) == (None, None)
    freqtrade.thaw()
    await _until_confirmed(story, within_s=2 * _LOOK_S + ONE_LOOK_S)
    assert await freqtrade.state() == "stopped"
    await story.until_trading("stopped", within_s=10.0 + ONE_LOOK_S)
    await story.assert_never_down(looks_take_long=True)


async def test_a_wish_to_one_that_hangs_is_told_as_not_confirmed_and_never_comes_true_later(
    story: Story, freqtrade: Freqtrade
) -> None:
    freqtrade.freeze()
    await story.wish("stop")
    view = await story.until(
        lambda shown: shown["trading"]["problem"] is not None, "a wish that is given up", within_s=_GIVEN_UP_S
    )
    trading = view["trading"]
    assert (trading["wanted"], trading["state"]) == ("stopped", None)
    assert (trading["confirmed_at"], trading["problem"]) == (None, "not_confirmed")
    assert trading["problem_detail"].startswith("It was never asked, because it could not be looked at.")
    assert trading["remedy"]
    # That it hangs is told as well, by its status.
    assert (view["status"], view["reason"]) == ("error", "timeout")
    [_, answer] = await story.told_of_trading()
    actor = f"user:{story.person.user_id}"
    # Nobody can be told anything through it meanwhile, and whoever tries hears why.
    refused = await story.person.call("POST", f"/bots/{story.bot_id}/trading", json={"action": "stop"}, status=409)
    assert refused["code"] == "not_connected"
    assert answer == ("trading_not_confirmed", "not_confirmed", trading["problem_detail"], actor)
    freqtrade.thaw()
    view = await story.until_status("connected", within_s=10.0 + THREE_LOOKS_S)
    # It was said that it does not come to this: so it does not, whatever waited in its sockets.
    await story.until_looked(5, within_s=10.0 + ONE_LOOK_S)
    assert await freqtrade.state() == "running"
    view = await story.view()
    assert (view["health"]["trading_state"], view["trading"]["problem"]) == ("running", "not_confirmed")
    assert await story.statuses() == [CONNECTED, Change("error", "timeout"), CONNECTED]
    # Wished again, it is done.
    await story.wish("stop")
    await _until_confirmed(story)
    assert await freqtrade.state() == "stopped"
