"""Somebody who looks at the dashboard."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.api import Api, Person
from tests.integration.dashboard.browser import Browser


@pytest.fixture
async def person(api: Api) -> Person:
    """Somebody with a tenant of their own."""
    return await api.person("olga")


@pytest.fixture
async def browser(api: Api, person: Person) -> AsyncIterator[Browser]:
    """Their browser, signed in."""
    async with Browser(api) as opened:
        await opened.sign_in(person)
        yield opened
