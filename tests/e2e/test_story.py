"""The main job as two people do it, in real browsers, on a whole machine with real bots."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path

import docker
import httpx
import pytest
from playwright.async_api import Browser, expect

from tests.e2e.browser import Watched, somebody
from tests.e2e.machine import Machine, free_port, installed
from tests.waiting import until, until_sync

pytestmark = [pytest.mark.browser, pytest.mark.engine]

TOKEN = "outside-token-0123456789"
MARKET = {"kind": "seeded", "seed": 7, "interval_seconds": 0.2, "start_price": "50000", "volatility": 0.006}
CONFIG = {
    "currency": "USDT",
    "strategy": {"type": "dca", "symbol": "BTC/USDT"},
    "market": MARKET,
    "fees": {"maker": "0.001", "taker": "0.001"},
}
HOSTED = json.dumps({**CONFIG, "capital": "10000", "strategy": {"type": "grid", "symbol": "BTC/USDT"}}, indent=2)
PRIVATE = json.dumps({**CONFIG, "note": "nobody-reads-this"}, indent=2)
PASSWORD = "a sentence that is long enough"


@pytest.fixture
def machine(engine: docker.DockerClient, paper_bot_image: str) -> Iterator[Machine]:
    """A whole installation that has just been started for the first time."""
    with installed(engine) as fresh:
        fresh.start()
        yield fresh


@contextmanager
def bot_elsewhere(folder: Path) -> Iterator[str]:
    """A bot that TradeWise does not run; its address."""
    address = f"http://127.0.0.1:{free_port()}"
    data = folder / "outside-bot"
    data.mkdir()
    document = {
        "bot_id": "outside",
        "token": TOKEN,
        "listen": {"host": "127.0.0.1", "port": int(address.rpartition(":")[2])},
        "data_dir": str(data),
        "cash_flows": [],
        "config": {**CONFIG, "capital": "2500"},
    }
    process = subprocess.Popen((sys.executable, "-m", "agents.paper_bot"), stdin=subprocess.PIPE)
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(document).encode() + b"\n")
        process.stdin.close()
        until_sync(lambda: _answers(address), what="the outside bot")
        yield address
    finally:
        process.terminate()
        process.wait(10)


def _answers(address: str) -> bool:
    try:
        return httpx.get(f"{address}/api/v1/ping").status_code == 200
    except httpx.TransportError:
        return False


async def test_a_creator_and_a_subscriber_do_the_main_job(machine: Machine, browser: Browser, pictures: Path) -> None:
    with bot_elsewhere(machine.folder) as elsewhere:
        async with (
            somebody(browser, machine.address, pictures) as mara,
            somebody(browser, machine.address, pictures) as sam,
        ):
            await _sign_up(mara, "Mara")
            await mara.until_told("No bots yet")
            await mara.picture("01-empty-fleet")
            await _register_elsewhere(mara, elsewhere)
            await _host(mara)
            await _publish(mara)
            await _sign_up(sam, "Sam")
            await _subscribe(sam)
            await _look_around(mara)
            await _look_narrowly(mara)
            await _stop_and_leave(mara)
            assert mara.trouble == []
            assert sam.trouble == []


async def _sign_up(person: Watched, name: str) -> None:
    await person.open("/")
    assert person.path == "/sign-in"
    await person.follow("Sign up")
    await person.fill(full_name=name, email=f"{name.lower()}@example.com", password=PASSWORD)
    if name == "Mara":
        await person.picture("00-sign-up")
    await person.press("Sign up")
    await person.until_told("Fleet", "main h1")
    await expect(person.page.locator("[data-live-words]")).to_have_text("Live")


async def _register_elsewhere(mara: Watched, address: str) -> None:
    """First with a wrong token, then with the right one: each time the outcome is told in words."""
    await mara.follow("Register a bot")
    await mara.fill(name="Home server", api_url=address, credentials__token="not-the-token-0123456789")
    await mara.picture("02-register")
    await mara.press("Register")
    await mara.until_told("Registered, but not connected", "main h2")
    await mara.until_told("Credentials refused", "main .pill")
    await mara.picture("03-credentials-refused")
    await mara.follow("Enter credentials again")
    await mara.fill(credentials__token=TOKEN)
    await mara.press("Save and check")
    await mara.until_told("Your bot is connected")
    await mara.picture("04-connected")
    await mara.follow("Open the bot")
    await _until_charted(mara)
    assert await _equity(mara) > Decimal(2000)
    await mara.until_told("Credentials refused", "#bot-events")
    await mara.picture("05-bot-elsewhere")


async def _host(mara: Watched) -> None:
    """A bot in a container of its own, from its registration to running, and all of that on one unreloaded page."""
    await mara.open("/bots/new")
    await mara.page.locator('[name="bot_type"][value="platform"]').check()
    await mara.fill(name="Grid here", config=HOSTED)
    await mara.picture("06-register-hosted")
    await mara.press("Register")
    await mara.until_told("Your bot is registered")
    await mara.follow("Open the bot")
    await mara.until_told("Stopped", "#bot-state .pill")
    await mara.page.evaluate("window.notReloaded = true")
    await mara.press("Start")
    await mara.until_told("Running", "#bot-state .pill")
    before = await _equity(mara)
    await until(lambda: _moved(mara, before), what="another equity on the page")
    await mara.until_told("Start asked for", "#bot-events")
    assert await mara.page.evaluate("window.notReloaded")
    port = await mara.page.locator("#bot-facts dt", has_text="Port").locator("+ dd").inner_text()
    assert httpx.get(f"http://127.0.0.1:{port}/api/v1/ping").json() == {"status": "pong"}
    await _until_charted(mara)
    await mara.picture("07-hosted-running")
    await mara.follow("Fleet")
    await mara.until_told("Equity of 2 bots")
    await mara.picture("08-fleet")


async def _publish(mara: Watched) -> None:
    await mara.follow("Templates")
    await mara.follow("New template")
    await mara.fill(
        name="Steady buyer",
        description="Buys a little at every step down, and sells what has recovered.",
        minimum_allocation="100",
        currency="USDT",
        parameters='{"symbol": "BTC/USDT", "step": "0.5 %"}',
        config=PRIVATE,
    )
    await mara.picture("09-new-template")
    await mara.press("Save as draft")
    await mara.until_told("saved as a draft")
    await mara.press("Publish")
    await mara.until_told("The template is in the marketplace now.")
    await mara.picture("10-templates")


async def _subscribe(sam: Watched) -> None:
    """Find the offer, put money into it, and see what becomes of it without asking again."""
    await sam.follow("Marketplace")
    await sam.picture("11-marketplace")
    await sam.follow("Steady buyer")
    assert "nobody-reads-this" not in await sam.page.content()
    await sam.fill(allocation_amount="500")
    await sam.picture("12-offer")
    await sam.press("Subscribe")
    await sam.until_told("You are subscribed.")
    await sam.page.evaluate("window.notReloaded = true")
    await sam.until_told("Running", "main .pill")
    await until(lambda: _equity(sam), what="an equity of the subscription")
    await _until_charted(sam)
    assert Decimal(300) < await _equity(sam) < Decimal(700)
    assert await sam.page.evaluate("window.notReloaded")
    await sam.picture("13-subscription")
    await sam.follow("Subscriptions")
    await sam.until_told("Steady buyer")
    await sam.picture("14-subscriptions")


async def _look_around(mara: Watched) -> None:
    """The pages beside the story: one subscriber, a key that is shown once, the reference of the API."""
    await mara.follow("Templates")
    await expect(mara.page.locator('td[data-label="Subscribers"]')).to_have_text("1")
    await mara.follow("API keys")
    await mara.fill(name="nightly report")
    await mara.page.get_by_role("checkbox").first.check()
    await mara.press("Create key")
    await mara.until_told("It is shown this once")
    await mara.picture("15-key")
    await mara.follow("API reference")
    await mara.until_told("/api/v1/bots", "#api-reference")
    await mara.picture("16-api-reference")


async def _look_narrowly(mara: Watched) -> None:
    """The same on a telephone: nothing is wider than the screen."""
    await mara.page.set_viewport_size({"width": 390, "height": 844})
    for number, path in enumerate(("/", "/marketplace", "/templates", "/keys"), start=17):
        await mara.open(path)
        wide = await mara.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, (path, wide)
        await mara.picture(f"{number}-narrow{path.replace('/', '-').rstrip('-')}")
    await mara.open("/")
    await mara.follow("Grid here")
    await _until_charted(mara)
    await mara.picture("21-narrow-bot")
    await mara.page.set_viewport_size({"width": 1280, "height": 900})


async def _stop_and_leave(mara: Watched) -> None:
    await mara.page.evaluate("window.notReloaded = true")
    await mara.press("Stop")
    await mara.until_told("Stopped", "#bot-state .pill")
    await mara.until_told("Stop asked for", "#bot-events")
    assert await mara.page.evaluate("window.notReloaded")
    await mara.picture("22-stopped")
    await mara.press("Sign out")
    await mara.until_told("You are signed out.")
    await mara.open("/keys")
    assert mara.path == "/sign-in"
    await mara.picture("23-signed-out")


async def _until_charted(person: Watched) -> None:
    """Wait for the curve itself, a canvas with a size, and for its figures in the table."""
    await person.page.locator(".equity-chart canvas").first.wait_for(state="visible")
    await expect(person.page.locator("#equity-rows tr").first).to_contain_text("USDT")


async def _equity(person: Watched) -> Decimal:
    """The equity that the page shows; zero where it shows none."""
    shown = person.page.locator(".figure-lead .number")
    if not await shown.count():
        return Decimal(0)
    return Decimal((await shown.first.inner_text()).removesuffix("USDT").strip().replace(",", ""))


async def _moved(person: Watched, before: Decimal) -> bool:
    return await _equity(person) not in {Decimal(0), before}
