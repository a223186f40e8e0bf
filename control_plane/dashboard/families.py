"""Forms by bot family, made from the shapes that the family itself declares: a plug-in's family has one as ours do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
from msgspec import inspect

from control_plane.bots.models import HOSTED_ENGINES
from control_plane.engines.family import EngineConfig, Family
from control_plane.engines.registry import FAMILIES
from control_plane.security.credentials import Credential

#: What is no secret of a credential, so that it may be shown again in a form that was refused.
_OPEN: Final = "username"


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a form."""

    name: str
    label: str
    help: str
    required: bool = False
    secret: bool = False
    options: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class FamilyForm:
    """What a bot of one family is registered by, besides its name and address."""

    name: str
    title: str
    about: str
    credentials: tuple[Field, ...]
    config: tuple[Field, ...]
    document: Field | None
    """The whole configuration as one JSON text, where it is more than a few plain fields."""

    @property
    def fields(self) -> tuple[str, ...]:
        """The names that it has a place for."""
        documents = () if self.document is None else (self.document,)
        return tuple(field.name for field in (*self.credentials, *self.config, *documents))

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
    return None if family is None else _form(family)


def credential_fields(engine: str) -> tuple[Field, ...]:
    """The fields of an engine's credential; none for one that is not known any more."""
    family = FAMILIES.get(engine)
    return () if family is None else _credential(family.credential)


def provenance(engine: str) -> Mapping[str, str]:
    """Where each figure of a bot comes from, in words."""
    family = FAMILIES.get(engine)
    return {} if family is None else family.provenance


def _form(family: Family) -> FamilyForm:
    plain = () if family.config is None else _plain(family.config)
    document = None
    if family.config is not None and plain is None:
        hints = "; ".join(f"{name}: {hint}" for name, hint in family.config.hints.items())
        document = Field("engine_config", "How it is read (JSON)", f"{hints}.", required=True)
    return FamilyForm(family.name, family.title, family.about, _credential(family.credential), plain or (), document)


def _credential(shape: type[Credential]) -> tuple[Field, ...]:
    return tuple(
        Field(
            f"credentials.{field.name}",
            _label(field.name),
            _sentence(shape.hints[field.name]),
            required=field.required,
            secret=field.name != _OPEN,
        )
        for field in msgspec.structs.fields(shape)
    )


def _plain(shape: type[EngineConfig]) -> tuple[Field, ...] | None:
    """The fields of a configuration that a person can fill in one by one; None where it is more than that."""
    found = []
    described = inspect.type_info(shape)
    assert isinstance(described, inspect.StructType)  # noqa: S101 - of a struct, and nothing else
    for field in described.fields:
        options = _options(field.type)
        if options is None:
            return None
        words = tuple((option, option) for option in options)
        about = [shape.purposes.get(field.name, ""), shape.hints.get(field.name, "")]
        help_text = " ".join(_sentence(words) for words in about if words)
        found.append(Field(f"engine_config.{field.name}", _label(field.name), help_text, field.required, options=words))
    return tuple(found)


def _options(kind: Any) -> tuple[str, ...] | None:
    """The words to choose from, none for free text; None for what is no text."""
    if isinstance(kind, inspect.UnionType):
        [*rest] = [part for part in kind.types if not isinstance(part, inspect.NoneType)]
        return _options(rest[0]) if len(rest) == 1 else None
    if isinstance(kind, inspect.LiteralType):
        return tuple(str(value) for value in kind.values)
    return () if isinstance(kind, inspect.StrType | inspect.DecimalType) else None


def _label(name: str) -> str:
    return name.replace("_", " ").capitalize()


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:]}." if text else ""
