"""The world around an engine, small enough to carry along: a network namespace that answers at addresses of all kinds.

What bots may reach is only shown by something that would answer. The engine's host has a route to each address here, so
whatever does not get there was kept from it. Needs root, as an engine of our own does.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
from types import TracebackType
from typing import Any, Self

from agents.launcher.runtimes.base import DATA_DIR

#: Public space that nobody routes in here; the host's own end of the line has the first address.
PUBLIC, PUBLIC_TOO, NEAR = "45.67.89.10", "45.67.89.11", "45.67.89.1"
METADATA = "169.254.169.254"
PRIVATE = ("10.99.213.10", "172.31.213.10", "192.168.213.10", "100.64.213.10", "198.18.213.10", METADATA)
PORT, OTHER_PORT = 8443, 9000

_SERVER = """
import selectors, socket, sys
chosen = selectors.DefaultSelector()
for port in map(int, sys.argv[1:]):
    listening = socket.create_server(("0.0.0.0", port), backlog=64)
    chosen.register(listening, selectors.EVENT_READ)
print("ready", flush=True)
held = []
while True:
    for key, _ in chosen.select():
        if key.fileobj in held:
            try:
                data = key.fileobj.recv(100)
            except OSError:
                data = b""
            if data:
                key.fileobj.sendall(data)
                continue
            chosen.unregister(key.fileobj)
            held.remove(key.fileobj)
            key.fileobj.close()
            continue
        accepted, _ = key.fileobj.accept()
        held.append(accepted)
        chosen.register(accepted, selectors.EVENT_READ)
"""
_PROBE = """
import concurrent.futures, json, socket, sys
def reach(place):
    try:
        with socket.create_connection(tuple(place), 1.5):
            return "open"
    except TimeoutError:
        return "dropped"
    except OSError as error:
        return type(error).__name__
places = json.loads(sys.argv[1])
with concurrent.futures.ThreadPoolExecutor(32) as pool:
    print(json.dumps(list(pool.map(reach, places))))
"""


class Outside:
    """The namespace, its routes and its server; and a listener of the host itself, on all its addresses."""

    def __init__(self) -> None:
        self._name = f"tw{secrets.token_hex(4)}"
        self._processes: list[subprocess.Popen[str]] = []
        self.host_port = 0

    def __enter__(self) -> Self:
        near, far = f"{self._name}a", f"{self._name}b"
        _ip("netns", "add", self._name)
        _ip("link", "add", near, "type", "veth", "peer", "name", far, "netns", self._name)
        _ip("address", "add", f"{NEAR}/32", "dev", near)
        _ip("link", "set", near, "up")
        inside = ("-n", self._name)
        _ip(*inside, "link", "set", "lo", "up")
        _ip(*inside, "link", "set", far, "up")
        for address in (PUBLIC, PUBLIC_TOO, *PRIVATE):
            _ip(*inside, "address", "add", f"{address}/32", "dev", far)
            _ip("route", "add", f"{address}/32", "dev", near, "src", NEAR)
        _ip(*inside, "route", "add", "default", "dev", far)
        self._serve(("ip", "netns", "exec", self._name), PORT, OTHER_PORT)
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.host_port = free.getsockname()[1]
        self._serve((), self.host_port)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for process in self._processes:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
        _ip("link", "delete", f"{self._name}a")
        _ip("netns", "delete", self._name)

    def _serve(self, around: tuple[str, ...], *ports: int) -> None:
        command = [*around, sys.executable, "-c", _SERVER, *map(str, ports)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self._processes.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"


def host_addresses() -> list[str]:
    """Every IPv4 address of this machine, loopback aside."""
    told = json.loads(subprocess.run(("ip", "-j", "-4", "address"), capture_output=True, check=True).stdout)
    found = [item["local"] for link in told for item in link["addr_info"]]
    return [address for address in found if not address.startswith("127.")]


def probe_from_host(places: list[tuple[str, int]]) -> list[str]:
    """What this machine itself gets to."""
    command = (sys.executable, "-c", _PROBE, json.dumps(places))
    found: list[str] = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    return found


def probe_from(engine: Any, container: str, places: list[tuple[str, int]]) -> list[str]:
    """What a container gets to: `open`, `dropped`, or the error that it met."""
    made = engine.api.exec_create(container, ["python3", "-c", _PROBE, json.dumps(places)], workdir=DATA_DIR)
    found: list[str] = json.loads(engine.api.exec_start(made["Id"]))
    return found


def _ip(*arguments: str) -> None:
    assert os.geteuid() == 0, "the world around the engine takes root to build, as the engine itself does"
    done = subprocess.run(("ip", *arguments), capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr}"
