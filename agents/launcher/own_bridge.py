"""The network of our own daemon where another Docker daemon runs beside it.

Two daemons that share the usual bridge hand the same address to two containers, and each removes the packet filter
rules of the other when it starts. So beside another one, ours takes a bridge and a range of addresses of its own.
"""

from __future__ import annotations

import contextlib
import hashlib
import ipaddress
import os
import shutil
import socket
import subprocess
from pathlib import Path

_RANGES = tuple(ipaddress.IPv4Network(f"172.{second}.0.0/16") for second in range(31, 17, -1))


class BridgeError(Exception):
    """The bridge could not be made; the message says why. Code `engine_start_failed`."""

    code = "engine_start_failed"


def other_daemon() -> int | None:
    """Return the process id of a dockerd that shares our network, or None."""
    ours = _network_namespace("self")
    for process in Path("/proc").iterdir():
        if process.name.isdigit() and _name_of(process) == "dockerd" and _network_namespace(process.name) == ours:
            return int(process.name)
    return None


def bridge_name(state: Path) -> str:
    """Return the name of the bridge of the daemon that keeps its data in `state`."""
    return f"tw-{hashlib.sha256(os.fsencode(state)).hexdigest()[:8]}"


def ensure_bridge(name: str) -> None:
    """Make the bridge, with an address that no route of this machine leads to, unless it is there.

    Raises BridgeError.
    """
    if _exists(name):
        return
    free = next((network for network in _RANGES if not any(network.overlaps(taken) for taken in _routed())), None)
    if free is None:
        raise BridgeError("every private range 172.18-31.0.0/16 is in use on this machine")
    _ip("link", "add", name, "type", "bridge")
    _ip("address", "add", f"{free[1]}/{free.prefixlen}", "dev", name)
    _ip("link", "set", name, "up")


def remove_bridge(name: str) -> None:
    """Remove the bridge if it is there; one that cannot be removed is used again by the next start."""
    if _exists(name):
        with contextlib.suppress(BridgeError):
            _ip("link", "delete", name)


def _exists(name: str) -> bool:
    return any(name == interface for _, interface in socket.if_nameindex())


def _routed() -> list[ipaddress.IPv4Network]:
    """Return the networks that routes of this machine lead to, the default route aside."""
    found = []
    for line in Path("/proc/net/route").read_text("utf-8").splitlines()[1:]:
        fields = line.split()
        # The kernel prints addresses as hexadecimal words in the byte order of the machine, least byte first.
        address, mask = (ipaddress.IPv4Address(bytes.fromhex(fields[column])[::-1]) for column in (1, 7))
        network = ipaddress.IPv4Network(f"{address}/{mask}", strict=False)
        if network.prefixlen:
            found.append(network)
    return found


def _ip(*arguments: str) -> None:
    if shutil.which("ip") is None:
        raise BridgeError("another Docker daemon runs here, and a bridge of our own needs the package iproute2")
    done = subprocess.run(("ip", *arguments), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise BridgeError(f"`ip {' '.join(arguments)}` failed: {done.stderr.strip()}")


def _name_of(process: Path) -> str:
    try:
        return (process / "comm").read_text("utf-8").strip()
    except OSError:
        return ""


def _network_namespace(process: str) -> str:
    try:
        return os.readlink(f"/proc/{process}/ns/net")  # noqa: PTH115 - not a path but a name such as net:[4026531833]
    except OSError:
        return ""
