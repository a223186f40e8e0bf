"""Takes the hand-over document off standard input.

A document on one line is complete at its line end, so whoever holds the other end need not close it; a document on
several lines is complete at the end of the input. Where TRADEWISE_HANDOVER_FILE names a file, the document is read
there instead, for engines that hand secrets over as files.
"""

import os
import select
import time
from collections.abc import Mapping
from pathlib import Path

from .config import Config, parse
from .fields import ConfigError

LARGEST_DOCUMENT = 32 * 1024 * 1024
WAIT_SECONDS = 60.0
FILE_VARIABLE = "TRADEWISE_HANDOVER_FILE"


def receive(descriptor: int, environ: Mapping[str, str]) -> Config:
    """Take the document from the file that ``environ`` names, or else from ``descriptor``; raises ConfigError."""
    named = environ.get(FILE_VARIABLE)
    if not named:
        return read(descriptor)
    try:
        return _parse(Path(named).read_bytes())
    except OSError as failed:
        raise ConfigError("document", f"{FILE_VARIABLE} names a file that cannot be read ({failed.strerror})") from None


def read(descriptor: int, *, wait_seconds: float = WAIT_SECONDS) -> Config:
    """Read and check the document; raises ConfigError, also when nothing complete arrives in time."""
    deadline = time.monotonic() + wait_seconds
    received = bytearray()
    first_line_tried = False
    while chunk := _chunk(descriptor, deadline):
        received += chunk
        if len(received) > LARGEST_DOCUMENT:
            raise ConfigError("document", f"is larger than {LARGEST_DOCUMENT} bytes; hand over less")
        if not first_line_tried and b"\n" in chunk:
            first_line_tried = True
            line = received.partition(b"\n")[0].strip()
            if line.startswith(b"{") and line.endswith(b"}"):
                return _parse(line)
    return _parse(received)


def _chunk(descriptor: int, deadline: float) -> bytes:
    ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
    if not ready:
        raise ConfigError("document", "standard input stayed open without a complete document; end it with a line end")
    try:
        return os.read(descriptor, 65536)
    except OSError:
        raise ConfigError("document", "standard input cannot be read; hand the configuration over there") from None


def _parse(document: bytes | bytearray) -> Config:
    try:
        return parse(document.decode())
    except UnicodeDecodeError:
        raise ConfigError("document", "standard input is not UTF-8; hand over one JSON object") from None
