"""Public configurations of families: checked when they are given, and read back by agents by the same rules."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from control_plane.engines.family import EngineConfig, Family
from control_plane.security.credentials import Credential

CONFIG_LIMIT: Final = 16 * 1024

_PLACE = re.compile(r"at (?:`key` in )?`\$([\w.\[\]]{0,120})`$")
_EXPECTED = re.compile(r"Expected (`[^`]{1,60}`)(?:, got `\w+`)?")
_MISSING = re.compile(r"Object missing required field `(\w+)`")
_UNKNOWN = re.compile(r"Object contains unknown field `([a-z_]{1,40})`")


class ConfigError(ValueError):
    """A configuration that does not fit its family. ``field`` is a path within it, empty for the whole."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


def decode_config(family: Family, raw: Mapping[str, Any] | bytes | str | None) -> EngineConfig | None:
    """The family's configuration from a request's object, or from the JSON text that was stored.

    What a request leaves to the order of members is written out: a JSONB column keeps none. Raises `ConfigError` naming
    the field and what to do.
    """
    if family.config is None:
        if raw is None:
            return None
        raise ConfigError("", f"is not for bots of {family.name}: leave it out")
    if raw is None:
        # A family whose every field has a default needs none.
        raw = {}
    text = raw if isinstance(raw, bytes | str) else msgspec.json.encode(raw)
    # It grows by what is written out, and by the spaces of the column.
    if len(text) > (2 * CONFIG_LIMIT if isinstance(raw, bytes | str) else CONFIG_LIMIT):
        raise ConfigError("", f"is larger than {CONFIG_LIMIT // 1024} KiB")
    try:
        config = msgspec.json.decode(text, type=family.config)
    except msgspec.ValidationError as error:
        raise _told(family.config, str(error)) from None
    except (ValueError, ArithmeticError, RecursionError):
        raise ConfigError("", "is not a JSON object") from None
    if problem := config.problem():
        raise ConfigError(*problem)
    return config if isinstance(raw, bytes | str) else config.explicit


def encode_config(config: EngineConfig) -> str:
    """The JSON text to store; `decode_config` reads it back."""
    return msgspec.json.encode(config).decode()


def check_together(config: EngineConfig | None, credential: Credential | None) -> tuple[str, str] | None:
    """What of a credential does not go with a configuration, as the field's name and what to do."""
    return None if config is None or credential is None else config.misfit(credential)


def _told(shape: type[EngineConfig], complaint: str) -> ConfigError:
    """The field and what is expected of it; nothing that was sent but a harmless name comes back."""
    match = _PLACE.search(complaint)
    # Of an entry by a name of the sender's, msgspec says [...] and no more.
    place = match[1].removeprefix(".").replace("[...]", "") if match else ""
    if missing := _MISSING.match(complaint):
        field = f"{place}.{missing[1]}" if place else missing[1]
        return ConfigError(field, f"is missing{_hint(shape, field)}")
    if unknown := _UNKNOWN.match(complaint):
        field = f"{place}.{unknown[1]}" if place else unknown[1]
        return ConfigError(field, "is not known here: leave it out")
    expected = _EXPECTED.match(complaint)
    hint = _hint(shape, place)
    return ConfigError(place, f"must be {expected[1]}{hint}" if expected and not hint else f"does not fit{hint}")


def _hint(shape: type[EngineConfig], field: str) -> str:
    hint = shape.hints.get(field.partition(".")[0].partition("[")[0])
    return f": give {hint}" if hint and "." not in field else ""
