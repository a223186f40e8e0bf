"""Bodies of engines, and the JSON Schemas that are published of their shapes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from control_plane.bots.models import HOSTED_ENGINES
from control_plane.engines.family import Family


class EngineView(msgspec.Struct, frozen=True):
    """A bot family: what its bots can tell and do, and what registering one takes."""

    name: str
    title: str
    description: str
    hosted: bool
    """Whether we can run such a bot, too."""
    capabilities: list[str]
    actions: list[str]
    """What the trading of such a bot can be asked to do."""
    provenance: dict[str, str]
    """Where each field of a reading comes from, in words. A field that is not in it is never known."""
    credentials_schema: dict[str, Any]
    config_schema: dict[str, Any] | None
    """JSON Schema of ``engine_config``; null where an engine takes none."""


class EngineList(msgspec.Struct, frozen=True):
    """Every engine of this installation."""

    items: list[EngineView]


def view_of(family: Family) -> EngineView:
    """A family as it is shown."""
    return EngineView(
        name=family.name,
        title=family.title,
        description=family.about,
        hosted=family.name in HOSTED_ENGINES,
        capabilities=sorted(capability.value for capability in family.capabilities),
        actions=sorted(family.actions),
        provenance=dict(family.provenance),
        credentials_schema=schema_of(family.credential),
        config_schema=None if family.config is None else schema_of(family.config),
    )


def schema_of(shape: type[msgspec.Struct]) -> dict[str, Any]:
    """JSON Schema 2020-12 of a shape, complete in itself."""
    schema: dict[str, Any] = _portable(msgspec.json.schema(shape))
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema}


def _portable(part: Any) -> Any:
    """Python's own anchors, which hold at the very end alone, are unknown to other readers of a pattern."""
    if isinstance(part, Mapping):
        return {name: _pattern(value) if name == "pattern" else _portable(value) for name, value in part.items()}
    return [_portable(value) for value in part] if isinstance(part, list) else part


def _pattern(value: Any) -> Any:
    return value.replace(r"\A", "^").replace(r"\Z", "$") if isinstance(value, str) else _portable(value)
