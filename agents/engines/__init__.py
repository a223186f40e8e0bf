"""Bot families: one file each, all brought to one reading."""

from collections.abc import Mapping
from typing import Any

from agents.engines.base import Engine
from agents.engines.freqtrade import FreqtradeEngine
from agents.engines.tradewise import TradewiseEngine

_ENGINES: Mapping[str, Engine[Any, Any]] = {engine.name: engine for engine in (FreqtradeEngine(), TradewiseEngine())}


def engine_for(name: str) -> Engine[Any, Any]:
    """The engine that a bot names. Raises `LookupError` for a family that this agent does not know."""
    try:
        return _ENGINES[name]
    except KeyError:
        raise LookupError(f"no engine {name!r}; this agent knows {', '.join(sorted(_ENGINES))}") from None
