"""The programs of third parties' families. Only agents load them."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, Final

import structlog

from agents.engines.base import Engine
from agents.engines.foreign import Foreign
from control_plane.engines.family import Family
from control_plane.engines.plugins import kind_of

_METHODS: Final = ("shared_key", "check", "read", "control", "drain", "drained")


def programs(families: Mapping[str, Family]) -> dict[str, Engine[Any, Any]]:
    """An engine for each family of a plug-in. One that cannot be loaded is told and left out."""
    found: dict[str, Engine[Any, Any]] = {}
    for name, family in families.items():
        if family.program is None:
            continue
        engine = _load(family)
        if isinstance(engine, str):
            structlog.get_logger("engines").error("engine_left_out", engine=name, problem=engine)
        else:
            found[name] = Foreign(engine, family)
    return found


def _load(family: Family) -> Engine[Any, Any] | str:
    """The engine, or why there is none."""
    module, _, attribute = (family.program or "").partition(":")
    try:
        engine = getattr(importlib.import_module(module), attribute)()
        return _unfit(engine, family) or engine
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a stranger's code may raise anything, and must not end ours
        return f"its program could not be loaded: {kind_of(error)}"


def _unfit(engine: Any, family: Family) -> str | None:
    lacking = [method for method in _METHODS if not callable(getattr(engine, method, None))]
    if lacking:
        return f"its program lacks {', '.join(lacking)}"
    return None if getattr(engine, "family", None) is family else "its program is of another family"
