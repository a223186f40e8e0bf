"""What a family's configuration is made of, in words: from the shape that it declares, whoever wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import inspect

_NAMES: Final[Mapping[type[inspect.Type], str]] = {
    inspect.StrType: "a text",
    inspect.BoolType: "true or false",
    inspect.IntType: "a whole number",
    inspect.FloatType: "a number",
    inspect.DecimalType: "a number",
    inspect.DateTimeType: "a time such as 2026-01-31T00:00:00Z",
}
_LISTS: Final = (inspect.ListType, inspect.SetType, inspect.FrozenSetType, inspect.VarTupleType, inspect.TupleType)
_OBJECTS: Final = (inspect.DictType, inspect.StructType, inspect.DataclassType, inspect.TypedDictType)


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a document; of an inner one the name tells where: `fields.equity`, `markets[].symbol`."""

    name: str
    about: str
    required: bool


def described(shape: type[msgspec.Struct]) -> tuple[inspect.Field, ...]:
    """The members of a shape."""
    found = inspect.type_info(shape)
    assert isinstance(found, inspect.StructType)  # noqa: S101 - of a struct, and nothing else
    return found.fields


def single(kind: inspect.Type) -> inspect.Type:
    """What a member is where it is given at all: without the null of what may be left out."""
    if isinstance(kind, inspect.Metadata):
        return single(kind.type)
    if isinstance(kind, inspect.UnionType):
        given = [part for part in kind.types if not isinstance(part, inspect.NoneType)]
        return single(given[0]) if len(given) == 1 else kind
    return kind


def in_words(kind: inspect.Type) -> str:
    """What a value has to be, as far as its kind tells it; empty where that is nothing."""
    kind = single(kind)
    if isinstance(kind, inspect.LiteralType):
        return " or ".join(str(value) for value in kind.values)
    if isinstance(kind, _LISTS):
        inner = in_words(kind.item_type) if isinstance(kind, inspect.ListType) else ""
        return f"a list of objects{inner.removeprefix('an object')}" if inner.startswith("an object") else "a list"
    if isinstance(kind, inspect.StructType):
        return "an object with " + ", ".join(field.encode_name for field in kind.fields)
    if isinstance(kind, _OBJECTS):
        return "an object"
    return _NAMES.get(type(kind), "") + _bounds(kind)


def _bounds(kind: inspect.Type) -> str:
    least, most = getattr(kind, "ge", None), getattr(kind, "le", None)
    if least is not None and most is not None:
        return f", from {least} to {most}"
    return (f", {least} at the least" if least is not None else "") + (f", {most} at most" if most is not None else "")


def members(shape: type[msgspec.Struct], words: Mapping[str, str]) -> tuple[Member, ...]:
    """The members of a shape and of the objects in it. ``words`` are what is told of the outer ones by name."""
    return tuple(_members(described(shape), "", words))


def _members(fields: tuple[inspect.Field, ...], place: str, words: Mapping[str, str]) -> Iterator[Member]:
    for field in fields:
        kind = single(field.type)
        about = words.get(field.name) or sentence(in_words(kind))
        inner = single(kind.item_type) if isinstance(kind, inspect.ListType) else kind
        name = f"{place}{field.encode_name}"
        if isinstance(inner, inspect.StructType) and inner is kind and not words.get(field.name):
            about = f"{about} {_first_sentence(inner.cls)}".strip()
        yield Member(name, about, field.required)
        # Two steps deep: what lies deeper is told by the schema.
        if isinstance(inner, inspect.StructType) and not place:
            yield from _members(inner.fields, f"{name}{'[].' if inner is not kind else '.'}", {})


def _first_sentence(shape: type[Any]) -> str:
    told = " ".join((shape.__doc__ or "").split())
    return f"{told.partition('. ')[0].rstrip('.')}." if told else ""


def sentence(text: str) -> str:
    """``text`` as a sentence; none of nothing."""
    return f"{text[:1].upper()}{text[1:]}." if text else ""
