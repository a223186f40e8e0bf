"""The demo as a newcomer meets it: what it prints is true, it comes back as it was, and nothing of it stays behind."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import docker
import httpx
import pytest

from tests.api import Person
from tests.e2e.machine import BRISK, Machine, installed
from tests.e2e.processes import alive
from tests.waiting import until, until_sync

pytestmark = pytest.mark.engine

TICK = timedelta(seconds=0.5)
HOSTED = 3


@pytest.fixture(scope="module")
def demo(engine: docker.DockerClient) -> Iterator[Machine]:
    """The demo with nothing set, as it is delivered."""
    with installed(engine, "demo", environ=dict.fromkeys(BRISK)) as machine:
        machine.start()
        yield machine


@asynccontextmanager
async def signed_in(machine: Machine, email: str) -> AsyncIterator[Person]:
    """A person of the story, with the password that the demo prints."""
    found = re.search(r"password (\S+)", machine.printed)
    assert found, machine.printed
    async with machine.client() as client:
        answer = await client.post("/api/v1/auth/sign-in", json={"email": email, "password": found[1]})
        assert answer.status_code == 200, answer.text
        body = answer.json()
        tenant, user = body["tenants"][0]["id"], body["user"]["id"]
        yield Person(email=email, token=body["access_token"], tenant_id=tenant, user_id=user, client=client)


def table(printed: str, first: str) -> list[dict[str, str]]:
    """The rows of the printed table whose heading begins with ``first``."""
    block = next(part for part in printed.split("\n\n") if part.strip().startswith(first))
    head, *rows = block.strip("\n").splitlines()
    starts = [match.start() for match in re.finditer(r"\S+", head)]
    ends = [*starts[1:], None]
    names = head.split()
    return [
        {name: row[start:end].strip() for name, start, end in zip(names, starts, ends, strict=True)} for row in rows
    ]


def amount(shown: str) -> Decimal:
    return Decimal(shown.split(maxsplit=1)[0].replace(",", "").rstrip("%"))


async def only(person: Person, path: str) -> dict[str, Any]:
    [item] = (await person.call("GET", path, status=200))["items"]
    return dict(item)


async def ask(port: int, token: str, path: str = "performance") -> dict[str, Any]:
    """The bot's own answer over its published port."""
    async with httpx.AsyncClient() as client:
        answer = await client.get(
            f"http://127.0.0.1:{port}/api/v1/{path}", headers={"Authorization": f"Bearer {token}"}
        )
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def test_it_prints_bots_that_run_and_a_subscription_that_is_worth_something(demo: Machine) -> None:
    bots = table(demo.printed, "BOT ")
    assert [bot["TYPE"] for bot in bots] == ["external", *["platform"] * HOSTED]
    for bot in bots:
        assert bot["STATUS"] == ("connected" if bot["TYPE"] == "external" else "running")
        assert bot["HEALTH"] == "healthy"
        assert (bot["PORT"] == "-") == (bot["TYPE"] == "external")
        assert amount(bot["EQUITY"]) > 0
    assert len({bot["PORT"] for bot in bots}) == len(bots)
    [subscription] = table(demo.printed, "SUBSCRIPTION ")
    assert subscription["STATUS"] == "active"
    allocated, equity = amount(subscription["ALLOCATED"]), amount(subscription["EQUITY"])
    assert allocated == 5000
    assert amount(subscription["PROFIT"]) == equity - allocated != 0
    assert abs(amount(subscription["RETURN"]) - 100 * (equity - allocated) / allocated) <= Decimal("0.001")


def test_docker_shows_each_hosted_bot_with_the_port_that_is_printed(demo: Machine, engine: docker.DockerClient) -> None:
    printed = {int(bot["PORT"]) for bot in table(demo.printed, "BOT ") if bot["PORT"] != "-"}
    running = demo.containers(engine, ended=False)
    published = [(port["IP"], port["PublicPort"]) for item in running for port in item["Ports"]]
    assert sorted(published) == sorted(("127.0.0.1", port) for port in printed)


async def test_the_command_that_it_prints_for_a_hosted_bot_works(demo: Machine) -> None:
    found = re.search(
        r'curl -H "Authorization: Bearer (\S+)" http://127\.0\.0\.1:(\d+)/api/v1/performance', demo.printed
    )
    assert found, demo.printed
    answer = await ask(int(found[2]), found[1])
    assert answer["simulated"] is True
    figures = [Decimal(answer[name]) for name in ("capital_base", "realized_profit", "open_profit")]
    assert sum(figures) == Decimal(answer["equity"])


async def test_a_subscription_is_worth_what_its_bot_says_at_that_very_tick(demo: Machine) -> None:
    async with signed_in(demo, "sam@demo.example") as sam:
        bot = await only(sam, "/bots")
        token = await demo.own_token(bot["id"])
        said: dict[datetime, Decimal] = {}
        first = (await only(sam, "/subscriptions"))["as_of"]

        async def valued_later() -> dict[str, Any] | None:
            answer = await ask(bot["exposed_host_port"], token)
            said[datetime.fromisoformat(answer["as_of"])] = Decimal(answer["equity"])
            subscription = await only(sam, "/subscriptions")
            return subscription if subscription["as_of"] > first and len(said) > 4 else None

        found = await until(valued_later, what="a valuation while we watch")
        as_of = datetime.fromisoformat(found["as_of"])
        told = max(at for at in said if at <= as_of)
        assert as_of - told < 2 * TICK
        assert Decimal(found["equity"]) == said[told]
        assert Decimal(found["profit"]) == said[told] - 5000


async def test_a_second_start_goes_on_where_the_first_ended(demo: Machine, engine: docker.DockerClient) -> None:
    async with signed_in(demo, "sam@demo.example") as sam:
        before = await only(sam, "/subscriptions")
        history = await sam.call("GET", f"/subscriptions/{before['id']}/performance?interval=raw", status=200)
        token = await demo.own_token(before["bot_id"])
        port = (await only(sam, "/bots"))["exposed_host_port"]
        trades = (await ask(port, token, "ledger?limit=200"))["items"]
    stop_and_look(demo, engine)

    demo.start()

    assert len(demo.containers(engine)) == HOSTED
    async with signed_in(demo, "sam@demo.example") as sam:
        after = await only(sam, "/subscriptions")
        assert (after["id"], after["bot_id"]) == (before["id"], before["bot_id"])
        assert Decimal(after["net_deposits"]) == Decimal(before["net_deposits"]) == 5000
        later = await sam.call("GET", f"/subscriptions/{before['id']}/performance?interval=raw", status=200)
        assert later["points"][: len(history["points"])] == history["points"]
        assert len(later["points"]) > len(history["points"])
        assert await demo.own_token(before["bot_id"]) == token
        port = (await only(sam, "/bots"))["exposed_host_port"]
        kept = (await ask(port, token, "ledger?limit=200"))["items"]
        oldest = min(trades, key=lambda item: str(item["at"]))
        assert oldest in kept
        assert len(kept) >= len(trades)


def stop_and_look(machine: Machine, engine: docker.DockerClient) -> None:
    """End it, and see that it is gone whole: processes, database, containers."""
    processes = machine.processes()
    assert len(processes) > 8
    assert machine.stop() == 0
    until_sync(lambda: not any(map(alive, processes)), what="the end of every process", deadline_s=5.0)
    assert machine.containers(engine) == []
    assert not (machine.data / "postgres" / "postmaster.pid").exists()


def test_bots_that_are_kept_run_on_and_are_taken_up_again(demo: Machine, engine: docker.DockerClient) -> None:
    demo.stop()
    demo.start("--keep-bots")
    running = {item["Id"] for item in demo.containers(engine, ended=False)}
    assert len(running) == HOSTED
    processes = demo.processes()
    assert demo.stop() == 0
    assert not any(map(alive, processes))
    assert {item["Id"] for item in demo.containers(engine, ended=False)} == running

    demo.start()
    assert {item["Id"] for item in demo.containers(engine)} == running
    assert {bot["STATUS"] for bot in table(demo.printed, "BOT ")} == {"connected", "running"}
    stop_and_look(demo, engine)
