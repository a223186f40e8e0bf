"""Bot families: one file each, all brought to one reading."""

from collections.abc import Mapping
from typing import Any

from agents.engines.base import Engine
from agents.engines.freqtrade import FreqtradeEngine
from agents.engines.http import HttpEngine
from agents.engines.hummingbot import HummingbotEngine
from agents.engines.octobot import OctobotEngine
from agents.engines.plugins import programs
from agents.engines.tradewise import TradewiseEngine
from control_plane.engines.registry import FAMILIES

_OURS: tuple[Engine[Any, Any], ...] = (
    FreqtradeEngine(),
    HttpEngine(),
    HummingbotEngine(),
    OctobotEngine(),
    TradewiseEngine(),
)
_ENGINES: Mapping[str, Engine[Any, Any]] = {engine.family.name: engine for engine in _OURS} | programs(FAMILIES)


def engine_for(name: str) -> Engine[Any, Any]:
    """The engine that a bot names. Raises `LookupError` for a family that this agent does not know."""
    try:
        return _ENGINES[name]
    except KeyError:
        raise LookupError(f"no engine {name!r}; this agent knows {', '.join(sorted(_ENGINES))}") from None
