"""The process: hand-over, files, freqtrade as a child, its output passed on, its end judged."""

import json
import os
import signal
import subprocess
import sys
from collections import deque
from types import FrameType

from . import files, handover, verdict
from .handover import Refused

EX_UNAVAILABLE = 69
"""The data directory cannot be used now (sysexits.h)."""
_KEPT_LINES = 300


def main() -> int:
    """Run one bot until SIGTERM; returns the exit status."""
    # As process 1 of a container nothing has a default action, so even waiting for the document needs a handler.
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    os.umask(0o077)
    try:
        document = handover.receive(sys.stdin.fileno(), os.environ)
    except Refused as refused:
        return _refuse(verdict.EX_CONFIG, "invalid_document", str(refused))
    try:
        written = files.write(document)
    except OSError as error:
        return _refuse(EX_UNAVAILABLE, "no_place_for_files", f"{error.filename}: {error.strerror}")
    # What is in clear in this process's own memory goes; freqtrade has it from the file.
    del document
    try:
        return _run(written)
    finally:
        written.remove()


def _run(written: files.Written) -> int:
    child = Child(written)
    signal.signal(signal.SIGTERM, child.end)
    signal.signal(signal.SIGINT, child.end)
    status = child.see_through()
    result, words = verdict.exit_status(status, list(child.last), asked=child.asked)
    if words is not None:
        return _refuse(result, "config_rejected", words)
    return result


class Child:
    """freqtrade, started."""

    def __init__(self, written: files.Written) -> None:
        self.asked = False
        self.last: deque[str] = deque(maxlen=_KEPT_LINES)
        reading, writing = os.pipe()
        self._said = os.fdopen(reading, "rb")
        self._process = subprocess.Popen(
            [sys.executable, "-m", "freqtrade", "trade", "--no-color", "--config", str(written.config)],
            stdin=subprocess.DEVNULL,
            stderr=writing,
            cwd=written.user_data,
            env=environment(os.environ),
        )
        os.close(writing)

    def end(self, _number: int, _frame: FrameType | None) -> None:
        """Tell it to end, in a signal handler."""
        self.asked = True
        self._process.terminate()

    def see_through(self) -> int:
        """Pass on what it writes until it has ended; its exit status, negative for a signal."""
        for line in self._said:
            try:
                sys.stderr.buffer.write(line)
                sys.stderr.buffer.flush()
            except OSError:
                # A reader that went away must not stop the bot.
                pass
            self.last.append(line.decode("utf-8", "replace").rstrip())
        return self._process.wait()


def environment(ours: os._Environ[str] | dict[str, str]) -> dict[str, str]:
    """What freqtrade finds in its environment: a few names of ours, and never a setting of its own.

    It takes FREQTRADE__… for configuration, with precedence over files.
    """
    kept = {name: ours[name] for name in _PASSED if name in ours}
    # On a host with many cores, the numeric libraries would each start a thread for every one of them.
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_MAX_THREADS", "MKL_NUM_THREADS"), "1")
    # Lines are not broken at the width of a terminal that is not there: a broken line could not be searched.
    return {**kept, **threads, "COLUMNS": "4000"}


_PASSED = (
    "PATH", "LANG", "LC_ALL", "TZ", "HOME", "PYTHONPATH", "PYTHONUSERBASE", "PYTHONDONTWRITEBYTECODE",
    "PYTHONUNBUFFERED", "SSL_CERT_FILE",
)  # fmt: skip


def _refuse(status: int, code: str, message: str) -> int:
    sys.stderr.write(json.dumps({"event": "refused", "code": code, "message": message}) + "\n")
    sys.stderr.flush()
    return status


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(verdict.EX_OK)
