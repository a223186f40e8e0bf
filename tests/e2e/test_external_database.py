"""A machine on somebody's own PostgreSQL, as old as is supported: reached over TCP, with a password for each role."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import asyncpg
import docker
import pytest

from control_plane.database.roles import LOGIN_ROLES
from tests.api import Api
from tests.e2e.machine import Machine, installed
from tests.e2e.postgres import Server, running_server
from tests.e2e.processes import alive
from tests.waiting import until
from tests.world import published, subscribe

pytestmark = pytest.mark.engine


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with running_server() as made:
        yield made


@pytest.fixture(scope="module")
def machine(engine: docker.DockerClient, server: Server) -> Iterator[Machine]:
    with installed(engine, environ={"TRADEWISE_DATABASE_URL": server.url()}) as made:
        made.start()
        yield made


async def test_it_is_an_older_version_than_the_embedded_one(server: Server) -> None:
    assert 15 <= int(server.version.split(".")[0]) < 18


async def test_every_role_has_a_password_of_its_own_that_only_its_owner_can_read(
    machine: Machine, server: Server
) -> None:
    for kind, role in LOGIN_ROLES.items():
        connection = await asyncpg.connect(machine.url(kind))
        assert await connection.fetchval("select current_user") == role
        await connection.close()
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(server.url(user=role))
    kept = machine.data / "keys" / "roles.json"
    assert kept.stat().st_mode & 0o777 == 0o600
    logs = [file.read_text("utf-8") for file in (machine.data / "logs").iterdir()]
    for text in (machine.said, machine.printed, *logs):
        assert server.password not in text
        assert "postgresql://tradewise" not in text
    assert f"postgresql://postgres:***@127.0.0.1:{server.port}/postgres" in machine.said


async def test_a_subscription_works_on_it(machine: Machine, engine: docker.DockerClient) -> None:
    async with machine.client() as client:
        ada, bob = await Api(client).person("ada"), await Api(client).person("bob")
        subscription = await subscribe(bob, await published(ada))

        async def worth() -> Any:
            found = await bob.call("GET", f"/subscriptions/{subscription['id']}")
            return found["bot_status"] == "running" and found["equity"] is not None and Decimal(found["equity"])

        await until(worth, what="a worth", deadline_s=60.0)
        assert len(machine.containers(engine, subscription["bot_id"])) == 1


def test_the_commands_speak_of_that_server(machine: Machine, server: Server) -> None:
    assert machine.cli("db", "url", "--role", "admin").strip() == server.url()
    assert "matches policies/" in machine.cli("db", "check")
    assert "kek-" in machine.cli("keys", "status")
    healthy = machine.healthy()
    assert [line.split()[0] for line in healthy.splitlines()] == ["ok"] * 7
    assert f"postgresql://tradewise_api:***@127.0.0.1:{server.port}/postgres answers" in healthy


def test_it_ends_without_the_server_and_begins_again(machine: Machine, engine: docker.DockerClient) -> None:
    processes = machine.processes()
    urls = {kind: machine.url(kind) for kind in LOGIN_ROLES}
    assert machine.stop() == 0
    assert not any(map(alive, processes))
    assert machine.containers(engine) == []
    machine.start()
    assert {kind: machine.url(kind) for kind in LOGIN_ROLES} == urls
