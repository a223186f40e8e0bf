"""A clock on the wall that jumps, for some processes alone: libfaketime, which Debian has. No clock really changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from agents.launcher import debian
from agents.launcher.engine import say_on_stderr


def library() -> Path:
    """The library, installed where it is missing and we may. Fails, never skips, where there is none."""
    found = _find()
    if found is None and os.geteuid() == 0 and debian.may_install():
        debian.apt_install(("libfaketime",), say_on_stderr)
        found = _find()
    if found is None:
        pytest.fail("this test needs libfaketime: `sudo apt-get install libfaketime`")
    return found


def _find() -> Path | None:
    return next(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"), None)


class Clock:
    """What processes with :attr:`environ` take for the time of day; their monotonic clock goes on as it does."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.jump("+0")
        self.environ = {
            "LD_PRELOAD": str(library()),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def jump(self, offset: str) -> None:
        """From now on so far from the real time: ``+3h``, ``-90m``."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{offset}\n", "utf-8")
        new.replace(self._file)
