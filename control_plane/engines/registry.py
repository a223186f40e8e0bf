"""Every family that this installation knows: ours, and those of installed plug-ins."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from control_plane.engines import freqtrade, http, hummingbot, octobot, plugins, tradewise
from control_plane.engines.family import Family
from control_plane.security.credentials import ENGINES

OURS: Final[Mapping[str, Family]] = MappingProxyType(
    {module.FAMILY.name: module.FAMILY for module in (tradewise, freqtrade, hummingbot, octobot, http)}
)

_found, _left_out = plugins.gather(OURS, plugins.installed())

FAMILIES: Final[Mapping[str, Family]] = MappingProxyType(_found)
LEFT_OUT: Final = tuple(_left_out)

ENGINES.update({family.name: family.credential for family in _found.values()})


def family_of(engine: str) -> Family:
    """The family of that name. Raises `LookupError`."""
    try:
        return FAMILIES[engine]
    except KeyError:
        raise LookupError(f"no engine {engine!r}; known are {', '.join(sorted(FAMILIES))}") from None
