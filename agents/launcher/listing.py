"""Whether a listing of the engine can be believed: pure. A listing that lacks a copy is no proof that it is gone."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

from agents.launcher.lifecycle import Instance
from agents.launcher.runtimes.base import Observed

_FEW: Final = 3
#: How many of the missing copies are asked for one by one before the rest of a doubtful listing is believed.
SAMPLE: Final = 8


def missing(instances: Sequence[Instance], listed: Collection[Observed]) -> list[str]:
    """The copies that should be there, running, and are not in the listing."""
    there = {seen.ref for seen in listed}
    expected = (instance.container_id for instance in instances if instance.state == "running")
    return [ref for ref in expected if ref is not None and ref not in there]


def doubtful(instances: Sequence[Instance], gone: Sequence[str]) -> bool:
    """Whether so many copies are missing at once that the listing itself is the likelier fault."""
    expected = sum(instance.state == "running" for instance in instances)
    return len(gone) >= _FEW and len(gone) * 2 > expected
