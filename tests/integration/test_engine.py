"""The container engine and the images in it, on real daemons.

A daemon that a test starts lives in network and mount namespaces of its own, where it finds no other engine and cannot
touch the one of the machine. That needs root; without root, the set-up has to say what to do instead.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from agents.launcher import images, own_bridge, own_daemon
from agents.launcher.base_image import ensure_base_image
from agents.launcher.engine import EngineUnavailable, ensure_engine, find_engine, open_client
from tests.waiting import until_sync

pytestmark = pytest.mark.engine

ROOT = Path(__file__).resolve().parents[2]
# Hides the machine's own engine, and whatever else keeps its socket in /run.
_HIDE = 'mount --make-rprivate / 2>/dev/null; mount -t tmpfs none /run && exec "$@"'
_APART = ("unshare", "--net", "--mount", "--propagation", "unchanged", "sh", "-c", _HIDE, "apart")


def silent(text: str) -> None:
    del text


class Daemon:
    """The set-up's command line, at work on a daemon in a folder of its own."""

    def __init__(self, folder: Path, path: str = os.environ["PATH"]) -> None:
        hidden = {"DOCKER_HOST", "TRADEWISE_DOCKER_HOST"}
        self.env = {name: value for name, value in os.environ.items() if name not in hidden}
        self.env |= {"TRADEWISE_ENGINE_DIR": str(folder), "PATH": path}
        self.at = own_daemon.places(self.env)

    def begin(self, *arguments: str, apart: bool = True) -> subprocess.Popen[str]:
        command = (sys.executable, "-m", "agents.launcher.engine", *arguments)
        return subprocess.Popen(
            (*_APART, *command) if apart else command, cwd=ROOT, env=self.env,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.begin(*arguments)
        out, told = process.communicate(timeout=120)
        return process.returncode, out.strip(), told

    def pid(self) -> int:
        return int(self.at.pidfile.read_text("utf-8"))


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short path: the path of a socket may not exceed 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="tw-", ignore_cleanup_errors=True) as name:
        yield Path(name)


@pytest.fixture
def daemon(folder: Path) -> Iterator[Daemon]:
    made = Daemon(folder)
    yield made
    made.run("stop")


if os.geteuid() == 0:

    def test_two_calls_at_once_start_one_daemon_that_outlives_them(daemon: Daemon) -> None:
        both = [daemon.begin("ensure"), daemon.begin("ensure")]
        answers = [process.communicate(timeout=120) for process in both]
        assert [process.returncode for process in both] == [0, 0], answers
        assert {out.strip() for out, _ in answers} == {daemon.at.url}
        assert sum("Starting a container engine of our own" in told for _, told in answers) == 1

        client = open_client(daemon.at.url)
        assert client.info()["DockerRootDir"] == str(daemon.at.state / "data")
        client.close()

        first = daemon.pid()
        code, out, told = daemon.run("ensure")
        assert (code, out) == (0, daemon.at.url)
        assert re.fullmatch(r"Container engine [\w.+~-]+, our own\n", told)
        assert daemon.pid() == first

    def test_a_stopped_daemon_is_gone_and_says_how_to_come_back(daemon: Daemon) -> None:
        assert daemon.run("ensure")[0] == 0
        assert daemon.run("stop") == (0, "", "Stopped our container engine\n")
        assert daemon.run("stop") == (0, "", "Our container engine was not running\n")
        code, out, told = daemon.run("status")
        assert (code, out) == (1, "")
        assert "no container engine answers. Run `make engine`" in told

    def test_a_killed_daemon_is_started_again(daemon: Daemon) -> None:
        assert daemon.run("ensure")[0] == 0
        killed = daemon.pid()
        os.kill(killed, signal.SIGKILL)
        until_sync(lambda: not Path(f"/proc/{killed}/cmdline").is_file() or not _command_of(killed), what="its end")
        code, out, told = daemon.run("ensure")
        assert (code, out) == (0, daemon.at.url), told
        assert daemon.pid() != killed

    def test_without_packet_filtering_it_starts_all_the_same_and_says_what_is_lost(folder: Path) -> None:
        tools = folder / "tools"
        tools.mkdir()
        for name in ("iptables", "ip6tables"):
            (tools / name).write_text("#!/bin/sh\necho 'Permission denied' >&2\nexit 4\n", "utf-8")
            (tools / name).chmod(0o755)
        daemon = Daemon(folder, f"{tools}:{os.environ['PATH']}")
        code, _, told = daemon.run("ensure")
        try:
            assert code == 0, told
            assert "starting it without" in told
            assert "keeps none from reaching another" in told
            assert json.loads(daemon.at.config.read_text("utf-8"))["iptables"] is False
        finally:
            daemon.run("stop")

    def test_beside_another_daemon_ours_takes_a_network_apart(folder: Path) -> None:
        first, second = Daemon(folder / "a"), Daemon(folder / "b")
        script = f"""
            TRADEWISE_ENGINE_DIR={folder}/a "$1" -m agents.launcher.engine ensure &&
            TRADEWISE_ENGINE_DIR={folder}/b "$1" -m agents.launcher.engine ensure
        """
        done = subprocess.run(
            (*_APART, "sh", "-c", script, "both", sys.executable),
            cwd=ROOT, env=first.env, capture_output=True, text=True, check=False, timeout=180,
        )  # fmt: skip
        try:
            assert done.returncode == 0, done.stderr
            assert f"Another Docker daemon runs here (process {first.pid()})" in done.stderr
            config = json.loads(second.at.config.read_text("utf-8"))
            assert config["bridge"] == own_bridge.bridge_name(second.at.state)
            client = open_client(second.at.url)
            subnet = client.networks.get("bridge").attrs["IPAM"]["Config"][0]["Subnet"]
            client.close()
            assert subnet.startswith("172.31.")
        finally:
            second.run("stop")
            first.run("stop")

else:

    def test_without_root_it_says_what_to_do(folder: Path) -> None:
        environ = {"TRADEWISE_ENGINE_DIR": str(folder)}
        if find_engine(environ) is None:
            with pytest.raises(EngineUnavailable, match=r"docker|Docker"):
                ensure_engine(install=True, say=silent, environ=environ)


def _command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.fixture(scope="module")
def base(engine: docker.DockerClient) -> str:
    return os.environ.get("TRADEWISE_BASE_IMAGE") or ensure_base_image(engine, silent)


@pytest.fixture
def repository(engine: docker.DockerClient) -> Iterator[str]:
    """A name for images that is this test's own, and gone with it."""
    name = f"tradewise/test-{uuid.uuid4().hex[:12]}"
    yield name
    for image in engine.images.list(name=name):
        engine.images.remove(str(image.id), force=True)


@pytest.fixture
def context(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text("print('hello')\n", "utf-8")
    (tmp_path / "Dockerfile").write_text(
        'ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nCOPY app.py /app.py\nENTRYPOINT ["python3", "/app.py"]\n', "utf-8"
    )
    return tmp_path


def test_the_engine_that_is_used_answers_with_its_version() -> None:
    found = ensure_engine(install=False, say=silent)
    assert found.url
    assert re.match(r"\d+\.\d+", found.version)


def test_an_image_is_built_once_for_each_version_of_its_files(
    engine: docker.DockerClient, base: str, repository: str, context: Path
) -> None:
    told: list[str] = []

    def build() -> str:
        return images.ensure_image(engine, context, repository, "1.0", base_image=base, say=told.append)

    first = build()
    assert told == [f"Building {first} on {base}"]
    assert engine.containers.run(first, remove=True, network_mode="none") == b"hello\n"
    assert build() == first
    assert len(told) == 1

    (context / "app.py").write_text("print('goodbye')\n", "utf-8")
    second = build()
    assert second != first
    assert engine.containers.run(f"{repository}:latest", remove=True, network_mode="none") == b"goodbye\n"
    (context / "app.py").write_text("print('hello')\n", "utf-8")
    assert build() == first
    assert len(told) == 2
    assert engine.images.get(f"{repository}:latest").id == engine.images.get(first).id


def test_a_build_has_no_network(engine: docker.DockerClient, base: str, repository: str, context: Path) -> None:
    program = "import socket; print([name for _, name in socket.if_nameindex()], file=open('/seen', 'w'))"
    (context / "Dockerfile").write_text(
        f'ARG BASE_IMAGE\nFROM ${{BASE_IMAGE}}\nRUN python3 -c "{program}"\nENTRYPOINT ["cat", "/seen"]\n', "utf-8"
    )
    tag = images.ensure_image(engine, context, repository, "1.0", base_image=base, say=silent)
    assert engine.containers.run(tag, remove=True, network_mode="none") == b"['lo']\n"


def test_a_failing_build_tells_the_last_words_and_leaves_no_image(
    engine: docker.DockerClient, base: str, repository: str, context: Path
) -> None:
    (context / "Dockerfile").write_text(
        "ARG BASE_IMAGE\nFROM ${BASE_IMAGE}\nRUN echo 'out of cheese' && exit 3\n", "utf-8"
    )
    with pytest.raises(images.ImageBuildError, match=r"out of cheese[\s\S]*code: 3") as raised:
        images.ensure_image(engine, context, repository, "1.0", base_image=base, say=silent)
    assert raised.value.code == "image_build_failed"
    assert engine.images.list(name=repository) == []


def test_a_base_that_does_not_exist_is_named(engine: docker.DockerClient, repository: str, context: Path) -> None:
    with pytest.raises(images.ImageBuildError, match="no-such-base"):
        images.ensure_image(engine, context, repository, "1.0", base_image="tradewise/no-such-base:1", say=silent)


def test_the_bots_image_runs_as_nobody_and_asks_for_its_document(engine: docker.DockerClient, base: str) -> None:
    tag = images.ensure_paper_bot_image(engine, say=silent)
    assert engine.images.get(tag).id == engine.images.get(f"{images.REPOSITORY}:latest").id
    container = engine.containers.create(tag, network_mode="none", read_only=True, cap_drop=["ALL"])
    try:
        container.start()
        assert container.wait(timeout=60)["StatusCode"] == os.EX_CONFIG
        assert len(container.logs().splitlines()) == 1
    finally:
        container.remove(force=True, v=True)


def test_the_base_has_nothing_but_what_programs_need(engine: docker.DockerClient, base: str) -> None:
    program = "import sys, ssl, sqlite3; print(sys.version_info >= (3, 11))"
    assert engine.containers.run(base, ["python3", "-c", program], remove=True, network_mode="none") == b"True\n"
