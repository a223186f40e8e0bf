"""Bodies and parameters made from the OpenAPI document: fitting, nearly fitting, and nothing like it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from hypothesis import strategies as st

Document = dict[str, Any]

#: Text that has broken somebody's program before.
NASTY = st.sampled_from(
    (
        *("", " ", "\x00", "a\x00b", "\ud7ff", "\U0001f4b8" * 200, "\u202eabc", "' or 1=1 --", "%", "_", "\\", "null"),
        *("NaN", "sNaN", "Infinity", "-Infinity", "1e999999", "1e-999999", "-0", "0", "9" * 40, "0." + "0" * 40 + "1"),
        *("1e15", "1e14", "-1", "9999-12-31T23:59:59.999999-14:00", "0001-01-01T00:00:00+14:00", "2026-01-01"),
        *("2026-01-01T00:00:00", "http://127.0.0.1:1024/", "http://[::1]/", "gopher://x", str(UUID(int=0))),
    )
)
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | NASTY
)
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8) | NASTY, inner, max_size=4)
)


def resolved(document: Document, schema: Document) -> Document:
    """``schema`` with its reference followed."""
    while "$ref" in schema:
        found = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        schema = found
    return schema


def fitting(document: Document, schema: Document) -> st.SearchStrategy[Any]:
    """Values that fit ``schema``, or nearly so: bounds and patterns are met by chance."""
    schema = resolved(document, schema)
    for word in ("oneOf", "anyOf"):
        if word in schema:
            return st.one_of([fitting(document, choice) for choice in schema[word]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    if "const" in schema:
        return st.just(schema["const"])
    kind = schema.get("type")
    if isinstance(kind, list):
        return st.one_of([fitting(document, {**schema, "type": one}) for one in kind])
    if kind == "object" and "properties" in schema:
        return _objects(document, schema)
    if kind == "array":
        return st.lists(fitting(document, schema["items"]) if schema.get("items") else anything, max_size=4)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        "object": st.dictionaries(st.text(max_size=8) | NASTY, anything, max_size=3),
        "integer": st.integers(),
        "number": st.floats(allow_nan=False, allow_infinity=False) | st.integers(),
        "boolean": st.booleans(),
        "null": st.none(),
    }
    return simple[kind] if kind in simple else _texts(schema)


def _objects(document: Document, schema: Document) -> st.SearchStrategy[Any]:
    required = set(schema.get("required", ()))
    fields = {name: fitting(document, part) for name, part in schema["properties"].items()}
    # One field in a while is of another kind altogether, is missing, or is one too many.
    exact = st.fixed_dictionaries(
        {name: value for name, value in fields.items() if name in required},
        optional={name: value for name, value in fields.items() if name not in required},
    )
    strange = st.dictionaries(st.sampled_from([*fields, "surplus"]), anything, max_size=1)
    return st.builds(lambda one, two: {**one, **two}, exact, st.just({}) | strange)


def _texts(schema: Document) -> st.SearchStrategy[str]:
    if schema.get("format") == "uuid":
        return st.uuids().map(str)
    if schema.get("format") == "date-time":
        return st.datetimes().map(lambda at: f"{at.isoformat()}Z") | NASTY
    amounts = st.decimals(allow_nan=False, allow_infinity=False, min_value=0, max_value=10**15, places=8).map(str)
    known = st.sampled_from(
        ["tradewise", "freqtrade", "USDT", "bots:read", "http://127.0.0.1:8080", "a name", "a@b.cd"]
    )
    return amounts | known | NASTY | st.text(max_size=30)
