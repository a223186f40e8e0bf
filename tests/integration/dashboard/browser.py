"""A browser without scripts: it keeps cookies, says of itself what browsers say, and sends forms as they stand."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from html.parser import HTMLParser
from typing import Self
from urllib.parse import urlencode, urlsplit

import httpx

from tests.api import PASSWORD, Api, Person

ORIGIN = "http://testserver.local"
_TOKEN = re.compile(r'name="csrf_token" value="([0-9a-f]{64})"')


class Texts(HTMLParser):
    """The words of a page, without what is only for machines."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append(" ".join(data.split()))


def words_of(page: httpx.Response) -> str:
    """What a person reads on a page."""
    parser = Texts()
    parser.feed(page.text)
    return " ".join(parser.words)


class Browser:
    """One person's browser, or a guest's."""

    def __init__(self, api: Api, origin: str = ORIGIN) -> None:
        self._origin = origin
        self._client = httpx.AsyncClient(transport=api.client._transport, base_url=origin)
        self._token = ""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

    @property
    def cookies(self) -> httpx.Cookies:
        """What the server has set."""
        return self._client.cookies

    async def get(self, path: str, status: int = 200, headers: Mapping[str, str] | None = None) -> httpx.Response:
        """Open a page and remember the token of its forms."""
        answer = await self._client.get(path, headers={"Accept": "text/html", **(headers or {})})
        assert answer.status_code == status, (path, answer.status_code, words_of(answer))
        if found := _TOKEN.search(answer.text):
            self._token = found[1]
        return answer

    async def send(
        self,
        path: str,
        fields: dict[str, str] | Iterable[tuple[str, str]] = (),
        status: int = 303,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> httpx.Response:
        """Send a form with the token of the page opened last."""
        given = fields.items() if isinstance(fields, dict) else fields
        pairs = [*given, ("csrf_token", self._token if token is None else token)]
        said = {"Origin": self._origin, "Sec-Fetch-Site": "same-origin", **(headers or {})}
        answer = await self._client.post(
            path,
            content=urlencode(pairs),
            headers={"Content-Type": "application/x-www-form-urlencoded", **said},
        )
        assert answer.status_code == status, (path, answer.status_code, words_of(answer))
        if found := _TOKEN.search(answer.text):
            self._token = found[1]
        return answer

    async def follow(self, answer: httpx.Response) -> httpx.Response:
        """Open the page that a redirect leads to; it must be one of ours."""
        assert answer.status_code == 303
        target = urlsplit(answer.headers["location"])
        assert not target.scheme
        assert not target.netloc
        return await self.get(answer.headers["location"])

    async def sign_in(self, person: Person, then: str = "") -> httpx.Response:
        """Sign a person in as they would do it."""
        await self.get("/sign-in")
        return await self.send("/sign-in", {"email": person.email, "password": PASSWORD, "next": then})
