"""Find the container engine that runs hosted bots, or set one up: the one place that knows where engines are.

The order: the one that TRADEWISE_DOCKER_HOST or DOCKER_HOST names; the machine's default socket; a daemon of our own.
Where none answers and we are root on Debian or Ubuntu, `docker.io` is installed and a daemon of our own started.
"""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import docker
import msgspec
from docker.errors import DockerException
from docker.utils import kwargs_from_env

from agents.launcher import debian, own_daemon

DEFAULT_SOCKET = Path("/var/run/docker.sock")
_NAMING_VARIABLES = ("TRADEWISE_DOCKER_HOST", "DOCKER_HOST")
_PROBE_TIMEOUT_S = 5
_SERVICE_DEADLINE_S = 30.0


class EngineUnavailable(Exception):  # noqa: N818 - a state of the machine rather than a fault of ours
    """No container engine answers; the message says exactly what to do about it. Code `engine_unavailable`."""

    code = "engine_unavailable"


class EngineEndpoint(msgspec.Struct, frozen=True):
    """An engine that answered: its address as for DOCKER_HOST, whether it is our own daemon, and its version."""

    url: str
    owned: bool
    version: str


def open_client(url: str, *, timeout_s: int = 60) -> docker.DockerClient:
    """Connect to the engine at `url`, with the TLS settings of DOCKER_TLS_VERIFY and DOCKER_CERT_PATH for TCP.

    Raises docker's DockerException when it does not answer.
    """
    # The certificates belong to engines across a network; a socket of this machine takes none.
    environ = {**os.environ, "DOCKER_HOST": url} if url.startswith("tcp:") else {"DOCKER_HOST": url}
    return docker.DockerClient(version="auto", timeout=timeout_s, **kwargs_from_env(environ))


def find_engine(environ: Mapping[str, str] | None = None) -> EngineEndpoint | None:
    """Return the engine that answers now, changing nothing, or None.

    Raises EngineUnavailable when a variable names an engine that does not answer: silently taking another one would
    start bots where nobody looks for them.
    """
    source = os.environ if environ is None else environ
    for variable in _NAMING_VARIABLES:
        if url := source.get(variable):
            try:
                return EngineEndpoint(url, owned=url == own_daemon.places(source).url, version=_probe(url))
            except (DockerException, OSError) as error:
                raise EngineUnavailable(
                    f"the container engine that {variable} names, {url}, does not answer ({_brief(error)}). "
                    f"Start it, correct {variable}, or unset it to use this machine's own engine."
                ) from error
    own = own_daemon.places(source)
    for path, owned in ((DEFAULT_SOCKET, False), (own.socket, True)):
        if version := _version_at(path):
            return EngineEndpoint(f"unix://{path}", owned, version)
    return None


def ensure_engine(
    *, install: bool, say: Callable[[str], None], environ: Mapping[str, str] | None = None
) -> EngineEndpoint:
    """Return an engine that answers; with `install`, as root, install and start one where none does.

    Safe to call from several processes at once. Raises EngineUnavailable with what to do instead.
    """
    source = os.environ if environ is None else environ
    if found := find_engine(source):
        return found
    if not install or os.geteuid() != 0 or not (shutil.which("dockerd") or debian.may_install()):
        raise EngineUnavailable(_advice())
    own = own_daemon.places(source)
    with own_daemon.starting_lock(own, say):
        try:
            if found := find_engine(source) or _after_install(source, say):
                return found
            own_daemon.start(own, lambda: _version_at(own.socket) is not None, say)
        except (debian.PackageInstallError, own_daemon.DaemonError) as error:
            raise EngineUnavailable(f"no container engine answers, and setting one up failed: {error}") from error
        return EngineEndpoint(own.url, owned=True, version=_probe(own.url))


def stop_owned_engine(say: Callable[[str], None], environ: Mapping[str, str] | None = None) -> bool:
    """Stop the daemon that we started, with its containers; its data stays. Return False when it was not running.

    Raises own_daemon.DaemonError when it does not stop.
    """
    own = own_daemon.places(os.environ if environ is None else environ)
    if not own.run.is_dir():
        return False
    with own_daemon.starting_lock(own, say):
        return own_daemon.stop(own, lambda: _ends_containers(own.url))


def _after_install(environ: Mapping[str, str], say: Callable[[str], None]) -> EngineEndpoint | None:
    """Install the engine where it is missing; return the service of the distribution when that comes up by itself."""
    if shutil.which("dockerd"):
        return None
    # The engine loads an AppArmor profile for each container where the kernel has AppArmor on, and needs its parser.
    apparmor = Path("/sys/module/apparmor/parameters/enabled")
    wants_apparmor = apparmor.is_file() and apparmor.read_text("utf-8").startswith("Y")
    debian.apt_install(("docker.io", "iptables", "iproute2", *(("apparmor",) if wants_apparmor else ())), say)
    if not Path("/run/systemd/system").is_dir():
        return None
    say("Waiting for the service that the package starts")
    own_daemon.wait_within(_SERVICE_DEADLINE_S, lambda: _version_at(DEFAULT_SOCKET) is not None)
    return find_engine(environ)


def _version_at(path: Path) -> str | None:
    """Return the version of the engine that answers at a socket of this machine, or None."""
    if not path.is_socket():
        return None
    try:
        return _probe(f"unix://{path}")
    except (DockerException, OSError):
        return None


def _probe(url: str) -> str:
    if url.startswith("unix://"):
        # docker-py leaves a socket open when nobody listens, and words that fault in four layers.
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(_PROBE_TIMEOUT_S)
            probe.connect(url.removeprefix("unix://"))
    client = open_client(url, timeout_s=_PROBE_TIMEOUT_S)
    try:
        return str(client.version()["Version"])
    finally:
        client.close()


def _ends_containers(url: str) -> bool:
    """Whether containers of the engine at `url` end with it; False where it does not say."""
    try:
        client = open_client(url, timeout_s=_PROBE_TIMEOUT_S)
    except (DockerException, OSError):
        return False
    try:
        return not client.info()["LiveRestoreEnabled"]
    except (DockerException, OSError):
        return False
    finally:
        client.close()


def _brief(error: BaseException) -> str:
    """Return the innermost cause in one line; the libraries between wrap it in their own words several times."""
    while error.__context__ is not None:
        error = error.__context__
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def _advice() -> str:
    """Say what this person on this machine has to do to get an engine."""
    ending = "External bots work without an engine; hosted bots wait for one."
    if DEFAULT_SOCKET.is_socket() and not os.access(DEFAULT_SOCKET, os.R_OK | os.W_OK):
        user = getpass.getuser()
        return (
            f"{DEFAULT_SOCKET} is there, but {user} may not use it. Run `sudo usermod -aG docker {user}`, sign in "
            f"again, and try once more. {ending}"
        )
    if not debian.is_debian_family():
        return (
            "no container engine answers. Install Docker Engine 20.10 or newer with your system's packages and start "
            f"it, or name one that runs elsewhere: DOCKER_HOST=tcp://host:2376. {ending}"
        )
    if os.geteuid() == 0:
        return f"no container engine answers. Run `make engine`, which installs and starts one. {ending}"
    return (
        "no container engine answers. Run `sudo apt-get install docker.io` and `sudo usermod -aG docker "
        f"{getpass.getuser()}`, sign in again, and try once more; or name one: DOCKER_HOST=tcp://host:2376. {ending}"
    )


def say_on_stderr(text: str) -> None:
    """Tell progress where it does not mix with an answer."""
    print(text, file=sys.stderr, flush=True)


def main(arguments: list[str]) -> int:
    """Answer `ensure`, `status` or `stop`: the address on standard output, everything else on standard error."""
    if arguments not in (["ensure"], ["status"], ["stop"]):
        say_on_stderr("usage: python -m agents.launcher.engine ensure|status|stop")
        return 2
    try:
        if arguments == ["stop"]:
            stopped = stop_owned_engine(say_on_stderr)
            say_on_stderr("Stopped our container engine" if stopped else "Our container engine was not running")
            return 0
        found = ensure_engine(install=arguments == ["ensure"], say=say_on_stderr)
    except (EngineUnavailable, own_daemon.DaemonError) as error:
        say_on_stderr(f"error: {error}")
        return 1
    say_on_stderr(f"Container engine {found.version}{', our own' if found.owned else ''}")
    print(found.url)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
