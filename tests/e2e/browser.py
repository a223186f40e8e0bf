"""Chromium as a person uses it, and what it saw going wrong: errors, refused resources, requests to other origins."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.async_api import Browser, ConsoleMessage, Error, Page, Request, Response, ViewportSize, async_playwright

# Nothing that calls home: such calls would be tried again and again where the network is closed.
_QUIET = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_WIDE = ViewportSize(width=1280, height=900)


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    """A Chromium of this machine. Fails, never skips, where there is none."""
    program = os.environ.get("TRADEWISE_CHROMIUM") or shutil.which("chromium")
    arguments = [*_QUIET, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    async with async_playwright() as playwright:
        try:
            browser = await playwright.chromium.launch(executable_path=program, args=arguments)
        except Error as error:
            pytest.fail(f"no Chromium to drive: run scripts/chromium.sh, which installs one ({error.message})")
        try:
            yield browser
        finally:
            await browser.close()


class Watched:
    """One person at one browser of their own, watched for everything that should not happen."""

    def __init__(self, page: Page, address: str, pictures: Path) -> None:
        self.page = page
        self.address = address
        self.trouble: list[str] = []
        self._pictures = pictures
        page.set_default_timeout(30_000)
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.trouble.append(f"script failed: {error}"))
        page.on("request", self._request)
        page.on("response", self._response)

    def _console(self, message: ConsoleMessage) -> None:
        # Chromium tells refusals by the content security policy here as well.
        if message.type in {"error", "warning"}:
            self.trouble.append(f"console: {message.text} ({self.page.url})")

    def _request(self, request: Request) -> None:
        if not request.url.startswith((f"{self.address}/", "data:", "blob:")):
            self.trouble.append(f"another origin was asked: {request.url}")

    def _response(self, response: Response) -> None:
        if response.status >= 400:
            self.trouble.append(f"{response.status} for {response.url}")

    async def open(self, path: str) -> None:
        """Go to an address as if it was typed."""
        await self.page.goto(self.address + path)

    async def follow(self, name: str) -> None:
        """Follow the link with this text."""
        await self.page.get_by_role("link", name=name, exact=True).first.click()

    async def press(self, name: str) -> None:
        """Press the button with this text."""
        await self.page.get_by_role("button", name=name, exact=True).first.click()

    async def fill(self, **fields: str) -> None:
        """Type into fields by name; `__` stands for a dot."""
        for name, text in fields.items():
            await self.page.locator(f'[name="{name.replace("__", ".")}"]').fill(text)

    async def until_told(self, words: str, inside: str = "main") -> None:
        """Wait until these words can be read on the page, without asking for it again."""
        await self.page.locator(inside).get_by_text(words).first.wait_for()

    @property
    def path(self) -> str:
        """Where the browser is."""
        return urlsplit(self.page.url).path

    async def picture(self, name: str) -> None:
        """Keep a picture of the whole page."""
        await self.page.screenshot(path=self._pictures / f"{name}.png", full_page=True)


@asynccontextmanager
async def somebody(browser: Browser, address: str, pictures: Path) -> AsyncIterator[Watched]:
    """A person with a browser of their own: no cookie is shared with anybody else's."""
    context = await browser.new_context(viewport=_WIDE, locale="en-GB", timezone_id="Europe/Berlin")
    try:
        yield Watched(await context.new_page(), address, pictures)
    finally:
        await context.close()
