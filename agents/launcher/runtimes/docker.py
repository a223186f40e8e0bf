"""Bots as containers of a Docker engine. The client blocks, so every call runs in one of a few threads."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable
from ipaddress import IPv4Network
from typing import Any, Final, ParamSpec, TypeAlias, TypeVar
from uuid import UUID

import docker
import msgspec
import requests
import urllib3
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from agents.launcher.engine import EngineUnavailable, find_engine, open_client
from agents.launcher.guard import rules
from agents.launcher.runtimes import docker_guard
from agents.launcher.runtimes.base import (
    Capabilities,
    Contained,
    ContainmentUnavailable,
    Egress,
    EngineInfo,
    EngineUnreachable,
    Exit,
    Image,
    LogChunk,
    Observed,
    Pace,
    PortTaken,
    RuntimeFault,
    Spec,
    Stats,
)
from agents.launcher.runtimes.docker_logs import LogReader
from agents.launcher.runtimes.docker_network import TenantNetworks, bridge_name, bridge_prefix
from agents.launcher.runtimes.docker_profile import (
    LABEL_INSTALLATION,
    confinement,
    create_arguments,
    host_config,
)
from agents.launcher.runtimes.docker_seen import image_of, lines_of, listed_of, observed_of, state_of
from agents.launcher.runtimes.docker_stats import read_stats
from agents.launcher.runtimes.docker_storage import Volumes
from agents.launcher.runtimes.docker_watch import Watch
from agents.launcher.runtimes.lanes import Lane, Lanes

_P = ParamSpec("_P")
_T = TypeVar("_T")

_ANSWER_S: Final = 30
_REGISTRY_S: Final = 10
_USAGE_S: Final = 120
_HANDOVER_S: Final = 10.0
_LAST_LINES: Final = 50
BOT_SUBNETS: Final = IPv4Network("10.208.0.0/12")
_PORT_WORDS: Final = ("port is already allocated", "address already in use", "ports are not available")

Guard: TypeAlias = Callable[[docker.APIClient, UUID, str, dict[str, Any]], Contained]
"""What puts the firewall's rules on the engine's host."""


class DockerRuntime:
    """A :class:`~agents.launcher.runtimes.base.Runtime` on the engine at ``url``, or on the one this machine has."""

    capabilities = Capabilities(host_ports=True)

    def __init__(
        self,
        url: str | None,
        installation: UUID,
        *,
        subnets: IPv4Network = BOT_SUBNETS,
        guard_image: str = "tradewise/paper-bot:latest",
        guard: Guard = docker_guard.apply,
        networks: TenantNetworks | None = None,
        answer_s: int = _ANSWER_S,
    ) -> None:
        self._url = url
        self._installation = installation
        self._guard_image = guard_image
        self._guard = guard
        self._answer_s = answer_s
        self._lanes = Lanes()
        self._connecting = threading.Lock()
        self._at = ""
        self._client: docker.DockerClient | None = None
        self._networks = networks or TenantNetworks(installation, subnets)
        self._volumes = Volumes(installation)
        #: What the engine puts around a container beside what a profile says, once it is known.
        self._confines: list[str] | None = None
        self._tidied = False
        self._watch: Watch | None = None
        #: When each container was first asked to end, by the monotonic clock.
        self._asked: dict[str, float] = {}

    async def info(self) -> EngineInfo:
        return await self._call("look", None, self._info)

    async def observe(self) -> list[Observed]:
        return await self._call("look", None, self._observe)

    async def find_image(self, reference: str) -> Image | None:
        return await self._call("act", None, self._find_image, reference)

    async def pull(self, reference: str) -> Image:
        return await self._call("slow", None, self._pull, reference)

    async def contain(self, egress: Egress | None) -> Contained:
        return await self._call("slow", None, self._contain, egress)

    async def ensure(self, spec: Spec) -> str:
        return await self._call("launch", None, self._ensure, spec)

    async def start(self, ref: str, handover: bytes) -> None:
        await self._call("launch", ref, self._start, ref, handover)

    async def stop(self, ref: str, grace_s: float) -> float:
        return await self._call("act", ref, self._stop, ref, grace_s)

    async def examine(self, ref: str) -> Observed | Exit | None:
        return await self._call("act", ref, self._examine, ref)

    def logs(self, ref: str, *, since: int | None, follow: bool, tail: int, pace: Pace) -> AsyncIterator[LogChunk]:
        return LogReader(self._open, ref, since=since, follow=follow, tail=tail, pace=pace).chunks()

    async def stats(self, ref: str) -> Stats | None:
        return await self._call("sample", ref, lambda: read_stats(self._docker, ref))

    async def remove(self, ref: str) -> None:
        await self._call("act", ref, self._remove, ref)

    async def usage(self) -> dict[UUID, int]:
        return await self._call("slow", None, self._usage)

    async def drop_storage(self, bot_id: UUID) -> None:
        await self._call("act", None, lambda: self._volumes.drop(self._docker.api, bot_id))

    async def drop_network(self) -> None:
        await self._call("act", None, self._drop_network)

    def watch(self, changed: Callable[[str | None], None]) -> None:
        self._watch = Watch(self._open, self._installation, changed)
        self._watch.start()

    def close(self) -> None:
        if self._watch is not None:
            self._watch.close()
        self._lanes.close()
        self._forget_client()

    async def _call(
        self, lane: Lane, about: str | None, work: Callable[_P, _T], *args: _P.args, **kwargs: _P.kwargs
    ) -> _T:
        """Run ``work``, which is about one copy or about none, and put the client's many errors into our few."""

        def run() -> _T:
            try:
                result = work(*args, **kwargs)
            except APIError as error:
                words = str(error.explanation or error)
                if any(sign in words.lower() for sign in _PORT_WORDS):
                    raise PortTaken(words) from error
                raise RuntimeFault(words) from error
            except (OSError, urllib3.exceptions.HTTPError, DockerException) as error:
                if about is not None and isinstance(error, requests.ReadTimeout):
                    # The engine is there and took the call: it is this copy that hangs, and others' calls go on.
                    self._lanes.hung(about)
                else:
                    self._forget_client()
                raise EngineUnreachable(f"{type(error).__name__}: {error}"[:300]) from error
            self._lanes.answered(about)
            return result

        return await self._lanes.run(lane, about, run)

    def _open(self) -> docker.DockerClient:
        """A new connection to the engine, wherever it is by now."""
        self._at = self._url or _found()
        _knock(self._at, self._answer_s)
        return open_client(self._at, timeout_s=self._answer_s)

    @property
    def _docker(self) -> docker.DockerClient:
        with self._connecting:
            if self._client is None:
                self._client = self._open()
            else:
                _knock(self._at, self._answer_s)
            return self._client

    def _forget_client(self) -> None:
        """Begin anew after a loss: another engine may answer next, and its networks are not this one's."""
        with self._connecting:
            client, self._client = self._client, None
        self._networks.forget()
        self._volumes.forget()
        self._confines = None
        if client is not None:
            client.close()

    def _info(self) -> EngineInfo:
        return EngineInfo(name="docker", version=str(self._docker.version()["Version"]))

    def _observe(self) -> list[Observed]:
        try:
            listed = self._docker.api.containers(all=True, filters={"label": self._ours()})
        except APIError as error:
            # A listing that failed is no listing: an engine that cannot say what runs counts as away.
            raise EngineUnreachable(str(error.explanation or error)[:300]) from error
        return [self._as_told(listed_of(item)) for item in listed]

    def _as_told(self, seen: Observed) -> Observed:
        """A look that an end has caused must not find the copy running still: nothing would cause the next one."""
        ended = seen.state == "running" and self._watch is not None and self._watch.told_end_of(seen.ref)
        return msgspec.structs.replace(seen, state="exited") if ended else seen

    def _find_image(self, reference: str) -> Image | None:
        try:
            return image_of(self._docker.images.get(reference))
        except ImageNotFound:
            return None

    def _pull(self, reference: str) -> Image:
        with contextlib.closing(self._open()) as client:
            client.api.timeout = _REGISTRY_S
            try:
                # A pull waits without end where packets vanish; this question first does not.
                client.images.get_registry_data(reference)
                client.api.timeout = self._answer_s
                return image_of(client.images.pull(reference))
            except (requests.Timeout, requests.ConnectionError) as error:
                raise RuntimeFault("its registry did not answer in time") from error

    def _contain(self, egress: Egress | None) -> Contained:
        if not self._tidied:
            # Nothing is launched before this has been called once, so no network is about to be used.
            self._networks.tidy(self._docker.api)
            self._tidied = True
        bridges = f"{bridge_prefix(self._installation)}*"

        def bridge_of(tenant: UUID) -> str:
            return bridge_name(self._installation, tenant)

        if egress is None:
            wanted = rules.nothing(self._installation)
        else:
            wanted = rules.document(self._installation, egress, bridges, bridge_of)
        api = self._docker.api
        try:
            return self._guard(api, self._installation, self._guard_image, wanted)
        except docker_guard.BridgesUnfiltered:
            # Engines of late have the kernel filter bridges when the first one asks for it; ours come after the guard.
            self._networks.make_for_nobody(api)
            return self._guard(api, self._installation, self._guard_image, wanted)

    def _drop_network(self) -> None:
        self._networks.drop(self._docker.api)
        # Rules for bridges that are gone do no harm where they cannot be taken away.
        with contextlib.suppress(ContainmentUnavailable):
            self._contain(None)

    def _confinement(self, api: docker.APIClient) -> list[str]:
        """Security options that this engine's kernel has. Raises ContainmentUnavailable where it filters no calls."""
        if self._confines is None:
            self._confines = confinement(api.info().get("SecurityOptions") or [])
        return self._confines

    def _ensure(self, spec: Spec) -> str:
        api = self._docker.api
        confines = self._confinement(api)
        volume = self._volumes.ensure(api, spec)
        network = self._networks.ensure(api, spec.tenant_id)
        config = host_config(api, spec, network=network, volume=volume, confines=confines)
        return str(api.create_container(**create_arguments(self._installation, spec), host_config=config)["Id"])

    def _usage(self) -> dict[UUID, int]:
        # The engine adds up file by file: on a connection of its own, it holds up nobody.
        with contextlib.closing(self._open()) as client:
            client.api.timeout = _USAGE_S
            return self._volumes.usage(client.api)

    def _start(self, ref: str, handover: bytes) -> None:
        api = self._docker.api
        # Attached before the start, so that the bot finds an open input however fast it reads.
        stream: Any = api.attach_socket(ref, params={"stdin": 1, "stream": 1})
        try:
            api.start(ref)
            raw: socket.socket = getattr(stream, "_sock", stream)
            raw.settimeout(_HANDOVER_S)
            # A bot that ended before it read everything is told by its exit, not by this.
            with contextlib.suppress(OSError):
                raw.sendall(handover)
                raw.shutdown(socket.SHUT_WR)
        except NotFound:
            # Somebody removed the network that the container was made for: the next one gets another.
            self._networks.forget()
            raise
        finally:
            # The client hangs the response on the stream where it can; closing it closes both, in the right order.
            getattr(stream, "_response", stream).close()

    def _stop(self, ref: str, grace_s: float) -> float:
        now = time.monotonic()
        asked = self._asked.get(ref)
        if asked is not None and now < asked + grace_s:
            return asked + grace_s - now
        first = asked is None and grace_s > 0
        try:
            self._docker.api.kill(ref, "SIGTERM" if first else "SIGKILL")
        except NotFound:
            self._asked.pop(ref, None)
            return 1.0
        except APIError as error:
            # It ended in the meantime: 409, "is not running".
            if error.status_code != 409:
                raise
        # Not before the engine took it: a request that got lost is made again, and its grace begins then.
        self._asked.setdefault(ref, now)
        return grace_s if first else 1.0

    def _examine(self, ref: str) -> Observed | Exit | None:
        try:
            seen = self._docker.api.inspect_container(ref)
            state = seen["State"]
            if state_of(state["Status"]) == "running":
                if self._watch is not None:
                    # Somebody else started it again after its end was told.
                    self._watch.forget(ref)
                return observed_of(seen["Id"], state["Status"], seen["Config"].get("Labels") or {})
            said = self._last_words(ref)
        except NotFound:
            return None
        return Exit(
            code=state["ExitCode"],
            oom_killed=bool(state["OOMKilled"]),
            lines=lines_of(said),
            witnessed=self._watch is None or self._watch.saw_end_of(seen["Id"]),
        )

    def _last_words(self, ref: str) -> bytes:
        try:
            said: bytes = self._docker.api.logs(ref, stdout=True, stderr=True, tail=_LAST_LINES)
        except APIError as error:
            # Somebody is removing it at this very moment: how it ended is known all the same.
            if error.status_code == 404 or "marked for removal" not in str(error.explanation):
                raise
            return b""
        return said

    def _remove(self, ref: str) -> None:
        try:
            # Anonymous volumes that an image declares go with the container; the bot's own has a name and stays.
            self._docker.api.remove_container(ref, v=True)
        except NotFound:
            pass
        except APIError as error:
            if error.status_code != 409 or "already in progress" not in str(error.explanation):
                raise
        self._asked.pop(ref, None)
        if self._watch is not None:
            self._watch.forget(ref)

    def _ours(self) -> str:
        return f"{LABEL_INSTALLATION}={self._installation}"


def _found() -> str:
    """The address of this machine's engine."""
    try:
        found = find_engine()
    except EngineUnavailable as error:
        raise DockerException(str(error)) from error
    if found is None:
        raise DockerException("no container engine answers on this machine")
    return found.url


def _knock(url: str, answer_s: int) -> None:
    """Raise OSError where nobody listens on the engine's socket: there the client would leave one of its own open."""
    if url.startswith("unix://"):
        with socket.socket(socket.AF_UNIX) as knocking:
            knocking.settimeout(answer_s)
            knocking.connect(url.removeprefix("unix://"))
