"""What a tenant's plan allows: how much one hosted bot may take, and how many may run at once.

The table is the operator's (TRADEWISE_PLANS). The API counts bots by it, the launcher limits containers by it.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Final

import msgspec

STANDARD: Final = "free"
"""The plan that a new tenant has, and what counts for one whose plan is in no table any more."""
_MIB: Final = 1024 * 1024


#: Below this a family's program does not even start, whatever the plan says. freqtrade 2026.9 with two pairs takes
#: 245 MiB; pairs, indicators and open trades come on top.
LEAST_MEMORY_BYTES: Final[Mapping[str, int]] = MappingProxyType({"tradewise": 32 * _MIB, "freqtrade": 512 * _MIB})


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits of one bot, and the number of bots. Null: no limit of ours; of an interval, the installation's.

    Intervals are seconds between two looks at a bot, and between two that read all its figures.
    """

    cpus: Annotated[float, msgspec.Meta(ge=0.01, le=512)] = 1.0
    memory_mib: Annotated[int, msgspec.Meta(ge=16, le=1048576)] = 256
    processes: Annotated[int, msgspec.Meta(ge=8, le=32768)] = 128
    disk_mib: Annotated[int, msgspec.Meta(ge=1, le=16777216)] | None = 1024
    log_mib: Annotated[int, msgspec.Meta(ge=1, le=10240)] = 15
    running_bots: Annotated[int, msgspec.Meta(ge=0, le=100000)] | None = 200
    poll_interval: Annotated[float, msgspec.Meta(ge=0.2, le=86400)] | None = None
    reading_interval: Annotated[float, msgspec.Meta(ge=0.2, le=86400)] | None = None

    @property
    def memory_bytes(self) -> int:
        """Resident memory."""
        return self.memory_mib * _MIB

    @property
    def disk_bytes(self) -> int | None:
        """What a bot's storage may hold."""
        return None if self.disk_mib is None else self.disk_mib * _MIB

    @property
    def log_bytes(self) -> int:
        """What the engine keeps of a bot's output."""
        return self.log_mib * _MIB


DEFAULT_PLANS: Final[Mapping[str, Plan]] = MappingProxyType(
    {
        STANDARD: Plan(),
        "pro": Plan(cpus=2.0, memory_mib=1024, processes=256, disk_mib=4096, log_mib=30, running_bots=250),
        "max": Plan(cpus=4.0, memory_mib=4096, processes=512, disk_mib=20480, log_mib=60, running_bots=None),
    }
)


def parse_plans(raw: str) -> Mapping[str, Plan]:
    """A table as JSON, or the path of a file that holds it. Raises ValueError with what is accepted."""
    if not raw.startswith("{"):
        try:
            raw = Path(raw).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise ValueError(f"cannot read the table of plans: {type(error).__name__}") from error
    try:
        table = msgspec.json.decode(raw, type=dict[str, Plan])
    except msgspec.MsgspecError as error:
        raise ValueError(f'expected plans as JSON, such as {{"free": {{"memory_mib": 256}}}}: {error}') from error
    if STANDARD not in table:
        raise ValueError(f"the table must have the plan {STANDARD!r}, which new tenants have")
    return MappingProxyType(table)


def plan_of(plans: Mapping[str, Plan], name: str) -> Plan:
    """A plan by its name; one that was taken out of the table counts as the standard one."""
    return plans.get(name) or plans[STANDARD]


def memory_of(plan: Plan, engine: str) -> int:
    """What a copy of a bot of ``engine`` may use by ``plan``, in bytes: never less than its program needs."""
    return max(plan.memory_bytes, LEAST_MEMORY_BYTES.get(engine, 0))
