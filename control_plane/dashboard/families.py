"""Forms by bot family, made from the shapes that the family itself declares: a plug-in's family has one as ours do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import inspect

from control_plane.bots.models import HOSTED_ENGINES
from control_plane.dashboard import shapes
from control_plane.engines.family import EngineConfig, Family
from control_plane.engines.registry import FAMILIES
from control_plane.security.credentials import Credential

#: What is no secret of a credential, so that it may be shown again in a form that was refused.
_OPEN: Final = "username"
_NOT_TEXT: Final = (inspect.IntType, inspect.FloatType, inspect.BoolType)


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form."""

    name: str
    label: str
    help: str
    required: bool = False
    secret: bool = False
    options: tuple[tuple[str, str], ...] = ()
    as_json: bool = False
    """Whether its text is a number, or true or false, where the configuration has it."""


@dataclass(frozen=True, slots=True)
class Document:
    """A configuration as one JSON text, and what whoever writes it needs to know."""

    name: str
    label: str
    help: str
    example: str
    """One that can be taken over; empty where the family gives none."""
    members: tuple[shapes.Member, ...]


@dataclass(frozen=True, slots=True)
class FamilyForm:
    """What a bot of one family is registered by, besides its name and address."""

    name: str
    title: str
    about: str
    credentials: tuple[Field, ...]
    config: tuple[Field, ...]
    document: Document | None
    """The whole configuration as one JSON text, where it is more than a few plain fields."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The names that it has a place for."""
        documents = () if self.document is None else (self.document,)
        return tuple(field.name for field in (*self.credentials, *self.config, *documents))

    def typed(self, sent: Mapping[str, Any]) -> dict[str, Any]:
        """A configuration out of the texts of a form. What is not what it should be is left for whoever checks it."""
        as_json = {field.name.removeprefix("engine_config.") for field in self.config if field.as_json}
        return {name: _value(text) if name in as_json else text for name, text in sent.items()}

    @property
    def needs_no_credential(self) -> bool:
        """Whether an empty one may be all there is."""
        return not any(field.required for field in self.credentials)


def others() -> list[Family]:
    """The families with a form of their own: those that only run elsewhere."""
    return [family for family in FAMILIES.values() if family.name not in HOSTED_ENGINES]


def form_of(engine: str) -> FamilyForm | None:
    """The form of a family; None for a word that is none."""
    family = FAMILIES.get(engine)
    return None if family is None else made(family)


def credential_fields(engine: str) -> tuple[Field, ...]:
    """The fields of an engine's credential; none for one that is not known any more."""
    family = FAMILIES.get(engine)
    return () if family is None else _credential(family.credential)


def provenance(engine: str) -> Mapping[str, str]:
    """Where each figure of a bot comes from, in words."""
    family = FAMILIES.get(engine)
    return {} if family is None else family.provenance


def made(family: Family) -> FamilyForm:
    """The form that follows from what a family declares."""
    plain = () if family.config is None else _plain(family.config)
    document = None if family.config is None or plain is not None else _document(family.config)
    return FamilyForm(family.name, family.title, family.about, _credential(family.credential), plain or (), document)


def _document(shape: type[EngineConfig]) -> Document:
    told = shapes.members(shape, {field.name: _help(shape, field) for field in shapes.described(shape)})
    outer = [member for member in told if "." not in member.name]
    if shape.hints:
        words = "; ".join(f"{name}: {hint}" for name, hint in shape.hints.items())
    else:
        words = "A JSON object with " + ", ".join(f"{member.name}" for member in outer)
    return Document("engine_config", "How it is read (JSON)", f"{words}.", shape.example, told)


def _credential(shape: type[Credential]) -> tuple[Field, ...]:
    return tuple(
        Field(
            f"credentials.{field.name}",
            _label(field.name),
            shapes.sentence(shape.hints[field.name]),
            required=field.required,
            secret=field.name != _OPEN,
        )
        for field in msgspec.structs.fields(shape)
    )


def _plain(shape: type[EngineConfig]) -> tuple[Field, ...] | None:
    """The fields of a configuration that a person can fill in one by one; None where it is more than that."""
    found = []
    for field in shapes.described(shape):
        kind = shapes.single(field.type)
        options = _options(kind, field)
        if options is None:
            return None
        help_text = _help(shape, field) or ("" if options else shapes.sentence(_number_in_words(kind)))
        name = f"engine_config.{field.name}"
        as_json = isinstance(kind, _NOT_TEXT)
        found.append(Field(name, _label(field.name), help_text, field.required, options=options, as_json=as_json))
    return tuple(found)


def _number_in_words(kind: inspect.Type) -> str:
    return "" if isinstance(kind, inspect.StrType) else shapes.in_words(kind)


def _help(shape: type[EngineConfig], field: inspect.Field) -> str:
    about = [shape.purposes.get(field.name, ""), shape.hints.get(field.name, "")]
    return " ".join(shapes.sentence(words) for words in about if words)


def _options(kind: inspect.Type, field: inspect.Field) -> tuple[tuple[str, str], ...] | None:
    """What to choose from, nothing for free text; None for what is neither text, number nor choice.

    What is so where nothing is chosen comes first, as a form has it chosen from the start.
    """
    words: list[tuple[Any, tuple[str, str]]] = []
    if isinstance(kind, inspect.LiteralType):
        words = [(value, (str(value), str(value))) for value in kind.values]
    elif isinstance(kind, inspect.BoolType):
        words = [(True, ("true", "yes")), (False, ("false", "no"))]
    if words:
        usual = [shown for value, shown in words if value == field.default]
        first = usual or ([] if field.required else [("", "not chosen")])
        return (*first, *(shown for _, shown in words if shown not in usual))
    return () if isinstance(kind, inspect.StrType | inspect.DecimalType | inspect.IntType | inspect.FloatType) else None


def _value(text: Any) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, TypeError):
        return text


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()
