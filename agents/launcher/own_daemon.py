"""A Docker daemon of our own, for machines that have none: its own socket, data, containerd namespace and log.

It is set apart from any other daemon of the machine by its folders, and outlives the process that starts it.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import msgspec

from agents.launcher import own_bridge

START_DEADLINE_S = 60.0
STOP_DEADLINE_S = 60.0
RELOAD_DEADLINE_S = 10.0
_LOG_TAIL_LINES = 8
_LOSS = (
    "warning: published ports work, but containers of this engine cannot reach other networks, and the engine itself"
    " keeps none from reaching another: hosted bots are kept apart by our own guard (tradewise doctor tells)"
)
# Where a containerd of the machine runs, dockerd shares it: namespaces keep our containers ours. The configuration file
# has no working name for the second of them.
_NAMESPACES = ("--containerd-namespace=tradewise", "--containerd-plugins-namespace=tradewise-plugins")
# A daemon needs to find its tools and its way out; nothing else of our environment is its business.
_PASSED_ON = ("PATH", "LANG", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
              "SSL_CERT_FILE", "SSL_CERT_DIR")  # fmt: skip


class DaemonError(Exception):
    """Our daemon did not start or stop; the message holds the end of its log. Code `engine_start_failed`."""

    code = "engine_start_failed"


class Places(msgspec.Struct, frozen=True):
    """Where our daemon keeps what lasts (`state`) and what belongs to one run of it (`run`)."""

    state: Path
    run: Path

    @property
    def socket(self) -> Path:
        """The socket of the engine's API."""
        return self.run / "docker.sock"

    @property
    def url(self) -> str:
        """The socket as a value for DOCKER_HOST."""
        return f"unix://{self.socket}"

    @property
    def config(self) -> Path:
        """The daemon's configuration, which also tells our daemon's process from every other."""
        return self.state / "daemon.json"

    @property
    def log(self) -> Path:
        """What the daemon says, since its latest start."""
        return self.state / "dockerd.log"

    @property
    def pidfile(self) -> Path:
        """The daemon's process id, written before it runs."""
        return self.run / "tradewise.pid"


def places(environ: Mapping[str, str]) -> Places:
    """Return the daemon's folders; TRADEWISE_ENGINE_DIR puts both below one folder of its own."""
    override = environ.get("TRADEWISE_ENGINE_DIR")
    if override:
        base = Path(override).absolute()
        return Places(base / "state", base / "run")
    return Places(Path("/var/lib/tradewise-engine"), Path("/run/tradewise-engine"))


@contextmanager
def starting_lock(at: Places, say: Callable[[str], None]) -> Iterator[None]:
    """Hold the right to start or stop the daemon, so that two processes never make two of it."""
    at.run.mkdir(parents=True, exist_ok=True)
    with (at.run / "lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("Another process is setting up the container engine; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def start(at: Places, answers: Callable[[], bool], say: Callable[[str], None]) -> None:
    """Start the daemon and return when `answers` says so. The caller holds `starting_lock`.

    A machine that does not let us set up packet filtering gets a daemon without it, and is told what it loses.
    Raises DaemonError.
    """
    if shutil.which("dockerd") is None:
        raise DaemonError("the program `dockerd` is not on the PATH")
    at.state.mkdir(mode=0o711, parents=True, exist_ok=True)
    if _live_pid(at) is None:
        say(f"Starting a container engine of our own (socket {at.socket}, data and log in {at.state})")
        _launch(at, _network_of_our_own(at, say))
    if _came_up(at, answers):
        return
    if _live_pid(at) is not None:
        raise DaemonError(f"dockerd runs but has not answered within {START_DEADLINE_S:.0f} s:\n{_log_tail(at)}")
    if "iptables" not in at.log.read_text("utf-8", "replace"):
        raise DaemonError(f"dockerd ended at once:\n{_log_tail(at)}")
    say("This machine does not let the engine set up iptables; starting it without")
    _launch(at, {"iptables": False})
    if not _came_up(at, answers):
        raise DaemonError(f"dockerd did not start, even without iptables:\n{_log_tail(at)}")
    say(_LOSS)


def stop(at: Places, ends_containers: Callable[[], bool]) -> bool:
    """Stop the daemon and its containers; return False when it was not running. The caller holds `starting_lock`.

    `ends_containers` asks the daemon whether containers end with it. Raises DaemonError when it is still there after
    STOP_DEADLINE_S.
    """
    pid = _live_pid(at)
    if pid is None:
        return False
    _take_containers_along(at, pid, ends_containers)
    os.kill(pid, signal.SIGTERM)
    if not wait_within(STOP_DEADLINE_S, lambda: _live_pid(at) is None):
        raise DaemonError(f"dockerd (process {pid}) did not stop within {STOP_DEADLINE_S:.0f} s:\n{_log_tail(at)}")
    at.pidfile.unlink(missing_ok=True)
    own_bridge.remove_bridge(own_bridge.bridge_name(at.state))
    return True


def _take_containers_along(at: Places, pid: int, ends_containers: Callable[[], bool]) -> None:
    """Have a daemon end its containers with itself: it reads this setting anew when it is told to."""
    configuration = json.loads(at.config.read_text("utf-8"))
    at.config.write_text(json.dumps({**configuration, "live-restore": False}, indent=2), "utf-8")
    os.kill(pid, signal.SIGHUP)
    # One that does not answer is stopped all the same; what it leaves running is ended by its next start and stop.
    wait_within(RELOAD_DEADLINE_S, ends_containers)


def _network_of_our_own(at: Places, say: Callable[[str], None]) -> dict[str, object]:
    """Return the network part of the configuration: the usual one, or one apart where another daemon has that."""
    other = own_bridge.other_daemon()
    if other is None:
        return {"iptables": True}
    say(f"Another Docker daemon runs here (process {other}); ours gets a network apart. DOCKER_HOST can name it")
    say(_LOSS)
    name = own_bridge.bridge_name(at.state)
    try:
        own_bridge.ensure_bridge(name)
    except own_bridge.BridgeError as error:
        raise DaemonError(str(error)) from error
    return {"iptables": False, "bridge": name}


def _configuration(at: Places, network: Mapping[str, object]) -> dict[str, object]:
    return {
        "hosts": [at.url],
        "data-root": str(at.state / "data"),
        "exec-root": str(at.run / "exec"),
        "pidfile": str(at.run / "docker.pid"),
        "log-level": "warn",
        "log-opts": {"max-size": "10m", "max-file": "3"},
        # Bots trade on while the daemon is restarted or has been killed; `stop` ends them with it.
        "live-restore": True,
        **network,
    }


def _launch(at: Places, network: Mapping[str, object]) -> None:
    """Start dockerd in a session of its own, as a child of init, with its process id written down first."""
    _forget_the_dead(at)
    at.config.write_text(json.dumps(_configuration(at, network), indent=2), "utf-8")
    remember_pid = 'echo $$ >"$0"; exec "$@"'
    command = (
        "setsid",
        "--fork",
        "sh",
        "-c",
        remember_pid,
        at.pidfile,
        "dockerd",
        "--config-file",
        at.config,
        *_NAMESPACES,
    )
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    at.pidfile.unlink(missing_ok=True)
    with at.log.open("wb") as log:
        subprocess.run(command, check=True, cwd="/", env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    wait_within(5.0, lambda: at.pidfile.is_file() and at.pidfile.read_text("utf-8").endswith("\n"))


def _came_up(at: Places, answers: Callable[[], bool]) -> bool:
    """Wait until the daemon answers or ends; tell which."""
    wait_within(START_DEADLINE_S, lambda: answers() or _live_pid(at) is None)
    return answers()


def _forget_the_dead(at: Places) -> None:
    """Remove the process ids that a killed daemon left.

    dockerd takes a process id that is in use, be it by another program or by a child that ended and that nobody has
    waited for, for a live daemon or containerd, and then refuses to start.
    """
    (at.run / "docker.pid").unlink(missing_ok=True)
    containerd = at.run / "exec/containerd/containerd.pid"
    if _process_of(containerd, os.fsencode(at.run)) is None:
        containerd.unlink(missing_ok=True)


def _live_pid(at: Places) -> int | None:
    """Return our running daemon's process id, or None."""
    return _process_of(at.pidfile, os.fsencode(at.config))


def _process_of(pidfile: Path, argument: bytes) -> int | None:
    """Return the process id in a file, or None where that process has ended or has no such part in its command line."""
    try:
        pid = int(pidfile.read_text("utf-8"))
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except (OSError, ValueError):
        return None
    # The command line of a process that has ended and waits for its parent is empty.
    return pid if argument in command else None


def wait_within(seconds: float, condition: Callable[[], bool]) -> bool:
    """Wait for a condition, at most so many seconds; tell whether it came true."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _log_tail(at: Places) -> str:
    lines = at.log.read_text("utf-8", "replace").splitlines() if at.log.is_file() else []
    return "\n".join([*lines[-_LOG_TAIL_LINES:], f"(the whole log: {at.log})"])
