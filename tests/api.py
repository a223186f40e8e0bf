"""The real application over ASGI, in the test's own event loop, with a scheduler that makes tenants' keys."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, cast
from uuid import UUID

import httpx
import msgspec
from litestar import Litestar
from uuid_utils.compat import uuid7

from agents.agent import make_pool
from agents.scheduler.agent import Scheduler
from control_plane.app import create_app, equip
from control_plane.dashboard.assets import AssetManifest
from control_plane.security.vault import Vault
from control_plane.settings import Settings
from tests.factories import Urls

PASSWORD = "a long enough password"


class Person(msgspec.Struct):
    """A signed-in person and a client that carries their token."""

    email: str
    token: str
    tenant_id: UUID
    user_id: UUID
    client: httpx.AsyncClient

    async def call(self, method: str, path: str, *, status: int | None = None, **options: Any) -> Any:
        """Call ``/api/v1{path}``; with ``status``, insist on it. Returns the decoded body, or None."""
        headers = {"Authorization": f"Bearer {self.token}", **options.pop("headers", {})}
        answer = await self.client.request(method, f"/api/v1{path}", headers=headers, **options)
        if status is not None:
            assert answer.status_code == status, (answer.status_code, answer.text)
        return answer.json() if answer.content else None


class Api:
    """The application under test."""

    def __init__(self, client: httpx.AsyncClient, scheduler: Scheduler | None = None) -> None:
        self.client = client
        self._scheduler = scheduler

    @property
    def scheduler(self) -> Scheduler:
        """The scheduler beside it; one that runs in a process of its own is out of reach."""
        assert self._scheduler is not None
        return self._scheduler

    async def person(self, name: str = "ada") -> Person:
        """Sign a new person up and in."""
        number = uuid7().hex[-8:]
        email = f"{name}-{number}@example.com"
        body = {"email": email, "password": PASSWORD, "full_name": name.title()}
        answer = await self.client.post("/api/v1/auth/sign-up", json=body)
        assert answer.status_code == 202, answer.text
        return await self.sign_in(email)

    async def sign_in(self, email: str) -> Person:
        """A further session of a person."""
        answer = await self.client.post("/api/v1/auth/sign-in", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        return Person(
            email=email,
            token=body["access_token"],
            tenant_id=UUID(body["tenants"][0]["id"]),
            user_id=UUID(body["user"]["id"]),
            client=self.client,
        )


#: Applications that do not run, by what of their settings is in their routes. To make one takes as long as most tests.
_IDLE: dict[tuple[bool, tuple[str, ...]], list[Litestar]] = defaultdict(list)


@contextmanager
def _application(settings: Settings) -> Iterator[Litestar]:
    """An application with these settings, made anew only where none is idle: its state is another each time."""
    idle = _IDLE[settings.secure_cookies, settings.allowed_hosts]
    if idle:
        app = idle.pop()
        # Pages hold nothing of an installation, and to compile one takes longer than most requests for it.
        pages = app.state.pages
        app.state.clear()
        equip(app, settings, AssetManifest.load())
        app.state.pages = pages
    else:
        app = create_app(settings)
    yield app
    idle.append(app)


@asynccontextmanager
async def running_api(settings: Settings, urls: Urls, vault: Vault) -> AsyncIterator[Api]:
    """Start the application and a scheduler; stop both at the end."""
    with _application(settings) as app:
        async with _served(app, settings, urls, vault) as api:
            yield api


@asynccontextmanager
async def _served(app: Litestar, settings: Settings, urls: Urls, vault: Vault) -> AsyncIterator[Api]:
    pool = await make_pool(urls["agent_scheduler"], "scheduler", size=2)
    scheduler = Scheduler(settings, pool, vault)
    stop = asyncio.Event()

    async def provision() -> None:
        while not stop.is_set():
            await scheduler.provision_keys()
            try:
                await asyncio.wait_for(stop.wait(), 0.05)
            except TimeoutError:
                continue

    started = asyncio.Event()

    async def serve() -> None:
        # The application's start and stop must happen in one task; a fixture's two halves may run in two.
        async with app.lifespan():
            started.set()
            await stop.wait()

    tasks = [asyncio.create_task(provision()), asyncio.create_task(serve())]
    ready = asyncio.create_task(started.wait())
    await asyncio.wait([ready, *tasks], return_when=asyncio.FIRST_COMPLETED)
    try:
        if not started.is_set():
            await tasks[1]  # raises what kept it from starting
        transport = httpx.ASGITransport(app=cast("Any", app), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver.local") as client:
            yield Api(client, scheduler)
    finally:
        stop.set()
        ready.cancel()
        await asyncio.gather(*tasks)
        await pool.close()
