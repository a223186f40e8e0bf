"""The baseline of hosting: the same bots, made without us."""

from __future__ import annotations

import http.client
import json
import os
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import docker
from uuid_utils.compat import uuid4

from agents.launcher.runtimes.base import BOT_PORT, DATA_DIR
from agents.launcher.runtimes.lanes import WIDTHS
from tests.e2e.machine import free_port
from tests.waiting import until_sync

TOKEN = "bench-token-0123456789abcdef"
CONFIG = {
    "capital": "10000",
    "currency": "USDT",
    "strategy": {"type": "dca", "symbol": "BTC/USDT", "amount": "100"},
    "market": {"kind": "seeded", "seed": 1, "interval_seconds": "3600", "start_price": "50000"},
    "fees": {"maker": "0.001", "taker": "0.001"},
}
_LABEL = "io.tradewise.bench"


def _document() -> bytes:
    listen = {"host": "0.0.0.0", "port": BOT_PORT}
    document = {"bot_id": "bench", "token": TOKEN, "listen": listen, "data_dir": DATA_DIR, "cash_flows": []}
    return json.dumps({**document, "config": CONFIG}).encode() + b"\n"


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/api/v1/ping")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _until_it_answers(port: int) -> None:
    until_sync(lambda: _answers(port), every_s=0.005, deadline_s=120.0, what="an answer of the bot")


class Plain:
    """Bots without us."""

    def __init__(self, engine: docker.DockerClient, image: str) -> None:
        self._api = engine.api
        self._image = image
        self.network = str(engine.api.create_network(f"tw-bench-{uuid4().hex}", driver="bridge")["Id"])

    def run(self) -> float:
        """Seconds that ``docker run`` takes until its bot answers."""
        port, name = free_port(), f"tw-bench-{uuid4().hex}"
        published = f"127.0.0.1:{port}:{BOT_PORT}"
        command = ("docker", "--host", os.environ["DOCKER_HOST"], "run", "--interactive", "--name", name, "--publish",
            published, self._image)  # fmt: skip
        nowhere, began = subprocess.DEVNULL, time.perf_counter()
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=nowhere, stderr=nowhere) as process:
            assert process.stdin is not None
            process.stdin.write(_document())
            process.stdin.flush()
            _until_it_answers(port)
            took = time.perf_counter() - began
            self._api.remove_container(name, force=True, v=True)
        return took

    def make(self, network: str) -> float:
        """The same through the Docker API; the container stays."""
        port, began = free_port(), time.perf_counter()
        config = self._api.create_host_config(
            network_mode=network, port_bindings={f"{BOT_PORT}/tcp": ("127.0.0.1", port)}
        )
        ref = self._api.create_container(
            image=self._image, stdin_open=True, ports=[(BOT_PORT, "tcp")], labels={_LABEL: ""}, host_config=config
        )["Id"]
        stream: Any = self._api.attach_socket(ref, params={"stdin": 1, "stream": 1})
        try:
            self._api.start(ref)
            getattr(stream, "_sock", stream).sendall(_document())
        finally:
            getattr(stream, "_response", stream).close()
        _until_it_answers(port)
        return time.perf_counter() - began

    def make_all(self, count: int) -> float:
        """``count`` of them in a loop over the Docker API, as many at once as the launcher has threads."""
        began = time.perf_counter()
        with ThreadPoolExecutor(WIDTHS["launch"]) as threads:
            list(threads.map(lambda _: self.make(self.network), range(count)))
        return time.perf_counter() - began

    def clear(self) -> None:
        """Take all of them away."""
        for container in self._api.containers(all=True, filters={"label": _LABEL}):
            self._api.remove_container(container["Id"], force=True, v=True)

    def close(self) -> None:
        """Leave nothing behind."""
        self.clear()
        self._api.remove_network(self.network)
