"""A whole machine through kills, faults and neighbours: it converges, says what is wrong, and leaves others alone."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from tests.api import PASSWORD, Api, Person
from tests.e2e.engine_wire import EngineWire
from tests.e2e.machine import Machine, installed
from tests.e2e.processes import alive
from tests.servers.bot_server import BotServer
from tests.waiting import until, until_sync
from tests.world import external_body, template_body

pytestmark = pytest.mark.engine

AN_OPEN_STREAM_WOULD_HOLD_IT_UP_S = 10.0
CONFIG = {
    "capital": "1000",
    "strategy": {"type": "dca", "symbol": "BTC/USDT"},
    "market": {"kind": "seeded", "seed": 5, "interval_seconds": 0.5, "start_price": "50000"},
}


@pytest.fixture(scope="module")
def wire(engine_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineWire]:
    with EngineWire(tmp_path_factory.mktemp("wire") / "engine.sock", engine_url) as made:
        yield made


@pytest.fixture(scope="module")
def machine(engine: docker.DockerClient, wire: EngineWire) -> Iterator[Machine]:
    with installed(engine, environ={"DOCKER_HOST": wire.url}) as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
async def client(machine: Machine) -> AsyncIterator[httpx.AsyncClient]:
    async with machine.client() as made:
        yield made


@pytest.fixture
async def ada(client: httpx.AsyncClient) -> Person:
    return await Api(client).person("ada")


async def hosted(person: Person, **changes: Any) -> str:
    """A bot of the platform's own kind; its id."""
    body = {"bot_type": "platform", "engine": "tradewise", "name": "ours", "config": CONFIG, **changes}
    made = await person.call("POST", "/bots", json=body, status=201)
    return str(made["id"])


async def outcome(person: Person, bot: str) -> dict[str, Any]:
    found: dict[str, Any] = await person.call("GET", f"/bots/{bot}?wait=30", status=200)
    return found


async def running(person: Person, bot: str) -> dict[str, Any]:
    found = await outcome(person, bot)
    assert (found["status"], found["reason"]) == ("running", None), found
    return found


async def started(person: Person) -> str:
    """A hosted bot that runs; its id."""
    bot = await hosted(person)
    await person.call("POST", f"/bots/{bot}/start", status=202)
    await running(person, bot)
    return bot


async def settled(machine: Machine, engine: docker.DockerClient, person: Person, wanted: dict[str, str]) -> None:
    """Wait until each bot is as wanted, with one container if it is to run and none if not, and nothing is held."""

    async def as_wanted() -> bool:
        found = {bot: (await outcome(person, bot))["status"] for bot in wanted}
        counts = {bot: len(machine.containers(engine, bot)) for bot in wanted}
        return found == wanted and counts == {bot: int(status == "running") for bot, status in wanted.items()}

    await until(as_wanted, what=f"the states {wanted}", deadline_s=60.0)
    held = machine.sql("select bot_id from bot_instances where released_at is null order by 1").split()
    assert held == sorted(bot for bot, status in wanted.items() if status == "running")
    assert len(machine.containers(engine)) == len(held)


async def seen(check: Callable[[], Awaitable[Any]], what: str) -> None:
    """Wait for a moment that may pass quickly."""
    await until(check, what=what, every_s=0.005)


def test_a_second_machine_in_its_folder_or_on_its_port_is_refused(machine: Machine, tmp_path: Path) -> None:
    second = Machine(tmp_path, port=machine.port)
    second.begin()
    assert second.wait() == 1
    assert f"port {machine.port} on 127.0.0.1 is taken" in second.said
    assert "--port" in second.said
    third = Machine(tmp_path, data=machine.data)
    third.begin()
    assert third.wait() == 1
    assert f"TradeWise runs in {machine.data} already" in third.said
    assert "--data-dir" in third.said
    assert machine.cli("db", "check").startswith("the database is at the newest migration")


async def test_the_launcher_is_killed_at_any_moment_and_the_world_converges(
    machine: Machine, engine: docker.DockerClient, ada: Person
) -> None:
    steady, moved = await hosted(ada), await hosted(ada)
    await ada.call("POST", f"/bots/{steady}/start", status=202)
    await running(ada, steady)
    [before] = machine.containers(engine, steady)

    async def claimed() -> bool:
        return bool(machine.sql(f"select 1 from bot_instances where bot_id = '{moved}' and released_at is null"))

    async def made() -> bool:
        return bool(machine.containers(engine, moved))

    async def stopping() -> bool:
        return bool((await ada.call("GET", f"/bots/{moved}"))["status"] == "stopping")

    for wish, moment in (("start", claimed), ("stop", stopping), ("start", made), ("restart", made)):
        await ada.call("POST", f"/bots/{moved}/{wish}", status=202)
        await seen(moment, f"a {wish} on its way")
        killed = machine.kill("agent", "launcher")
        machine.until_reborn(killed, "agent", "launcher")
        await settled(machine, engine, ada, {steady: "running", moved: "inactive" if wish == "stop" else "running"})
    assert [item["Id"] for item in machine.containers(engine, steady)] == [before["Id"]]
    for bot in (steady, moved):
        await ada.call("DELETE", f"/bots/{bot}", status=204)
    await until(lambda: not machine.containers(engine), what="nothing left of deleted bots")


async def test_the_poller_is_killed_while_a_bot_comes_up(
    machine: Machine, engine: docker.DockerClient, ada: Person
) -> None:
    bot = await hosted(ada)
    killed = machine.kill("agent", "poller")
    await ada.call("POST", f"/bots/{bot}/start", status=202)
    reborn = machine.until_reborn(killed, "agent", "poller")
    first = (await running(ada, bot))["health"]["observed_at"]
    machine.until_reborn(machine.kill("agent", "poller") or reborn, "agent", "poller")

    async def looked_again() -> bool:
        return bool((await ada.call("GET", f"/bots/{bot}"))["health"]["observed_at"] > first)

    await until(looked_again, what="a newer look")
    await ada.call("DELETE", f"/bots/{bot}", status=204)
    await until(lambda: not machine.containers(engine, bot), what="nothing left of the bot")


async def test_the_scheduler_is_killed_and_a_new_tenant_gets_its_keys(
    machine: Machine, client: httpx.AsyncClient
) -> None:
    killed = machine.kill("agent", "scheduler")
    person = await Api(client).person("eve")
    machine.until_reborn(killed, "agent", "scheduler")

    async def registered() -> bool:
        answer = await client.post(
            "/api/v1/bots", json=external_body(), headers={"Authorization": f"Bearer {person.token}"}
        )
        assert answer.status_code in {201, 503}, answer.text
        return answer.status_code == 201

    await until(registered, what="a secret that can be sealed")


async def test_the_api_is_killed_while_it_is_asked_and_nothing_is_done_twice(
    machine: Machine, engine: docker.DockerClient, client: httpx.AsyncClient, ada: Person
) -> None:
    bot = await hosted(ada)
    head = {"Idempotency-Key": "once"}
    asking = asyncio.create_task(ada.call("POST", f"/bots/{bot}/start", headers=head))
    await asyncio.to_thread(machine.kill, "api")
    await asyncio.gather(asking, return_exceptions=True)

    async def answered() -> bool:
        try:
            await ada.call("POST", f"/bots/{bot}/start", headers=head, status=202)
        except httpx.TransportError:
            return False
        return True

    await until(answered, what="the API's return", deadline_s=30.0)
    await settled(machine, engine, ada, {bot: "running"})
    again = await client.post("/api/v1/auth/sign-in", json={"email": ada.email, "password": PASSWORD})
    assert again.status_code == 200
    await ada.call("DELETE", f"/bots/{bot}", status=204)
    await until(lambda: not machine.containers(engine), what="nothing left of the bot")


async def test_a_bot_whose_image_is_missing_says_so(machine: Machine, ada: Person) -> None:
    made = await ada.call("POST", "/templates", json=template_body(image="tradewise/no-such-image:1"), status=201)
    bot = await hosted(ada, template_id=made["id"], config=None)
    await ada.call("POST", f"/bots/{bot}/start", status=202)
    found = await outcome(ada, bot)
    assert (found["status"], found["reason"], found["desired"]) == ("error", "image_missing", "running")
    assert "tradewise/no-such-image:1" in found["reason_detail"]
    await ada.call("DELETE", f"/bots/{bot}", status=204)


async def test_an_engine_that_is_away_takes_no_status_with_it(
    machine: Machine, engine: docker.DockerClient, wire: EngineWire, ada: Person
) -> None:
    bot = await started(ada)
    [before] = machine.containers(engine, bot)

    async def health() -> Any:
        found = await ada.call("GET", f"/bots/{bot}")
        return found["status"], found["health"]["state"], found["health"]["reason"]

    async with BotServer() as server:
        wire.cut()
        await until_equal(health, ("running", "stale", "engine_unreachable"))
        body = external_body(api_url=server.url, credentials={"token": server.token})
        outside = await ada.call("POST", "/bots", json=body, status=201)
        assert (await outcome(ada, outside["id"]))["status"] == "connected"
        wire.join()
        await until_equal(health, ("running", "healthy", None))
        await ada.call("DELETE", f"/bots/{outside['id']}", status=204)
    assert [item["Id"] for item in machine.containers(engine, bot)] == [before["Id"]]
    await ada.call("DELETE", f"/bots/{bot}", status=204)
    await until(lambda: not machine.containers(engine, bot), what="nothing left of the bot")


async def until_equal(read: Callable[[], Awaitable[Any]], wanted: Any) -> None:
    async def equal() -> bool:
        return bool(await read() == wanted)

    await until(equal, what=f"{wanted}", deadline_s=30.0)


async def test_two_machines_on_one_engine_leave_each_other_alone(
    machine: Machine, engine: docker.DockerClient, ada: Person
) -> None:
    bot = await started(ada)
    [ours] = machine.containers(engine)
    with installed(engine) as neighbour:
        await asyncio.to_thread(neighbour.start)
        async with neighbour.client() as theirs:
            bob = await Api(theirs).person("bob")
            other = await hosted(bob)
            await bob.call("POST", f"/bots/{other}/start", status=202)
            shown = await running(bob, other)
            assert shown["exposed_host_port"] != (await running(ada, bot))["exposed_host_port"]
            await ada.call("POST", f"/bots/{bot}/restart", status=202)
            await running(ada, bot)
            [renewed] = machine.containers(engine)
            assert renewed["Id"] != ours["Id"]
            assert len(neighbour.containers(engine, ended=False)) == 1
        processes = neighbour.processes()
        assert await asyncio.to_thread(neighbour.stop) == 0
        assert neighbour.containers(engine) == []
        assert not any(map(alive, processes))
        assert [item["Id"] for item in machine.containers(engine, ended=False)] == [renewed["Id"]]
        assert (await ada.call("GET", f"/bots/{bot}"))["status"] == "running"


async def test_a_database_that_dies_is_started_again_and_no_bot_with_it(
    machine: Machine, engine: docker.DockerClient, ada: Person
) -> None:
    bot = await started(ada)
    kept = {item["Id"] for item in machine.containers(engine, ended=False)}
    killed = machine.postmaster
    assert killed is not None
    os.kill(killed, signal.SIGKILL)
    machine.until_said("the embedded PostgreSQL is back", deadline_s=60.0)
    assert machine.postmaster not in {None, killed}
    await until(lambda: answers(ada, bot), what="an answer from the database", deadline_s=60.0)
    await running(ada, bot)
    assert {item["Id"] for item in machine.containers(engine)} == kept


async def test_a_stop_without_a_database_says_what_goes_on_running(
    machine: Machine, engine: docker.DockerClient, ada: Person
) -> None:
    bot = await started(ada)
    kept = {item["Id"] for item in machine.containers(engine, ended=False)}
    assert machine.postmaster is not None
    os.kill(machine.postmaster, signal.SIGINT)
    await until(lambda: machine.postmaster is None, what="the end of the database server")
    assert await asyncio.to_thread(machine.stop) == 1
    assert "hosted bots could not be stopped" in machine.said
    assert "Traceback" not in machine.said
    await asyncio.to_thread(machine.start)
    await running(ada, bot)
    assert {item["Id"] for item in machine.containers(engine)} == kept


async def answers(person: Person, bot: str) -> bool:
    """Whether a bot can be read."""
    headers = {"Authorization": f"Bearer {person.token}"}
    return (await person.client.get(f"/api/v1/bots/{bot}", headers=headers)).status_code == 200


async def test_a_machine_that_is_killed_leaves_nobody_in_the_way_of_the_next(
    machine: Machine, engine: docker.DockerClient, ada: Person
) -> None:
    bot = await started(ada)
    kept = {item["Id"] for item in machine.containers(engine, ended=False)}
    postmaster = machine.postmaster
    assert postmaster is not None
    children = machine.processes() - {machine.pid, postmaster}
    assert machine.stop(signal.SIGKILL) == -signal.SIGKILL
    until_sync(
        lambda: not any(alive(pid) and b"control_plane" in command(pid) for pid in children),
        what="the end of those that it kept alive",
    )
    await asyncio.to_thread(machine.start)
    await running(ada, bot)
    assert {item["Id"] for item in machine.containers(engine)} == kept
    processes = machine.processes()
    async with following(ada) as lines:
        began = time.monotonic()
        assert await asyncio.to_thread(machine.stop) == 0
        assert time.monotonic() - began < AN_OPEN_STREAM_WOULD_HOLD_IT_UP_S
        assert all([line async for line in lines])  # it ends as an answer does: one cut off would raise
    assert not any(map(alive, processes | {postmaster}))
    assert machine.containers(engine) == []


@asynccontextmanager
async def following(person: Person) -> AsyncIterator[AsyncIterator[str]]:
    """An open page's stream of events, after its first line."""
    headers = {"Authorization": f"Bearer {person.token}"}
    async with person.client.stream("GET", "/api/v1/events", headers=headers) as stream:
        lines = (line async for line in stream.aiter_lines() if line)
        assert await anext(lines)
        yield lines


def command(pid: int) -> bytes:
    """A process's command line; nothing where it has ended."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


async def test_without_an_engine_external_bots_work_and_no_other_engine_is_taken(
    engine: docker.DockerClient, tmp_path: Path
) -> None:
    with installed(engine, environ={"DOCKER_HOST": f"unix://{tmp_path}/nobody.sock"}) as lonely:
        await asyncio.to_thread(lonely.start)
        assert "no bots can be hosted here, external bots work" in lonely.said
        assert "DOCKER_HOST" in lonely.said
        async with lonely.client() as client, BotServer() as server:
            eve = await Api(client).person("eve")
            body = external_body(api_url=server.url, credentials={"token": server.token})
            outside = await eve.call("POST", "/bots", json=body, status=201)
            assert (await outcome(eve, outside["id"]))["status"] == "connected"
            bot = await hosted(eve)
            await eve.call("POST", f"/bots/{bot}/start", status=202)

            async def health() -> Any:
                found = await eve.call("GET", f"/bots/{bot}")
                return found["status"], found["health"]["state"], found["health"]["reason"]

            await until_equal(health, ("starting", "stale", "engine_unreachable"))
        assert lonely.containers(engine) == []
        assert await asyncio.to_thread(lonely.stop) == 0


def test_a_start_that_is_interrupted_ends_at_once_and_leaves_nothing(engine: docker.DockerClient) -> None:
    with installed(engine) as hasty:
        for words, number in (
            ("database: embedded", signal.SIGTERM),
            ("container engine", signal.SIGINT),
            ("image of the hosted bot", signal.SIGTERM),
        ):
            hasty.begin()
            hasty.until_said(words)
            processes = hasty.processes()
            assert hasty.stop(number) == 0, hasty.said
            assert "Traceback" not in hasty.said
            assert not any(map(alive, processes))
            assert not (hasty.data / "postgres" / "postmaster.pid").exists()
