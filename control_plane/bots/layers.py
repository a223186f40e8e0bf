"""Configurations in layers: what is private wins over what is public, a bot's own over its template's. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merged(*layers: Mapping[str, Any]) -> dict[str, Any]:
    """One mapping of several: a later layer wins, objects are merged name by name, lists are taken whole."""
    result: dict[str, Any] = {}
    for layer in layers:
        for name, value in layer.items():
            below = result.get(name)
            if isinstance(below, Mapping) and isinstance(value, Mapping):
                result[name] = merged(below, value)
            else:
                result[name] = value
    return result
