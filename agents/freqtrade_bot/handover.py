"""The hand-over document: everything a hosted bot needs, secrets included, as one JSON document.

It comes over standard input, complete at its line end; where TRADEWISE_HANDOVER_FILE names a file, it is read there
instead, for engines that hand secrets over as files.
"""

import json
import os
import re
import select
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LARGEST_DOCUMENT = 32 * 1024 * 1024
WAIT_SECONDS = 60.0
FILE_VARIABLE = "TRADEWISE_HANDOVER_FILE"
_CLASS_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,127}")


class Refused(Exception):  # noqa: N818 - what a person is told
    """A document that no bot can be started from. The message names the member and shows no value."""


@dataclass(frozen=True, slots=True, repr=False)
class Document:
    """A checked hand-over document."""

    bot_id: str
    username: str
    password: str
    host: str
    port: int
    data_dir: Path
    strategy: str
    strategy_source: str | None
    #: A configuration of freqtrade's, without what is decided in here: its API server, its paths, its database.
    config: Mapping[str, Any]


def receive(descriptor: int, environ: Mapping[str, str], *, wait_seconds: float = WAIT_SECONDS) -> Document:
    """The document from the file that ``environ`` names, or else from ``descriptor``. Raises Refused."""
    named = environ.get(FILE_VARIABLE)
    if not named:
        return parse(_read_line(descriptor, time.monotonic() + wait_seconds))
    try:
        return parse(Path(named).read_bytes())
    except OSError as error:
        raise Refused(f"document: {FILE_VARIABLE} names a file that cannot be read ({error.strerror})") from None


def parse(raw: bytes) -> Document:
    """Read and check a document. Raises Refused."""
    try:
        value = json.loads(raw)
    except (ValueError, RecursionError):
        raise Refused("document: is not one JSON object; hand it over on standard input") from None
    document = _object("document", value)
    credentials, listen = _object("credentials", document.get("credentials")), _object("listen", document.get("listen"))
    strategy = _object("strategy", document.get("strategy"))
    name = _text("strategy.name", strategy.get("name"))
    if not _CLASS_NAME.fullmatch(name):
        raise Refused("strategy.name: must be the name of a Python class")
    source = strategy.get("source")
    port = listen.get("port")
    if not isinstance(port, int) or not 0 < port < 65536:
        raise Refused("listen.port: must be a port number")
    return Document(
        bot_id=_text("bot_id", document.get("bot_id")),
        username=_text("credentials.username", credentials.get("username")),
        password=_text("credentials.password", credentials.get("password")),
        host=_text("listen.host", listen.get("host")),
        port=port,
        data_dir=Path(_text("data_dir", document.get("data_dir"))),
        strategy=name,
        strategy_source=None if source is None else _text("strategy.source", source),
        config=_object("config", document.get("config")),
    )


def _read_line(descriptor: int, deadline: float) -> bytes:
    received = bytearray()
    while b"\n" not in received:
        ready, _, _ = select.select([descriptor], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise Refused("document: standard input stayed open without a whole line; end the document with a line end")
        chunk = os.read(descriptor, 65536)
        if not chunk:
            break
        received += chunk
        if len(received) > LARGEST_DOCUMENT:
            raise Refused(f"document: is larger than {LARGEST_DOCUMENT} bytes; hand over less")
    return bytes(received.partition(b"\n")[0])


def _object(name: str, value: object) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise Refused(f"{name}: must be an object")
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str) or not value:
        raise Refused(f"{name}: must be text")
    return value
