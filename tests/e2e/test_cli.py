"""The command line: what each command says and how it ends, on a running machine and on databases that are not fit."""

from __future__ import annotations

import os
import re
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import asyncpg
import docker
import pytest

from control_plane.database.roles import LOGIN_ROLES
from tests.e2e.machine import TRADEWISE, Machine, installed
from tests.factories import Urls

pytestmark = pytest.mark.engine

LATEST = re.compile(r"0\d{3}")
AGENTS = ("launcher", "poller", "scheduler", "notifier")


@pytest.fixture(scope="module")
def machine(engine: docker.DockerClient) -> Iterator[Machine]:
    with installed(engine) as made:
        made.start()
        yield made


class Shell:
    """The command without a machine, in an empty folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(self, *arguments: str, status: int = 0, environ: Mapping[str, str] | None = None) -> str:
        kept = {name: text for name, text in os.environ.items() if not name.startswith("TRADEWISE_")}
        done = subprocess.run(
            (TRADEWISE, *arguments),
            cwd=self.folder,
            env={**kept, **(environ or {})},
            check=False,
            capture_output=True,
            text=True,
            timeout=60,
        )
        said = done.stdout + done.stderr
        assert done.returncode == status, (arguments, done.returncode, said)
        assert "Traceback" not in said
        return said


@pytest.fixture
def tradewise(tmp_path: Path) -> Shell:
    return Shell(tmp_path)


async def test_every_role_gets_a_connection_string_that_connects(machine: Machine) -> None:
    for kind, role in {**LOGIN_ROLES, "admin": "postgres"}.items():
        connection = await asyncpg.connect(machine.url(kind))
        assert await connection.fetchval("select current_user") == role
        assert await connection.fetchval("select current_database()") == "tradewise"
        await connection.close()
    assert "is not one of" in machine.cli("db", "url", "--role", "root", status=2)


def test_a_policy_that_was_changed_by_hand_is_found_told_and_mended(machine: Machine) -> None:
    assert "is at the newest migration and matches policies/" in machine.cli("db", "check")
    for fault, word in (
        ("alter table bots disable row level security", "bots"),
        ("create policy leak on bots for select to tradewise_api using (true)", "leak"),
        ("grant select on bot_secrets to public", "bot_secrets"),
    ):
        machine.sql(fault)
        said = machine.cli("db", "check", status=1)
        assert word in said
        assert "tradewise db migrate" in said
        assert re.search(rf"FAULT\s+policies\s+.*{word}", machine.cli("doctor", status=1))
        machine.cli("db", "migrate")
        machine.sql("revoke all on bot_secrets from public")
        machine.cli("db", "check")


def test_migrating_what_is_newest_changes_nothing(machine: Machine) -> None:
    said = machine.cli("db", "migrate")
    assert len(set(LATEST.findall(said))) == 1
    assert "policies applied" in said


def test_keys_are_made_once_and_counted(machine: Machine, tradewise: Shell) -> None:
    first = tradewise("keys", "init", "--data-dir", "here")
    assert "made; keep a copy" in first
    file = tradewise.folder / "here" / "keys" / "kek.json"
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_bytes()
    assert "was there already" in tradewise("keys", "init", "--data-dir", "here")
    assert file.read_bytes() == before
    assert "tradewise up" in tradewise("keys", "status", "--data-dir", "here", status=1)
    # The platform's, and the one that signs the audit log, which may not be made yet.
    assert re.fullmatch(r"kek-[0-9a-f]{8}: (1 key pair|2 key pairs) \(current\)\n", machine.cli("keys", "status"))


def test_the_doctor_finds_a_healthy_machine_healthy_and_names_each_fault(machine: Machine, tradewise: Shell) -> None:
    healthy = machine.healthy()
    assert [line.split()[0] for line in healthy.splitlines()] == ["ok"] * 7
    ill = tradewise("doctor", status=1, environ={"DOCKER_HOST": f"unix://{tradewise.folder}/nobody.sock"})
    faults = [line.split()[1] for line in ill.splitlines() if line.startswith("FAULT")]
    assert faults == ["database", "key", "engine"]
    wrong = tradewise("doctor", status=1, environ={"TRADEWISE_PORT_RANGE": "80-90"})
    assert "FAULT  configuration  TRADEWISE_PORT_RANGE" in wrong


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("TRADEWISE_POLL_INTERVAL", "soon"),
        ("TRADEWISE_EGRESS_ALLOW", "everywhere"),
        ("TRADEWISE_DATABASE_URL", "mysql://root@localhost/x"),
        ("TRADEWISE_NO_SUCH_THING", "1"),
    ],
)
@pytest.mark.parametrize("command", [("up",), ("api",), ("agent", "poller"), ("db", "check")], ids=" ".join)
def test_a_wrong_setting_stops_the_start_and_is_named(
    tradewise: Shell, command: tuple[str, ...], name: str, text: str
) -> None:
    said = tradewise(*command, status=1, environ={name: text})
    assert said.startswith(f"Error: {name}: ")
    assert len(said.splitlines()) == 1
    assert not (tradewise.folder / ".tradewise").exists()


def test_a_database_that_does_not_answer_is_named_without_its_password(tradewise: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    url = f"postgresql://someone:planted-password@127.0.0.1:{port}/x"
    tradewise("keys", "init")
    for command, name in (
        (("up", "--port", str(port)), "TRADEWISE_DATABASE_URL"),
        (("api",), "TRADEWISE_DATABASE_URL"),
        (("db", "check"), "TRADEWISE_DATABASE_URL"),
        (("db", "migrate"), "TRADEWISE_MIGRATION_DATABASE_URL"),
        (("agent", "poller"), "TRADEWISE_AGENT_DATABASE_URL"),
        (("keys", "status"), "TRADEWISE_AGENT_DATABASE_URL"),
    ):
        said = tradewise(*command, status=1, environ={name: url})
        assert f"no connection to the database at postgresql://someone:***@127.0.0.1:{port}/x" in said, command
        assert "planted-password" not in said


def test_processes_refuse_a_database_that_is_behind_and_say_the_command(tradewise: Shell, urls: Urls) -> None:
    tradewise("keys", "init")
    admin = {"TRADEWISE_MIGRATION_DATABASE_URL": urls.admin}
    api = {"TRADEWISE_DATABASE_URL": urls["api"]}
    newest = LATEST.findall(tradewise("db", "migrate", environ=admin))[0]
    for back, kinds in (("0002", AGENTS), ("base", AGENTS[:1])):
        assert f"(was {newest})" in tradewise("db", "downgrade", back, environ=admin)
        assert "run `tradewise db migrate`" in tradewise("db", "check", status=1, environ=api)
        refused = [tradewise("api", status=1, environ=api)]
        refused += [
            tradewise("agent", kind, status=1, environ={"TRADEWISE_AGENT_DATABASE_URL": urls[f"agent_{kind}"]})
            for kind in kinds
        ]
        for said in refused:
            assert said.startswith("Error: the database is not ready:")
            assert "run `tradewise db migrate`" in said
        assert f"at migration {newest}" in tradewise("db", "migrate", environ=admin)
        assert "matches policies/" in tradewise("db", "check", environ=api)


def test_the_api_refuses_to_serve_as_anybody_whom_policies_do_not_bind(tradewise: Shell, urls: Urls) -> None:
    for role in (urls.admin, urls["owner"]):
        said = tradewise("api", status=1, environ={"TRADEWISE_DATABASE_URL": role})
        assert "is not bound by row-level security: connect as tradewise_api (TRADEWISE_DATABASE_URL)" in said
