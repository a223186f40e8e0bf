"""Thousands of requests over few connections to the database, many clients gone before their answer."""

from __future__ import annotations

import asyncio
import json
import random

import httpx
import msgspec
import pytest

from control_plane.database.sessions import Database
from control_plane.settings import Settings
from tests.api import Api, Person
from tests.servers.web_server import served
from tests.waiting import until
from tests.world import external_body

_REQUESTS = 2000
_CLIENTS = 40


class Client:
    """One of many on the same port, each with a dice of its own."""

    def __init__(self, port: int, people: list[tuple[Person, set[str]]], seed: int) -> None:
        self.port = port
        self.people = people
        self.dice = random.Random(seed)
        self.answered = self.cut = 0
        self.strange: list[str] = []

    async def run(self, count: int) -> None:
        for number in range(count):
            person, own = self.dice.choice(self.people)
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
            writer.write(self._request(person, number))
            try:
                if self.dice.random() < 0.4:
                    # Gone at any moment between the first byte sent and the last one received.
                    await asyncio.wait([asyncio.ensure_future(reader.read(200))], timeout=self.dice.random() / 50)
                    writer.transport.abort()
                    self.cut += 1
                else:
                    async with asyncio.timeout(60):
                        self._judge(await reader.read(), own)
            finally:
                writer.close()

    def _request(self, person: Person, number: int) -> bytes:
        head = f"Host: x\r\nAuthorization: Bearer {person.token}\r\nConnection: close\r\n"
        if number % 5 == 0:  # a write, begun and perhaps never finished
            bot = self.dice.choice(sorted(next(own for one, own in self.people if one is person)))
            body = json.dumps({"description": f"said {number}"})
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            return f"PATCH /api/v1/bots/{bot} HTTP/1.1\r\n{head}\r\n{body}".encode()
        return f"GET /api/v1/bots HTTP/1.1\r\n{head}\r\n".encode()

    def _judge(self, answer: bytes, own: set[str]) -> None:
        head, _, body = answer.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        told = json.loads(body)
        seen = {item["id"] for item in told["items"]} if "items" in told else {told.get("id")}
        if status != 200 or not seen <= own or ("items" in told and seen != own):
            self.strange.append(f"{status} {told}")
        self.answered += 1


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Few connections for many clients."""
    return msgspec.structs.replace(settings, database_pool_size=5)


async def test_nobody_meets_anybody_and_every_connection_comes_back(api: Api) -> None:
    people = []
    for name in ("ada", "bob", "eve"):
        person = await api.person(name)
        own = set()
        for number in range(3):
            body = external_body(name=f"{name} {number}", api_url=f"http://127.0.0.1:{2000 + number}")
            own.add((await person.call("POST", "/bots", json=body, status=201))["id"])
        people.append((person, own))
    transport = api.client._transport
    assert isinstance(transport, httpx.ASGITransport)
    database: Database = transport.app.state.database  # type: ignore[attr-defined]
    pool = database.engine.pool
    assert pool.size() == 5  # type: ignore[attr-defined]
    async with served(api) as url:
        port = int(url.rsplit(":", 1)[1])
        clients = [Client(port, people, 11_000 + number) for number in range(_CLIENTS)]
        await asyncio.gather(*(client.run(_REQUESTS // _CLIENTS) for client in clients))
        assert [line for client in clients for line in client.strange] == []
        assert sum(client.answered for client in clients) > _REQUESTS / 2
        assert sum(client.cut for client in clients) > _REQUESTS / 4
        await until(lambda: pool.checkedout() == 0, what="every connection is back")  # type: ignore[attr-defined]
    for person, own in people:
        assert {item["id"] for item in (await person.call("GET", "/bots", status=200))["items"]} == own
