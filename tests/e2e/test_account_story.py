"""A person looks after their own account, in a real browser: nothing here needs a bot, and so no container engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import docker
import pytest
from playwright.async_api import Browser, expect

from tests.e2e.browser import Watched, somebody
from tests.e2e.machine import Machine, installed
from tests.second_ways import code_of

pytestmark = pytest.mark.browser

EMAIL, PASSWORD = "mara@example.com", "a sentence that is long enough"
NO_ENGINE = {"DOCKER_HOST": "unix:///nonexistent/docker.sock"}
PAGES = (
    "/sign-in",
    "/forgot-password",
    "/reset-password",
    "/verify-email",
    "/account",
    "/account/second-factor",
    "/account/sessions",
    "/account/identities",
    "/account/delete",
)


@pytest.fixture
def machine() -> Iterator[Machine]:
    """An installation on a machine without a container engine, which it therefore leaves nothing in."""
    with installed(cast("docker.DockerClient", None), environ=NO_ENGINE) as fresh:
        fresh.begin()
        fresh.until_said("Ctrl-C stops everything", deadline_s=90)
        yield fresh


async def test_a_person_looks_after_their_account(machine: Machine, browser: Browser, pictures: Path) -> None:
    async with (
        somebody(browser, machine.address, pictures) as desk,
        somebody(browser, machine.address, pictures) as phone,
    ):
        await _sign_up(desk)
        secret, recovery = await _set_up(desk)
        await desk.press("Sign out")
        await desk.until_told("You are signed out.")
        await _sign_in(desk, code_of(secret, ahead=1))  # the code of now was used to set it up
        await _sign_in(phone, recovery)
        await _end_the_other(desk, phone)
        await _look_at_every_page(desk, secret, recovery)
        # Asking for a second factor is a 401, and browsers tell that in their consoles.
        for person in (desk, phone):
            assert [told for told in person.trouble if "401" not in told] == []
            assert len(person.trouble) == 2, person.trouble


async def _sign_up(desk: Watched) -> None:
    await desk.open("/sign-up")
    await desk.fill(full_name="Mara", email=EMAIL, password=PASSWORD)
    await desk.press("Sign up")
    await desk.until_told("Fleet", "main h1")
    await desk.until_told("Your e-mail address is not confirmed yet")
    await desk.follow("Mara")
    await desk.until_told("Your account", "main h1")


async def _set_up(desk: Watched) -> tuple[str, str]:
    """The secret as the page writes it, and one of the recovery codes."""
    await desk.page.get_by_role("navigation", name="Your account").get_by_role("link", name="Second factor").click()
    await desk.press("Set it up")
    await expect(desk.page.locator("img.qr")).to_be_visible()
    assert await desk.page.locator("img.qr").evaluate("image => image.complete && image.naturalWidth > 0")
    await _pictures(desk, "setup")
    secret = "".join((await desk.page.locator("#totp-secret").inner_text()).split())
    await desk.fill(code=code_of(secret))
    await desk.press("Turn it on")
    await desk.until_told("The second factor is on", "main h2")
    codes = await desk.page.locator(".codes code").all_inner_texts()
    assert len(codes) == 10
    await _pictures(desk, "recovery-codes")
    await desk.follow("I have kept them")
    await expect(desk.page.locator(".pill")).to_have_text("On")
    shown = await desk.page.content()
    assert secret not in shown
    assert codes[0] not in shown
    return secret, codes[0]


async def _sign_in(person: Watched, factor: str) -> None:
    await person.open("/sign-in")
    await person.fill(email=EMAIL, password=PASSWORD)
    await person.press("Sign in")
    await person.until_told("This account has a")
    await _pictures(person, "second-factor-asked")
    await person.fill(password=PASSWORD, totp=factor)
    await person.press("Sign in")
    await person.until_told("Fleet", "main h1")


async def _end_the_other(desk: Watched, phone: Watched) -> None:
    await desk.open("/account/sessions")
    await expect(desk.page.locator("tbody tr")).to_have_count(2)
    await expect(desk.page.locator("tbody tr", has_text="this one")).to_have_count(1)
    await _pictures(desk, "sessions")
    await desk.press("End it")
    await desk.until_told("That session has ended.")
    await expect(desk.page.locator("tbody tr")).to_have_count(1)
    await phone.open("/account")
    assert phone.path == "/sign-in"


async def _look_at_every_page(desk: Watched, secret: str, recovery: str) -> None:
    for path in PAGES:
        await desk.open(path)
        shown = await desk.page.content()
        assert secret not in shown, path
        assert recovery not in shown, path
        await _pictures(desk, path.strip("/").replace("/", "-"))
    await desk.press("Delete my account for good")  # refused by the browser: nothing is typed in
    assert desk.path == "/account/delete"


async def _pictures(person: Watched, name: str) -> None:
    """Light, dark, and on a telephone, where nothing may be wider than the screen."""
    await person.picture(f"account-{name}")
    await person.page.emulate_media(color_scheme="dark", reduced_motion="reduce")  # no picture of half a change
    await person.picture(f"account-{name}-dark")
    await person.page.emulate_media(color_scheme="light")
    await person.page.set_viewport_size({"width": 380, "height": 800})
    wide = await person.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= 380, (name, wide)
    await person.picture(f"account-{name}-narrow")
    await person.page.set_viewport_size({"width": 1280, "height": 900})
