"""What people may ask of public parameters: ``name:value``, the value JSON where it is some, names nested by dots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from litestar.params import QueryParameter

from control_plane.errors import FieldError, MalformedError

LIMIT: Final = 8
_LONGEST: Final = 300
_DEEPEST: Final = 8

Words = Annotated[
    str | None,
    QueryParameter(
        name="q", max_length=120, description="Part of the name or of the description, letter by letter: no wildcards."
    ),
]
Parameters = Annotated[
    list[str] | None,
    QueryParameter(
        name="parameter",
        max_items=LIMIT,
        description="A public parameter, `name:value`; may be repeated, and all must hold. `strategy.levels:5` looks"
        ' inside; a value that is JSON means that (`5`, `true`, `["a"]`, `"5"` for the text), any other is a text.',
    ),
]


def wanted(parameters: Sequence[str] | None) -> list[str] | None:
    """One JSON document for each parameter, which the parameters of what is looked for must contain. Raises 400."""
    if not parameters:
        return None
    return [msgspec.json.encode(_document(text)).decode() for text in parameters]


def _document(text: str) -> Any:
    name, colon, value = text.partition(":")
    path = name.split(".")
    if not colon or not all(path) or len(text) > _LONGEST or len(path) > _DEEPEST or "\x00" in text:
        message = (
            f"is name:value with at most {_LONGEST} characters, the name nested by dots at most {_DEEPEST} deep:"
            " write parameter=symbol:BTC/USDT"
        )
        raise MalformedError(
            f"parameter: {message}", code="invalid_parameter", errors=[FieldError("parameter", message)]
        )
    document = _value(value)
    for part in reversed(path):
        document = {part: document}
    return document


def _value(text: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (ValueError, RecursionError):
        return text
