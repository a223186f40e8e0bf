"""Two people and one tenant, in real browsers: invited, joined, switched, suspended, and all of it in the log.

It needs no container engine: the application stands on a real socket in this process, and no bot is started.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal

import asyncpg
import httpx
import msgspec
import pytest
import uvicorn
from playwright.async_api import Browser, expect

from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.api import Api, running_api
from tests.e2e.browser import Watched, somebody
from tests.e2e.machine import free_port
from tests.factories import Urls
from tests.members import letters
from tests.waiting import until

pytestmark = pytest.mark.browser

PASSWORD = "a sentence that is long enough"
NARROW, WIDE = 380, 1280
_SCHEMES: tuple[Literal["light", "dark"], ...] = ("light", "dark")


@asynccontextmanager
async def on_a_socket(api: Api, port: int) -> AsyncIterator[None]:
    """The running application, for programs outside of this process."""
    transport = api.client._transport
    assert isinstance(transport, httpx.ASGITransport)
    app: Any = transport.app
    config = uvicorn.Config(
        app, port=port, lifespan="off", ws="none", log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    server = uvicorn.Server(config)
    serving = asyncio.create_task(server._serve(None))
    try:
        await until(lambda: server.started or serving.done(), what="the socket")
        yield
    finally:
        server.should_exit = True
        await serving


@pytest.fixture
async def api(settings: Settings, urls: Urls, vault: Vault) -> AsyncIterator[Api]:
    """The application, knowing its own address: mails then lead there."""
    port = free_port()
    known = msgspec.structs.replace(settings, public_url=f"http://127.0.0.1:{port}")
    async with running_api(known, urls, vault) as running, on_a_socket(running, port):
        yield running


async def mailed_link(admin: asyncpg.Connection, vault: Vault, email: str) -> str:
    """The address that the newest invitation leads to."""
    body = (await letters(admin, vault, email))[-1].body
    found = re.search(r"http://\S+/invitations#[\w-]+", body)
    assert found is not None, body
    return found[0]


async def portraits(person: Watched, name: str) -> None:
    """Pictures of a page by day, by night, and on a telephone, where nothing may stick out."""
    for scheme in _SCHEMES:
        await person.page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
        await person.picture(f"{name}-{scheme}")
    await person.page.emulate_media(color_scheme="light")
    await person.page.set_viewport_size({"width": NARROW, "height": 820})
    await person.picture(f"{name}-narrow")
    wide = await person.page.evaluate("document.documentElement.scrollWidth")
    assert wide <= NARROW, f"{name} is {wide} wide"
    await person.page.set_viewport_size({"width": WIDE, "height": 900})


async def sign_up(person: Watched, name: str) -> None:
    await person.fill(full_name=name, email=f"{name.lower()}@example.com", password=PASSWORD)
    await person.press("Sign up")


async def test_two_people_share_a_tenant(
    api: Api, admin: asyncpg.Connection, vault: Vault, browser: Browser, pictures: Path
) -> None:
    address = _address(api)
    async with somebody(browser, address, pictures) as olga, somebody(browser, address, pictures) as ivo:
        await olga.open("/sign-up")
        await sign_up(olga, "Olga")
        await olga.until_told("No bots yet")
        await _lead(olga)
        await _join(ivo, await mailed_link(admin, vault, "ivo@example.com"))
        await _switch(ivo)
        await _look_back(api, olga)
        await _suspend(olga, ivo)
        await _part(olga, ivo)
        assert olga.trouble == []
        assert ivo.trouble == []


def _address(api: Api) -> str:
    transport = api.client._transport
    assert isinstance(transport, httpx.ASGITransport)
    app: Any = transport.app
    return str(app.state.settings.public_url)


async def _lead(olga: Watched) -> None:
    await olga.follow("Team")
    await olga.fill(name="Harbour")
    await olga.press("Rename")
    await olga.until_told("Harbour", "main h1")
    await olga.fill(email="ivo@example.com")
    await olga.page.locator("#role").select_option("trader")
    await olga.press("Send the invitation")
    await olga.until_told("The invitation is on its way")
    await olga.until_told("ivo@example.com")
    await portraits(olga, "team-owner")


async def _join(ivo: Watched, link: str) -> None:
    """By the mail's link, with no account yet. The code leaves the address at once and is never sent in one."""
    asked: list[str] = []
    ivo.page.on("request", lambda request: asked.append(f"{request.url} {request.headers.get('referer', '')}"))
    code = link.partition("#")[2]
    await ivo.page.goto(link)
    await ivo.until_told("Your code is kept in this tab")
    assert ivo.page.url.endswith("/invitations")
    await portraits(ivo, "invitation-guest")
    await ivo.page.locator("main").get_by_role("link", name="Sign up").click()
    await sign_up(ivo, "Ivo")
    field = ivo.page.locator('main [name="token"]')
    await expect(field).to_have_value(code)
    await portraits(ivo, "invitation")
    await ivo.press("Join")
    await ivo.until_told("You are a member now")
    await ivo.until_told("Harbour", "main h1")
    assert not any(code in one for one in asked)
    await portraits(ivo, "team-trader")
    # Once: the field is empty now, and the code is worth nothing.
    await ivo.open("/invitations")
    await expect(field).to_have_value("")


async def _switch(ivo: Watched) -> None:
    await ivo.open("/")
    indicator = ivo.page.locator("[data-live-words]")
    await expect(indicator).to_have_text("Live")
    await ivo.page.locator(".switcher > summary").click()
    await ivo.picture("switcher")
    await ivo.page.set_viewport_size({"width": NARROW, "height": 820})
    await ivo.picture("switcher-narrow")
    assert await ivo.page.evaluate("document.documentElement.scrollWidth") <= NARROW
    await ivo.page.set_viewport_size({"width": WIDE, "height": 900})
    await ivo.page.get_by_role("button", name="Ivo's workspace").click()
    await expect(ivo.page.locator(".switcher .tenant")).to_have_text("Ivo's workspace")
    await expect(indicator).to_have_text("Live")
    await _in_two_tabs(ivo)
    # A trader reads no log, but an owner does.
    await ivo.follow("Audit log")
    await ivo.until_told("Tenant created")
    await ivo.page.locator(".switcher > summary").click()
    await ivo.page.get_by_role("button", name="Harbour").click()
    await expect(ivo.page.locator(".switcher .tenant")).to_have_text("Harbour")
    assert await ivo.page.get_by_role("link", name="Audit log").count() == 0


async def _in_two_tabs(ivo: Watched) -> None:
    """What a forgotten tab fetches by itself is never of the tenant that was chosen in another one."""
    other = await ivo.page.context.new_page()
    await other.goto(f"{ivo.address}/")
    await other.locator(".switcher > summary").click()
    await other.get_by_role("button", name="Harbour").click()
    await expect(other.locator(".switcher .tenant")).to_have_text("Harbour")
    await other.close()
    told = len(ivo.trouble)
    await ivo.page.evaluate("document.querySelector('main [data-live]').dispatchEvent(new Event('live-refresh'))")
    await expect(ivo.page.locator(".switcher .tenant")).to_have_text("Harbour")
    assert [one for one in ivo.trouble[told:] if "409" not in one] == []
    del ivo.trouble[told:]
    await ivo.page.locator(".switcher > summary").click()
    await ivo.page.get_by_role("button", name="Ivo's workspace").click()
    await expect(ivo.page.locator(".switcher .tenant")).to_have_text("Ivo's workspace")


async def _look_back(api: Api, olga: Watched) -> None:
    await olga.follow("Audit log")
    await olga.until_told("Member added")
    await olga.until_told("Ivo", "main tbody")
    await olga.page.locator("tr", has_text="Tenant changed").locator("details > summary").first.click()
    await olga.until_told("Olga's workspace")
    await portraits(olga, "audit")
    await olga.page.locator("#action").select_option("member.*")
    await olga.press("Show")
    await expect(olga.page.locator("tbody tr[id]")).to_have_count(2)
    await api.scheduler.sign_heads()
    await olga.press("Verify the chain")
    await olga.until_told("The chain holds.")
    await portraits(olga, "audit-verified")


async def _suspend(olga: Watched, ivo: Watched) -> None:
    await olga.follow("Team")
    await olga.page.locator("summary", has_text="Suspend").click()
    await olga.press("Yes, suspend it")
    await olga.until_told("The tenant is suspended.")
    await portraits(olga, "team-suspended")
    await ivo.open("/")
    await ivo.until_told("This tenant is suspended.", "body")
    await olga.press("Resume")
    await olga.until_told("The tenant is resumed.")


async def _part(olga: Watched, ivo: Watched) -> None:
    """The tenant is handed over and left, a further one is made and deleted; then nobody is in it."""
    await olga.page.locator("summary", has_text="Hand over").click()
    await olga.page.locator("#user_id").select_option(label="Ivo")
    await olga.press("Yes, hand it over")
    await olga.until_told("You are an admin of it now.")
    await olga.page.locator("summary", has_text="Leave").click()
    await olga.press("Yes, leave")
    await olga.until_told("You left the tenant.")
    await olga.until_told("You are in no tenant")
    await portraits(olga, "no-tenant")
    await olga.fill(name="Second")
    await olga.press("Make it")
    await olga.until_told("The tenant was made.")
    await olga.follow("Team")
    await olga.page.locator("summary", has_text="Delete").click()
    await portraits(olga, "team-delete")
    await olga.fill(confirm="Second")
    await olga.press("Delete it for good")
    await olga.until_told("The tenant was deleted for good.")
    await ivo.follow("Team")
    await ivo.until_told("You are its owner.")
    await ivo.follow("New tenant")
    await portraits(ivo, "new-tenant")
