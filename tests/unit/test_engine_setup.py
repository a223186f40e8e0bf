"""What the set-up of the engine decides without one: where it looks, what it says, how it keeps others out."""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

import pytest

from agents.launcher import debian, images, own_bridge, own_daemon
from agents.launcher.engine import EngineUnavailable, ensure_engine, find_engine, stop_owned_engine
from tests.waiting import until_sync


def silent(text: str) -> None:
    del text


@pytest.mark.parametrize("variable", ["TRADEWISE_DOCKER_HOST", "DOCKER_HOST"])
@pytest.mark.parametrize("install", [True, False])
def test_a_named_engine_that_does_not_answer_is_an_error_that_names_the_variable(
    tmp_path: Path, variable: str, install: bool
) -> None:
    url = f"unix://{tmp_path}/nobody.sock"
    with pytest.raises(EngineUnavailable, match=rf"that {variable} names, {url}, does not answer") as raised:
        ensure_engine(install=install, say=silent, environ={variable: url})
    assert raised.value.code == "engine_unavailable"


def test_a_named_engine_that_speaks_something_else_is_an_error(tmp_path: Path) -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        url = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        with pytest.raises(EngineUnavailable, match="ConnectionRefusedError"):
            find_engine({"DOCKER_HOST": url, "TRADEWISE_ENGINE_DIR": str(tmp_path)})


def test_our_own_variable_wins_over_the_common_one() -> None:
    with pytest.raises(EngineUnavailable, match="TRADEWISE_DOCKER_HOST"):
        find_engine({"TRADEWISE_DOCKER_HOST": "unix:///nobody/a", "DOCKER_HOST": "unix:///nobody/b"})


def test_stopping_an_engine_that_was_never_started_changes_nothing(tmp_path: Path) -> None:
    assert stop_owned_engine(silent, {"TRADEWISE_ENGINE_DIR": str(tmp_path / "engine")}) is False
    assert not (tmp_path / "engine").exists()


def test_our_daemon_has_folders_of_its_own() -> None:
    usual = own_daemon.places({})
    assert usual.url == "unix:///run/tradewise-engine/docker.sock"
    assert usual.config == Path("/var/lib/tradewise-engine/daemon.json")
    apart = own_daemon.places({"TRADEWISE_ENGINE_DIR": "/srv/engine"})
    assert (apart.state, apart.run) == (Path("/srv/engine/state"), Path("/srv/engine/run"))


def test_each_daemon_has_a_bridge_of_its_own_whose_name_the_kernel_takes() -> None:
    names = {own_bridge.bridge_name(Path(folder)) for folder in ("/var/lib/tradewise-engine", "/srv/engine/state")}
    assert len(names) == 2
    assert all(len(name) <= 15 for name in names)


def test_a_process_id_that_belongs_to_another_program_is_not_our_daemon(tmp_path: Path) -> None:
    at = own_daemon.places({"TRADEWISE_ENGINE_DIR": str(tmp_path)})
    at.run.mkdir()
    at.pidfile.write_text(f"{os.getpid()}\n", "utf-8")
    with own_daemon.starting_lock(at, silent):
        assert own_daemon.stop(at, lambda: True) is False


def test_only_one_at_a_time_sets_the_engine_up(tmp_path: Path) -> None:
    at = own_daemon.places({"TRADEWISE_ENGINE_DIR": str(tmp_path)})
    told: list[str] = []
    order: list[str] = []

    def second() -> None:
        with own_daemon.starting_lock(at, told.append):
            order.append("second")

    with own_daemon.starting_lock(at, silent):
        other = threading.Thread(target=second)
        other.start()
        until_sync(lambda: told, what="the second to say that it waits")
        order.append("first")
    other.join(20)
    assert order == ["first", "second"]
    assert told == ["Another process is setting up the container engine; waiting for it"]


def test_a_command_that_fails_is_told_with_its_last_lines() -> None:
    told: list[str] = []
    program = "print('Get: one'); print('noise'); print('E: no such package'); raise SystemExit(100)"
    command = (sys.executable, "-c", program)
    with pytest.raises(debian.PackageInstallError, match=r"status 100:[\s\S]*E: no such package"):
        debian.run_telling(command, told.append, shown=("Get:",))
    assert told == ["  Get: one"]


def test_the_image_is_named_after_its_files_and_a_named_base(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM x\n", "utf-8")
    (tmp_path / "strategies").mkdir()
    (tmp_path / "strategies/dca.py").write_text("a = 1\n", "utf-8")
    before = images.context_files(tmp_path)
    (tmp_path / "strategies/__pycache__").mkdir()
    (tmp_path / "strategies/__pycache__/dca.pyc").write_bytes(b"x")
    assert images.context_files(tmp_path) == before == {"Dockerfile": b"FROM x\n", "strategies/dca.py": b"a = 1\n"}
    plain = images.fingerprint(before, None)
    assert plain == images.fingerprint(dict(before), None)
    assert (
        len({plain, images.fingerprint(before, "python:3.12"), images.fingerprint({"Dockerfile": b"FROM x\n"}, None)})
        == 3
    )


def test_equal_files_make_equal_archives() -> None:
    files = {"Dockerfile": b"FROM x\n", "a/b.py": b""}
    assert images.as_tar(files).read() == images.as_tar(dict(files)).read()
