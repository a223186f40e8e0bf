"""A bot's trading on its page: what can be told, how it stands, and what is worth knowing of the bot."""

from __future__ import annotations

from uuid import UUID

import asyncpg

from tests.api import Person
from tests.integration.api.test_trading_api import answer, connected, row, seen
from tests.integration.dashboard.browser import Browser, words_of
from tests.world import external_body


async def test_trading_is_stopped_by_a_button_and_told_as_it_goes(
    browser: Browser, person: Person, admin: asyncpg.Connection
) -> None:
    bot = await connected(person, admin)
    page = await browser.get(f"/bots/{bot}")
    for words in ("Pause trading", "Stop trading …", "nobody tends what it has open"):
        assert words in words_of(page)
    assert "Start trading" not in words_of(page)
    told = await browser.follow(await browser.send(f"/bots/{bot}/trading/stop"))
    assert "To stop its trading: under way" in words_of(told)
    assert "Start trading …" in words_of(told)
    assert "Asked to stop its trading" in words_of(told)
    # An open page brings what can be asked up to date, too.
    assert "Start trading …" in words_of(await browser.get(f"/bots/{bot}/panel"))
    assert (await row(admin, bot))["requested_by"] == f"user:{person.user_id}"
    await answer(admin, bot, "not_confirmed", "It was asked once, and its trading was running.")
    failed = words_of(await browser.get(f"/bots/{bot}"))
    assert "To stop its trading: not confirmed" in failed
    assert "It was asked once, and its trading was running." in failed
    assert "ask again" in failed


async def test_another_verb_is_no_page_and_a_bot_that_is_down_has_no_buttons(
    browser: Browser, person: Person, admin: asyncpg.Connection
) -> None:
    bot = await connected(person, admin)
    await browser.get(f"/bots/{bot}")
    assert (await browser.send(f"/bots/{bot}/trading/sell", status=404)).status_code == 404
    await admin.execute("update bots set status = 'error', reason = 'unreachable' where id = $1", UUID(bot))
    assert "Stop trading" not in words_of(await browser.get(f"/bots/{bot}"))


async def test_what_is_worth_knowing_is_on_the_page_and_in_the_fleet(
    browser: Browser, person: Person, admin: asyncpg.Connection
) -> None:
    one = await connected(person, admin)
    two = await connected(person, admin, external_body(api_url="http://127.0.0.1:9090", name="<the same>"))
    for bot in (one, two):
        await seen(admin, bot, identity="freqtrade:bot@1")
    page = await browser.get(f"/bots/{one}")
    assert "Registered twice" in words_of(page)
    assert "It is the same process as your bot “<the same>”." in words_of(page)
    assert f'href="/bots/{two}"' in page.text
    assert "Registered twice" in words_of(await browser.get("/"))
    await seen(admin, one, state="unhealthy", reason="loop_stalled", detail="It has not turned for 8 minutes.")
    page = await browser.get(f"/bots/{one}")
    assert "Trading stands still" in words_of(page)
    assert "It has not turned for 8 minutes." in words_of(page)


async def test_why_figures_of_a_bot_that_is_well_are_unknown_is_on_its_page(
    browser: Browser, person: Person, admin: asyncpg.Connection
) -> None:
    bot = await connected(person, admin)
    why = "Its pairs have different quote currencies: their amounts are not added up."
    for trading in ("running", "stopped"):
        await seen(admin, bot, trading_state=trading, detail=why)
        assert why in words_of(await browser.get(f"/bots/{bot}"))
    # Of a bot with a fault the detail is that of the fault, and stands above.
    await seen(admin, bot, state="unhealthy", reason="loop_stalled", detail="It has not turned for 8 minutes.")
    assert words_of(await browser.get(f"/bots/{bot}")).count("It has not turned for 8 minutes.") == 1
    await seen(admin, bot, reason="unreachable", detail="Missed once.")
    assert "Missed once." not in words_of(await browser.get(f"/bots/{bot}"))


async def test_the_fleet_counts_a_process_once_and_old_figures_apart(
    browser: Browser, person: Person, admin: asyncpg.Connection
) -> None:
    ages = {"now": 5, "twin": 5, "old": 420}
    for number, (name, age_s) in enumerate(ages.items()):
        bot = await connected(person, admin, external_body(api_url=f"http://127.0.0.1:909{number}", name=name))
        await seen(admin, bot, identity="freqtrade:other@1" if name == "old" else "freqtrade:bot@1")
        await admin.execute(
            "insert into performance_snapshots (tenant_id, bot_id, observed_at, currency, simulated, equity)"
            " values ($1, $2, now() - make_interval(secs => $3), 'USDT', false, 1000)",
            person.tenant_id, UUID(bot), float(age_s),
        )  # fmt: skip
    fleet = words_of(await browser.get("/"))
    assert "Equity of 1 bot 1,000.00" in fleet
    assert "Last known of 1 bot 1,000.00 USDT read 7 minutes ago , in no other sum" in fleet
    assert "Registered more than once 1 more registration" in fleet
    assert fleet.count("as of 7 minutes ago") == 1  # in its row, and in no other
    assert "as of 7 minutes ago : none have been read since" in words_of(await browser.get(f"/bots/{bot}"))
