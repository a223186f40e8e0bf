"""Writes the guard's rules on the engine's host, wherever that is: by a container that lives for half a second.

It runs in the host's network with the one capability that a firewall needs, and has no way to anything else: no volume,
no writable file, no other capability. Its program is the text of `agents/launcher/guard/program.py`, so it fits every
image with a Python; that of our own bot is at hand wherever bots run.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import docker
import msgspec
from docker.errors import APIError, ImageNotFound, NotFound
from docker.types import LogConfig, Ulimit

from agents.launcher.guard import program
from agents.launcher.runtimes.base import Contained, ContainmentUnavailable

LABEL_GUARD: Final = "io.tradewise.guard"
"""Not the label of bots' containers: no guard is ever taken for a bot, or for a stray one."""

_SOURCE: Final = Path(program.__file__).read_text("utf-8")
_MEMORY_BYTES: Final = 64 * 1024 * 1024
_PROCESSES: Final = 16
_PATIENCE_S: Final = 20
_LEFT_AFTER_S: Final = 300
_BRIDGES: Final = (
    "packets between ports of one bridge do not pass the firewall of the engine's host: run `modprobe br_netfilter` "
    "and `sysctl -w net.bridge.bridge-nf-call-iptables=1 net.bridge.bridge-nf-call-ip6tables=1` there"
)


class BridgesUnfiltered(ContainmentUnavailable):
    """The firewall does not see what goes from port to port of a bridge. An engine mends that with its first bridge."""


class _Said(msgspec.Struct):
    """What the program answers."""

    was: str | None = None
    rules: int = 0
    error: str | None = None


def apply(
    api: docker.APIClient,
    installation: UUID,
    image: str,
    document: dict[str, Any],
    *,
    left_after_s: float = _LEFT_AFTER_S,
) -> Contained:
    """Put ``document`` in the place of whatever the table was. Raises ContainmentUnavailable, APIError."""
    _clear_leftovers(api, installation, left_after_s)
    try:
        made = api.create_container(**_arguments(installation, image), host_config=_host_config(api))["Id"]
    except ImageNotFound as error:
        raise ContainmentUnavailable(
            f"the image {image}, which the guard's program runs in, is not on the engine: run `make engine`, or name "
            "one with Python 3.11 or newer by TRADEWISE_GUARD_IMAGE"
        ) from error
    try:
        _hand_over(api, made, json.dumps(document).encode())
        code = api.wait(made, timeout=_PATIENCE_S)["StatusCode"]
        said = _understood(api.logs(made, stdout=True, stderr=False))
        if code != 0 or said.was not in {"same", "changed", "absent"}:
            if said.error == "bridges":
                raise BridgesUnfiltered(_BRIDGES)
            raise ContainmentUnavailable(_words(said, code, api.logs(made, stdout=False, stderr=True, tail=2)))
        return msgspec.convert({"was": said.was, "rules": said.rules}, Contained)
    finally:
        _remove(api, made)


def _hand_over(api: docker.APIClient, ref: str, document: bytes) -> None:
    stream: Any = api.attach_socket(ref, params={"stdin": 1, "stream": 1})
    try:
        api.start(ref)
        raw: socket.socket = getattr(stream, "_sock", stream)
        raw.settimeout(_PATIENCE_S)
        # A program that ended before it read everything is told by how it ended.
        with contextlib.suppress(OSError):
            raw.sendall(document)
            raw.shutdown(socket.SHUT_WR)
    finally:
        getattr(stream, "_response", stream).close()


def _arguments(installation: UUID, image: str) -> dict[str, Any]:
    return {
        "image": image,
        "entrypoint": ["python3", "-I", "-c", _SOURCE],
        "command": [],
        # A capability is in force for this user alone, and in here there is nothing to use it on but the firewall.
        "user": "0:0",
        "labels": {LABEL_GUARD: str(installation)},
        "stdin_open": True,
        "detach": False,
    }


def _host_config(api: docker.APIClient) -> Any:
    return api.create_host_config(
        network_mode="host",
        cap_drop=["ALL"],
        cap_add=["NET_ADMIN"],
        security_opt=["no-new-privileges"],
        userns_mode="host",
        read_only=True,
        mem_limit=_MEMORY_BYTES,
        memswap_limit=_MEMORY_BYTES,
        pids_limit=_PROCESSES,
        ulimits=[Ulimit(name="nofile", soft=256, hard=256), Ulimit(name="core", soft=0, hard=0)],
        ipc_mode="none",
        restart_policy={"Name": "no"},
        log_config=LogConfig(type="local", config={"max-size": "64k", "max-file": "1", "compress": "false"}),
    )


def _clear_leftovers(api: docker.APIClient, installation: UUID, left_after_s: float) -> None:
    """Take away guards of ours that a launcher left when it was killed, but for what another may have made just now."""
    ours = {"label": f"{LABEL_GUARD}={installation}", "status": ["created", "exited", "dead"]}
    for left in api.containers(all=True, filters=ours):
        if time.time() - left["Created"] > left_after_s:
            _remove(api, left["Id"])


def _remove(api: docker.APIClient, ref: str) -> None:
    try:
        api.remove_container(ref, force=True, v=True)
    except NotFound:
        pass
    except APIError as error:
        # 409: somebody else removes it at this very moment.
        if error.status_code != 409:
            raise


def _understood(said: bytes) -> _Said:
    try:
        return msgspec.json.decode(said, type=_Said)
    except msgspec.MsgspecError:
        return _Said()


def _words(said: _Said, code: int, stderr: bytes) -> str:
    last = stderr.decode("utf-8", "replace").strip().splitlines()[-1:]
    why = said.error or " ".join(last) or f"exit code {code}"
    return (
        f"the firewall of the engine's host took no rules ({why}): its kernel needs nf_tables, and the engine the right"
        " to write there. TRADEWISE_EGRESS_GUARD=off runs bots without, and lets them reach whatever the engine does"
    )
