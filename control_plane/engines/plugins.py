"""Families of third parties, found by the entry point group `tradewise.engines` of what is installed.

An entry names a `Family`, which the web tier loads too; the family in turn names its program, which only agents load.
What cannot be loaded is told and left out: one broken package must not take the others' bots with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from typing import Any, Final

import msgspec
import structlog

from control_plane.engines.family import Capability, EngineConfig, Family
from control_plane.security.credentials import Credential

GROUP: Final = "tradewise.engines"
_NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
_PROGRAM = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A plug-in that is not used, and why."""

    name: str
    distribution: str
    problem: str


def installed() -> Iterable[EntryPoint]:
    """What is there."""
    return entry_points(group=GROUP)


def gather(ours: Mapping[str, Family], found: Iterable[EntryPoint]) -> tuple[dict[str, Family], list[LeftOut]]:
    """Our families and those of plug-ins by name, and what was left out. The order of ``found`` decides nothing."""
    families: dict[str, Family] = dict(ours)
    left_out: list[LeftOut] = []
    entries = sorted(found, key=lambda entry: (entry.name, entry.value))
    names = [entry.name for entry in entries]
    for entry in entries:
        problem = _clash(entry.name, ours, names)
        family = None
        if problem is None:
            family, problem = _load(entry)
        if family is not None and problem is None:
            families[family.name] = family
            continue
        distribution = entry.dist.name if entry.dist is not None else "unknown"
        left_out.append(LeftOut(entry.name, distribution, problem or "is not a family"))
    for one in left_out:
        structlog.get_logger("engines").error(
            "engine_left_out", engine=one.name, distribution=one.distribution, problem=one.problem
        )
    return families, left_out


def _clash(name: str, ours: Mapping[str, Family], names: list[str]) -> str | None:
    if name in ours:
        return "has the name of a family of our own: rename it"
    if names.count(name) > 1:
        # Neither: which one a bot meant, nobody can tell.
        return "is offered by two packages: uninstall one of them"
    return None


def _load(entry: EntryPoint) -> tuple[Family | None, str | None]:
    # A stranger's code may raise anything, where it is only looked at too, and must not end ours.
    try:
        loaded = entry.load()
    except (Exception, SystemExit) as error:  # noqa: BLE001
        return None, f"could not be loaded: {kind_of(error)}"
    try:
        problem = _unfit(entry.name, loaded)
    except (Exception, SystemExit) as error:  # noqa: BLE001
        return None, f"could not be checked: {type(error).__name__}"
    return (loaded, None) if problem is None else (None, problem)


def kind_of(error: BaseException) -> str:
    """What went wrong in a stranger's code, without its words: they may hold a secret. A missing module is named."""
    kind = type(error).__name__
    return f"{kind} ({error.name})" if isinstance(error, ImportError) and isinstance(error.name, str) else kind


def _unfit(name: str, loaded: Any) -> str | None:
    if not isinstance(loaded, Family):
        return "does not name a control_plane.engines.family.Family"
    if loaded.name != name or not _NAME.fullmatch(name):
        return "must have the entry point's own name: lower-case letters, digits, _ and -, 40 at most"
    return _unfit_words(loaded) or _unfit_shapes(loaded)


def _unfit_words(loaded: Any) -> str | None:
    if not isinstance(loaded.program, str) or not _PROGRAM.fullmatch(loaded.program):
        return "must name its program as module:name"
    if not (isinstance(loaded.title, str) and isinstance(loaded.about, str)):
        return "must have a title and a text about it"
    if not isinstance(loaded.provenance, Mapping) or not all(
        isinstance(v, str) for kv in loaded.provenance.items() for v in kv
    ):
        return "must tell its provenance as a mapping of texts"
    return None


def _unfit_shapes(loaded: Any) -> str | None:
    if not _is_shape(loaded.credential, Credential) or not loaded.credential.__struct_config__.forbid_unknown_fields:
        return "has a credential that is no strict control_plane.security.credentials.Credential"
    if any(not isinstance(loaded.credential.hints.get(field), str) for field in loaded.credential.__struct_fields__):
        return "has a credential without a hint for each field"
    if loaded.config is not None and not _is_shape(loaded.config, EngineConfig):
        return "has a configuration that is no control_plane.engines.family.EngineConfig"
    if not isinstance(loaded.capabilities, frozenset | set) or not loaded.capabilities <= frozenset(Capability):
        return "has capabilities that are no set of control_plane.engines.family.Capability"
    # They are published: what no schema can be made of cannot be read either.
    msgspec.json.schema_components([shape for shape in (loaded.credential, loaded.config) if shape is not None])
    return None


def _is_shape(told: Any, base: type) -> bool:
    return isinstance(told, type) and issubclass(told, base)
