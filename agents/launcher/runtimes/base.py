"""What the launcher needs of whatever runs bots: a container engine now, a StatefulSet per bot later.

A runtime knows no database and decides nothing. A *copy* of a bot is one container or one pod; it is made first and
started later, so that the launcher can make sure in between that it is still wanted.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from datetime import datetime
from typing import Literal, Protocol
from uuid import UUID

import msgspec

from control_plane.security.egress import Destination, Mode

BOT_PORT = 8080
"""Where a hosted bot listens inside its container."""
DATA_DIR = "/data"
"""Where a hosted bot keeps what must outlive its container."""


class EngineUnreachable(Exception):  # noqa: N818 - a state of the world rather than a fault of ours
    """The engine did not answer, so nothing is known: not what runs, nor whether the last request was carried out."""

    code = "engine_unavailable"


class RuntimeFault(Exception):  # noqa: N818 - what the engine said
    """The engine answered and refused. The message is in its words, without secrets: it never gets any but on stdin."""

    code = "launch_failed"


class PortTaken(RuntimeFault):
    """Something else on the host already listens on the port."""

    code = "port_conflict"


class ContainmentUnavailable(RuntimeFault):
    """Copies cannot be kept apart from what they must not reach, so none may start."""

    code = "containment_unavailable"


class Capabilities(msgspec.Struct, frozen=True):
    """What sets runtimes apart for the launcher."""

    host_ports: bool
    """Whether a copy is reached on a port of the host, which must then be leased."""


class EngineInfo(msgspec.Struct, frozen=True):
    """What the engine says of itself, for the launcher's heartbeat."""

    name: str
    version: str


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What one copy may use at most. The launcher takes them from the plan of the bot's tenant."""

    cpus: float = 1.0
    """Whole cores."""
    memory_bytes: int = 256 * 1024 * 1024
    """Resident memory; there is no swap beside it."""
    processes: int = 128
    """Processes and threads together."""
    disk_bytes: int | None = None
    """What the bot's storage may hold; None where nothing bounds it."""
    log_bytes: int = 15 * 1024 * 1024
    """What the engine keeps of its output."""


class Reach(msgspec.Struct, frozen=True):
    """Where copies may connect to: public addresses, some of them, or none."""

    mode: Mode
    destinations: tuple[Destination, ...] = ()


class Egress(msgspec.Struct, frozen=True, kw_only=True):
    """What holds for all copies, and for those of tenants that have narrowed it further."""

    mode: Mode = "public"
    """The widest that any tenant gets. ``listed`` means: what ``allowed`` names, and nothing else."""
    allowed: tuple[Destination, ...] = ()
    """Open to all, private addresses included."""
    tenants: Mapping[UUID, Reach] = {}


class Contained(msgspec.Struct, frozen=True):
    """What was found when the rules were written: whether they were there, and how many they are."""

    was: Literal["same", "changed", "absent"]
    rules: int


class Image(msgspec.Struct, frozen=True):
    """An image that the engine has: its id, which never names another one, and the digests it was pulled by."""

    id: str
    digests: frozenset[str] = frozenset()


class LogLine(msgspec.Struct, frozen=True, kw_only=True):
    """One line that a copy wrote, as it wrote it: not redacted yet."""

    ns: int
    """When, by the engine's clock: nanoseconds since 1970, which no two lines of a copy share."""
    stream: Literal["stdout", "stderr"]
    text: str
    cut: bool = False
    """It was longer than anybody reads, and ends in the middle."""


class Pace(msgspec.Struct, frozen=True, kw_only=True):
    """How much of a copy's output is taken at most in a second; what is beyond that is left out and counted."""

    lines: int = 500
    size: int = 256 * 1024
    """Bytes of text."""


class LogChunk(msgspec.Struct, frozen=True, kw_only=True):
    """Some output in a row."""

    lines: tuple[LogLine, ...] = ()
    left_out: int = 0
    """How many lines came before these and were left out."""
    broken: bool = False
    """Before these, some were left out that nobody counted."""
    read_ns: int | None = None
    """The time of the last line that was read, to go on after it; None where none was."""


class Stats(msgspec.Struct, frozen=True, kw_only=True):
    """What one copy uses. Counters count from its start; None is unknown, never zero."""

    at: datetime
    cpu_seconds: float | None
    memory_bytes: int | None
    memory_limit_bytes: int | None
    received_bytes: int | None
    sent_bytes: int | None
    processes: int | None


class Spec(msgspec.Struct, frozen=True, kw_only=True):
    """One copy of one bot, as it shall be made. Holds no secret: those go over standard input at the start."""

    tenant_id: UUID
    bot_id: UUID
    instance_id: UUID
    generation: int
    image: str
    publish_address: str
    host_port: int | None
    limits: Limits = Limits()


class Observed(msgspec.Struct, frozen=True, kw_only=True):
    """One copy of ours as the engine lists it. Labels that are not ours to read are None."""

    ref: str
    state: Literal["created", "running", "exited"]
    bot_id: UUID | None
    instance_id: UUID | None
    published: frozenset[tuple[str, int]] | None = None
    """Addresses and ports of the host that lead to the bot now; None where the runtime's listing does not tell."""
    created_at: datetime | None = None
    """By the engine's clock; None where it does not say."""


class Exit(msgspec.Struct, frozen=True, kw_only=True):
    """How a copy ended. All None where it was taken away before anybody could look."""

    code: int | None = None
    oom_killed: bool | None = None
    lines: tuple[str, ...] = ()
    witnessed: bool = True
    """Whether the engine told of the end as it came; False where we learned of it afterwards, so that the engine itself
    may have stopped in between."""


class Runtime(Protocol):
    """Every method but :meth:`close` may raise :class:`EngineUnreachable`; where the engine refuses, `RuntimeFault`."""

    capabilities: Capabilities

    async def info(self) -> EngineInfo:
        """Reach the engine, at the first call and after it was lost."""

    async def observe(self) -> list[Observed]:
        """Every copy of this installation, in one call."""

    async def find_image(self, reference: str) -> Image | None:
        """An image that the engine has, None where it has none of that name."""

    async def pull(self, reference: str) -> Image:
        """Fetch an image once, without long waits. Raises RuntimeFault with the registry's words."""

    async def contain(self, egress: Egress | None) -> Contained:
        """Make sure that copies, those to come included, reach nothing but this. Raises ContainmentUnavailable.

        To be called again now and then: a firewall may be emptied by somebody else. None takes the rules away.
        """

    async def ensure(self, spec: Spec) -> str:
        """Make sure of a copy that does not run yet, with its network and storage, and return its reference."""

    async def start(self, ref: str, handover: bytes) -> None:
        """Start a copy and hand it the document on standard input. Raises PortTaken."""

    async def stop(self, ref: str, grace_s: float) -> float:
        """Ask a copy to end, and end it by force once ``grace_s`` have passed since the first time it was asked.

        Returns at once, with the seconds after which it is worth calling again; a copy that is gone is no error.
        """

    async def examine(self, ref: str) -> Observed | Exit | None:
        """A copy that runs, how it ended, or None where the engine is certain that there is no such copy."""

    def logs(self, ref: str, *, since: int | None, follow: bool, tail: int, pace: Pace) -> AsyncIterator[LogChunk]:
        """What a copy wrote after the time ``since``, its last ``tail`` lines at most; with ``follow`` until it ends.

        Where the line of time ``since`` is not among those any more, the first chunk is broken. A copy that is gone
        has written nothing. To be closed by whoever does not read to the end.
        """

    async def stats(self, ref: str) -> Stats | None:
        """What a copy uses now; None where it does not run."""

    async def remove(self, ref: str) -> None:
        """Remove a copy that does not run; its storage stays. A copy that is gone is no error."""

    async def usage(self) -> Mapping[UUID, int]:
        """What bots have stored, in bytes; of none where the runtime itself holds them to their limits."""

    async def drop_storage(self, bot_id: UUID) -> None:
        """Remove what a bot has stored."""

    async def drop_network(self) -> None:
        """Remove the copies' networks and the rules that held for them, once none is left."""

    def watch(self, changed: Callable[[str | None], None]) -> None:
        """Call ``changed``, from any thread, soon after a copy ends: with its bot's id, None where unknown."""

    def close(self) -> None:
        """Let go of the engine; what runs goes on running."""
