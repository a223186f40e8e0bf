"""What is kept of a real freqtrade that somebody runs: every change, whose counters they are, which process it is."""

from __future__ import annotations

import pytest

from tests.freqtrade.place import Place
from tests.freqtrade.published import Freqtrade
from tests.freqtrade.story import ONE_LOOK_S, THREE_LOOKS_S, Story
from tests.waiting import until

pytestmark = [pytest.mark.freqtrade]


async def test_every_change_of_its_health_is_kept_and_nothing_else(story: Story, freqtrade: Freqtrade) -> None:
    for command, state in (("stop", "stopped"), ("start", "running"), ("pause", "paused"), ("start", "running")):
        await freqtrade.tell(command)
        await story.until_trading(state)
    await freqtrade.kill()
    await story.until_status("error", "unreachable", within_s=THREE_LOOKS_S)
    await freqtrade.start()
    await story.until_status("connected", within_s=THREE_LOOKS_S)
    changes = await story.changes()
    states = [(change.state, change.trading_state) for change in changes]
    told = [state for number, state in enumerate(states) if number == 0 or state != states[number - 1]]
    # Between the last good look and the third that failed nothing is known of its trading, and it is not called down.
    assert [state for state in told if state != ("healthy", None)] == [
        ("healthy", "running"),
        ("healthy", "stopped"),
        ("healthy", "running"),
        ("healthy", "paused"),
        ("healthy", "running"),
        ("unhealthy", None),
        # One good look after that is not enough.
        ("unhealthy", "running"),
        ("healthy", "running"),
    ]
    assert [change.state for change in changes if change.reason == "recovering"] == ["unhealthy"]


async def test_another_database_is_told_and_its_index_goes_on(story: Story, freqtrade: Freqtrade) -> None:
    await story.until(lambda shown: shown["latest"] is not None, "figures", within_s=ONE_LOOK_S)
    await freqtrade.stop()
    await freqtrade.start_again(another_database=True)
    await story.until_status("connected", within_s=THREE_LOOKS_S)

    async def told() -> bool:
        return await story.told_of_counters() == 1

    await until(told, deadline_s=2 * ONE_LOOK_S, every_s=0.1, what="that its counters began anew")
    await story.until_looked(2, within_s=ONE_LOOK_S)
    assert await story.told_of_counters() == 1
    assert [warning["code"] for warning in (await story.view())["warnings"]] == ["counter_reset"]
    values = [row["unit_value"] for row in await story.snapshots() if row["unit_value"] is not None]
    assert all(abs(value - 1) < 0.05 for value in values)


async def test_two_registrations_of_one_process_are_noticed(story: Story, place: Place, freqtrade: Freqtrade) -> None:
    other = await place.register(story.person, f"http://localhost:{freqtrade.port}")
    twin = Story(story.person, other, place.admin)
    await twin.until_status("connected", within_s=2 * ONE_LOOK_S)
    for one, another in ((story, twin), (twin, story)):
        view = await one.until(lambda shown: bool(shown.get("warnings")), "a warning", within_s=ONE_LOOK_S)
        [warning] = view["warnings"]
        assert (warning["code"], warning["bot_id"]) == ("same_process", another.bot_id)
    await story.person.call("DELETE", f"/bots/{other}")
    assert (await story.view())["warnings"] == []
