"""A real freqtrade that somebody runs, registered by its address: what TradeWise says of it, whatever befalls it.

The published package in a process of its own, trading in simulation on a small exchange of ours; the real application;
the poller as a process. "In time" is `story.py`'s: one look, three looks, or three looks that wait in vain.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from agents.launcher.engine import say_on_stderr
from control_plane.security.keyproviders import FileKeyProvider, create_kek_file
from control_plane.security.vault import Vault
from control_plane.settings import Settings, load_settings
from tests.api import Api, running_api
from tests.conftest import fresh_database
from tests.freqtrade.published import Freqtrade, ensure_freqtrade
from tests.freqtrade.story import (
    CONNECTED,
    INTERVAL_S,
    ONE_LOOK_S,
    THREE_LOOKS_S,
    THREE_WAITS_S,
    Change,
    Story,
)
from tests.poller_process import poller_process
from tests.servers.exchange_server import ExchangeServer
from tests.waiting import until

pytestmark = [pytest.mark.freqtrade]

_PASSWORD = "correct-horse-battery"
_HEALTHY = Change("healthy", None, "running")


class Place:
    """One installation, one exchange and one freqtrade for all tests of this file."""

    def __init__(self, api: Api, admin: asyncpg.Connection, exchange: ExchangeServer, freqtrade: Freqtrade) -> None:
        self.api = api
        self.admin = admin
        self.exchange = exchange
        self.freqtrade = freqtrade


@pytest.fixture(scope="module")
async def place(
    admin_url: str, template_database: str, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Place]:
    """Everything at work."""
    folder = tmp_path_factory.mktemp("registered")
    program = ensure_freqtrade(say_on_stderr)
    kek_file = folder / "kek.json"
    create_kek_file(kek_file)
    async with AsyncExitStack() as work:
        exchange = await work.enter_async_context(ExchangeServer())
        freqtrade = Freqtrade(program, folder, exchange)
        work.push_async_callback(freqtrade.stop)
        await freqtrade.start()
        urls = await work.enter_async_context(fresh_database(admin_url, template_database))
        settings = load_settings(
            {"TRADEWISE_EGRESS_ALLOW": "127.0.0.0/8"},
            database_url=urls["api"],
            data_dir=folder,
            password_memory_kib=19456,
            password_time_cost=1,
            secure_cookies=False,
        )
        api = await work.enter_async_context(running_api(settings, urls, Vault(FileKeyProvider(kek_file))))
        environ = {"TRADEWISE_POLL_INTERVAL": str(INTERVAL_S), "TRADEWISE_EGRESS_ALLOW": "127.0.0.0/8,::1/128"}
        if "reading_interval" in Settings.__struct_fields__:
            environ["TRADEWISE_READING_INTERVAL"] = str(INTERVAL_S)
        await work.enter_async_context(poller_process(urls["agent_poller"], kek_file, environ))
        admin = await asyncpg.connect(urls.admin)
        work.push_async_callback(admin.close)
        yield Place(api, admin, exchange, freqtrade)


@pytest.fixture
async def freqtrade(place: Place) -> AsyncIterator[Freqtrade]:
    """The bot, running and trading; put right again for the next test."""
    bot = place.freqtrade
    if not bot.running:
        await bot.start()
    yield bot
    if bot.running:
        bot.thaw()
    bot.forget_prices(False)
    place.exchange.maintenance = False
    place.exchange.answering.set()
    if not place.exchange.listening:
        await place.exchange.open_port()


@pytest.fixture
async def story(place: Place, freqtrade: Freqtrade) -> AsyncIterator[Story]:
    """The bot, registered by somebody new, and told to be connected; removed at the end."""
    await freqtrade.tell("start")
    person = await place.api.person()
    bot_id = await _register(place, person_call=person.call, url=freqtrade.url)
    story = Story(person, bot_id, place.admin)
    await story.until_status("connected", within_s=ONE_LOOK_S)
    await story.until_trading("running")
    yield story
    await person.call("DELETE", f"/bots/{bot_id}")


async def _register(place: Place, *, person_call: object, url: str) -> str:
    body = {
        "bot_type": "external",
        "engine": "freqtrade",
        "name": "holder",
        "api_url": url,
        "credentials": place.freqtrade.credentials,
    }
    made = await person_call("POST", "/bots", json=body, status=201)  # type: ignore[operator]
    return str(made["id"])


async def _started_again(freqtrade: Freqtrade, database: Path | None = None) -> None:
    if freqtrade.running:
        await freqtrade.stop()
    if database is not None:
        database.unlink()
    await freqtrade.start()


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
    identity = await _identity(story)
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
    assert await _identity(story) == identity
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
        freqtrade.password, new = _PASSWORD, freqtrade.password
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
        freqtrade.password = _PASSWORD
        await _started_again(freqtrade)


@pytest.mark.parametrize("cut", ["maintenance", "refused"])
async def test_cut_from_its_exchange_it_is_well_and_its_figures_are_unknown(
    story: Story, place: Place, freqtrade: Freqtrade, cut: str
) -> None:
    await story.until(lambda shown: shown["latest"] is not None, "figures", within_s=ONE_LOOK_S)
    if cut == "maintenance":
        place.exchange.maintenance = True
    else:
        await place.exchange.close_port()
    # Remembered prices would do for five minutes: not waited for here.
    freqtrade.forget_prices(True)

    async def unknown() -> bool:
        figures = await story.snapshots()
        return bool(figures) and all(row["equity"] is None for row in figures[-3:])

    await until(unknown, deadline_s=30.0 + 3 * ONE_LOOK_S, every_s=0.2, what="figures that are unknown")
    view = await story.view()
    assert (view["status"], view["health"]["state"], view["health"]["trading_state"]) == (
        "connected", "healthy", "running",
    )  # fmt: skip
    # What does not hang on prices is known all the same.
    assert (view["latest"]["equity"], view["latest"]["open_profit"]) == (None, None)
    assert view["latest"]["realized_profit"] is not None
    freqtrade.forget_prices(False)
    if cut == "maintenance":
        place.exchange.maintenance = False
    else:
        await place.exchange.open_port()
    await story.until(
        lambda shown: shown["latest"]["equity"] is not None, "figures that are known", within_s=60.0 + ONE_LOOK_S
    )
    await story.assert_figures_hold()
    await story.assert_never_down(looks_take_long=True)


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


async def test_every_change_of_its_health_is_kept_and_nothing_else(story: Story, freqtrade: Freqtrade) -> None:
    for command, state in (("stop", "stopped"), ("start", "running"), ("pause", "paused"), ("start", "running")):
        await freqtrade.tell(command)
        await story.until_trading(state)
    await freqtrade.kill()
    await story.until_status("error", "unreachable", within_s=THREE_LOOKS_S)
    await freqtrade.start()
    await story.until_status("connected", within_s=THREE_LOOKS_S)
    states = [(change.state, change.trading_state) for change in await story.changes()]
    told = [state for number, state in enumerate(states) if number == 0 or state != states[number - 1]]
    # Between the last good look and the third that failed nothing is known of its trading, and it is not called down.
    assert [state for state in told if state != ("healthy", None)] == [
        ("healthy", "running"),
        ("healthy", "stopped"),
        ("healthy", "running"),
        ("healthy", "paused"),
        ("healthy", "running"),
        ("unhealthy", None),
        ("healthy", "running"),
    ]


async def test_another_database_is_told_and_its_index_goes_on(story: Story, freqtrade: Freqtrade) -> None:
    await story.until(lambda shown: shown["latest"] is not None, "figures", within_s=ONE_LOOK_S)
    await freqtrade.stop()
    await _started_again(freqtrade, freqtrade.folder / "trades.sqlite")
    await story.until_status("connected", within_s=THREE_LOOKS_S)

    async def told() -> bool:
        return await story.told_of_counters() == 1

    await until(told, deadline_s=2 * ONE_LOOK_S, every_s=0.1, what="that its counters began anew")
    await story.until_looked(2, within_s=ONE_LOOK_S)
    assert await story.told_of_counters() == 1
    values = [row["unit_value"] for row in await story.snapshots() if row["unit_value"] is not None]
    assert all(abs(value - 1) < 0.05 for value in values)


async def test_two_registrations_of_one_process_are_noticed(story: Story, place: Place, freqtrade: Freqtrade) -> None:
    other = await _register(place, person_call=story.person.call, url=f"http://localhost:{freqtrade.port}")
    twin = Story(story.person, other, place.admin)
    await twin.until_status("connected", within_s=2 * ONE_LOOK_S)
    for one, another in ((story, twin), (twin, story)):
        view = await one.until(lambda shown: bool(shown.get("warnings")), "a warning", within_s=ONE_LOOK_S)
        [warning] = view["warnings"]
        assert (warning["code"], warning["bot_id"]) == ("same_process", another.bot_id)
    await story.person.call("DELETE", f"/bots/{other}")


async def _identity(story: Story) -> str:
    identity = await story.admin.fetchval("select identity from bot_health where id = $1::text::uuid", story.bot_id)
    return str(identity)
