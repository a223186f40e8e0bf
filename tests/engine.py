"""The real container engine for tests: its address, the bot's image, and an image that misbehaves on demand."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from uuid import UUID

import docker
import pytest
from docker.errors import APIError

from agents.launcher.engine import ensure_engine, open_client, say_on_stderr
from agents.launcher.guard import rules
from agents.launcher.images import ensure_paper_bot_image
from agents.launcher.runtimes import docker_guard
from agents.launcher.runtimes.base import Contained
from agents.launcher.runtimes.docker_profile import LABEL_INSTALLATION
from tests.waiting import until_sync

# Takes the hand-over like any bot, then does what `config.behaviour` says.
_ROGUE = """
import http.server, json, signal, sys, time
document = json.loads(sys.stdin.readline())
behaviour = document["config"]["behaviour"]
print("token", document["token"], "config", document["config"].get("secret"), flush=True)
if behaviour == "deaf":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
elif behaviour == "hungry":
    hoard = [bytearray(8 << 20) for _ in range(64)]
elif behaviour == "count":
    with open("/data/starts", "a+") as starts:
        starts.write("x")
        starts.seek(0)
        print("start number", len(starts.read()), flush=True)
    sys.exit(0)
elif behaviour == "chatty":
    for number in range(1, 10**9):
        print("line", number, flush=True)
        time.sleep(0.02)
elif behaviour == "flood":
    while True:
        print("flood" * 10)
elif behaviour == "leaky":
    secret, token = document["config"]["secret"], document["token"]
    print(token[:12]); print(token[12:]); print("x" * 16380 + secret + "y" * 40000); print(json.dumps({"a": secret}))
    print("seen", token[:9], end="", flush=True); time.sleep(2.5); print(token[9:], flush=True)
elif behaviour == "busy":
    until = time.monotonic() + 600
    while time.monotonic() < until:
        sum(range(10000))
elif behaviour == "brief":
    time.sleep(2.5)
    sys.exit(3)
elif behaviour.startswith("exit "):
    print("last words", flush=True)
    sys.exit(int(behaviour.removeprefix("exit ")))
else:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
if behaviour.startswith("drains in "):
    asked, needed = [], float(behaviour.removeprefix("drains in "))
    class Api(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        def do_POST(self):
            print("asked", self.rfile.read(int(self.headers["Content-Length"])).decode(), flush=True)
            asked.append(time.monotonic())
            self.do_GET()
        def do_GET(self):
            done = bool(asked) and time.monotonic() - asked[0] >= needed
            body = json.dumps({"state": "drained" if done else "draining", "open_orders": 0 if done else 2,
                               "open_positions": 1}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        def log_message(self, *_):
            pass
    http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Api).serve_forever()
while True:
    time.sleep(3600)
"""
_DOCKERFILE = """
FROM {base}
COPY rogue.py /opt/rogue.py
ENTRYPOINT ["python3", "/opt/rogue.py"]
"""
# By its content: two checkouts that test on one engine would else run each other's program.
ROGUE_IMAGE = f"tradewise/rogue-bot:test-{hashlib.sha256((_ROGUE + _DOCKERFILE).encode()).hexdigest()[:12]}"


#: Named by what it does: several checkouts may share one engine.
ROGUE_IMAGE = f"tradewise/rogue-bot:{hashlib.sha256(_ROGUE.encode()).hexdigest()[:12]}"


@pytest.fixture(scope="session")
def engine_url() -> str:
    """The address of an engine that answers. Fails, never skips, where there is none."""
    return ensure_engine(install=bool(os.environ.get("CI")), say=say_on_stderr).url


@pytest.fixture(scope="session")
def engine(engine_url: str) -> Iterator[docker.DockerClient]:
    """A client of that engine, for looking at what really runs."""
    client = open_client(engine_url)
    yield client
    try:
        while _CLEARING:
            _CLEARING.pop().result()
    finally:
        client.close()


@pytest.fixture(scope="session")
def paper_bot_image(engine: docker.DockerClient) -> str:
    """The image of the hosted bot, as an installation builds it."""
    return ensure_paper_bot_image(engine, say=say_on_stderr)


@pytest.fixture(scope="session")
def rogue_image(engine: docker.DockerClient, paper_bot_image: str) -> str:
    """A bot that crashes, hoards memory or ignores SIGTERM, as its configuration says."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, text in (("Dockerfile", _DOCKERFILE.format(base=paper_bot_image)), ("rogue.py", _ROGUE)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    packed.seek(0)
    steps = engine.api.build(
        fileobj=packed, custom_context=True, tag=ROGUE_IMAGE, network_mode="none", rm=True, forcerm=True, decode=True
    )
    errors = [step["error"] for step in steps if "error" in step]
    assert not errors, errors
    return ROGUE_IMAGE


_LATER = ThreadPoolExecutor(1, "clear-firewall")
_CLEARING: list[Future[Contained]] = []


def clear_firewall(engine: docker.DockerClient, installation: UUID, image: str) -> Future[Contained]:
    """Take an installation's rules away, once it has no container: half a second that nobody needs to wait for.

    What fails is told at the end of the session.
    """
    work = _LATER.submit(docker_guard.apply, engine.api, installation, image, rules.nothing(installation))
    _CLEARING.append(work)
    return work


def clear_engine(engine: docker.DockerClient, installation: object) -> None:
    """Take everything of an installation from the engine, which may still be at what was asked of it last."""
    ours = {"label": f"{LABEL_INSTALLATION}={installation}"}

    def nothing_left() -> bool:
        try:
            for container in engine.api.containers(all=True, filters=ours):
                engine.api.remove_container(container["Id"], force=True, v=True)
            for volume in engine.api.volumes(filters=ours)["Volumes"] or ():
                engine.api.remove_volume(volume["Name"], force=True)
            for network in engine.api.networks(filters=ours):
                engine.api.remove_network(network["Id"])
        except APIError:
            return False
        return True

    until_sync(nothing_left, deadline_s=60.0, every_s=0.2, what=f"nothing of {installation} on the engine")
