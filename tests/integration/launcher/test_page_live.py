"""The page of a hosted bot in a real browser: its output as it comes, what it uses, and what its past copies left."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.api import PASSWORD, Person
from tests.e2e.browser import chromium, somebody
from tests.integration.launcher.rig import TOKEN, Rig
from tests.waiting import until

pytestmark = [pytest.mark.engine, pytest.mark.browser]


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Where pictures go: `TRADEWISE_SCREENSHOTS`, or nowhere that lasts."""
    return Path(os.environ.get("TRADEWISE_SCREENSHOTS") or tmp_path)


async def _sampled_twice(rig: Rig) -> bool:
    return bool(await rig.admin.fetchval("select count(*) > 1 from bot_stats"))


async def test_what_a_bot_says_and_uses_is_on_its_page(
    ada: Person, rig: Rig, url: str, rogue_image: str, pictures: Path
) -> None:
    bot = await rig.rogue("chatty", rogue_image, name="Talker")
    async with rig.launcher(stats_interval=1.0), chromium() as browser:
        first = await rig.until_launched(bot)
        # What it uses is drawn from two samples on. A bot of which nothing new is told draws nothing anew.
        await until(lambda: _sampled_twice(rig), deadline_s=30, what="two samples")
        async with somebody(browser, url, pictures) as person:
            page = person.page
            await person.open("/sign-in")
            await person.fill(email=ada.email, password=PASSWORD)
            await person.press("Sign in")
            await page.wait_for_url("**/")
            await person.open(f"/bots/{bot}")
            log = page.locator("#bot-log")
            await log.locator(".log-line").nth(20).wait_for()
            assert "line " in await log.inner_text()
            await page.get_by_role("button", name="Pause").click()
            await page.get_by_role("button", name="Go on (").wait_for()
            held = await log.locator(".log-line").count()
            await page.get_by_role("button", name="Wrap lines").click()
            assert await log.locator(".log-line").count() == held
            await page.get_by_role("button", name="Go on").click()
            await page.locator("#bot-usage svg.spark").first.wait_for()
            await person.picture("bot-live")
            # A copy that dies is told in the log and found among the past ones, with its last lines.
            rig.engine.api.kill(first["container_id"])
            await log.get_by_text("The copy has ended.").wait_for()
            await rig.until_launched(bot, after=first["id"])
            await page.locator("#bot-copies").get_by_text("Ended by signal 9").wait_for()
            await page.locator("#bot-copies summary").first.click()
            await page.set_viewport_size({"width": 380, "height": 800})
            wide = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"
            assert await page.evaluate(wide)
            await person.picture("bot-live-narrow")
            async with page.expect_download() as coming:
                await page.get_by_role("link", name="Download").click()
            text = Path(await (await coming.value).path()).read_text()
            assert " stdout line " in text
            assert TOKEN not in text
            assert person.trouble == []
