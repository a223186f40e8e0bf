"""The embedded server: when it has died, and when somebody has stopped it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from control_plane.database.embedded import EmbeddedServer


@pytest.fixture
def server(tmp_path: Path) -> EmbeddedServer:
    """One whose data folder is there; no process belongs to it."""
    made = EmbeddedServer(tmp_path)
    made.folder.mkdir()
    return made


def test_a_server_whose_process_is_gone_has_died(server: EmbeddedServer) -> None:
    ended = subprocess.Popen((sys.executable, "-c", ""))
    ended.wait()
    (server.folder / "postmaster.pid").write_text(f"{ended.pid}\n{server.folder}\n", encoding="utf-8")
    assert server.has_died()


def test_one_that_lives_has_not(server: EmbeddedServer) -> None:
    (server.folder / "postmaster.pid").write_text(f"{os.getpid()}\n{server.folder}\n", encoding="utf-8")
    assert not server.has_died()


@pytest.mark.parametrize("left", [None, "", "half\n"])
def test_one_that_was_stopped_or_is_about_to_start_has_not(server: EmbeddedServer, left: str | None) -> None:
    if left is not None:
        (server.folder / "postmaster.pid").write_text(left, encoding="utf-8")
    assert not server.has_died()
