"""What forms send, brought to the bodies that the API takes; and what they show again when something was wrong."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

import msgspec
from litestar import Request
from litestar.di import NamedDependency
from litestar.params import SkipValidation

from control_plane.errors import AppError, ConflictError, MalformedError, UnacceptableError, UnavailableError
from control_plane.http.problems import field_error

NOT_FIELDS = frozenset({"csrf_token", "next"})
"""Fields of a form that are not fields of the resource."""

_PROOFS = frozenset({"password", "totp", "code", "current_password", "new_password"})
SECRETS = _PROOFS | {"config", "credentials.password", "credentials.token"}
"""Fields that are never put into a page, not even into the page of the person who has just typed them. `is_secret` adds
every part of a credential but the user name."""

REFUSALS = (MalformedError, ConflictError, UnacceptableError, UnavailableError)
"""What a service may answer to a form that is then shown again."""


def is_secret(name: str) -> bool:
    """Whether a field's text is never sent back. What a plug-in's family asks for counts, whatever its name."""
    return name in SECRETS or (name.startswith("credentials.") and name != "credentials.username")


_ENTER_AGAIN = "Enter this again: what is sealed is never sent back to a page."

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class FormState:
    """A form as a page shows it.

    `values` are texts by field name; never put a secret in them. `errors` are sentences by field name, as the API names
    the field (`credentials.token`); `error` is one about the whole.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Form:
    """The pairs of names and texts that a form sent."""

    fields: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        """The text of a field, "" where the form has none."""
        return dict(self.fields).get(name, "")

    def all(self, name: str) -> list[str]:
        """The texts of every field of this name, such as those of checked boxes."""
        return [value for given, value in self.fields if given == name]

    def without(self, *names: str) -> Form:
        """The form without what does not fit a choice made in it; a browser without scripts sends that too."""
        return Form(tuple((name, value) for name, value in self.fields if name not in names))

    def read(self, shape: type[T], *, documents: Collection[str] = (), **given: Any) -> T:
        """The form as the API's body `shape`. `documents` are fields that hold JSON; `given` comes from elsewhere.

        Raises UnacceptableError naming the fields that do not fit.
        """
        body = nested(self.fields) | given
        for name in documents:
            if isinstance(body.get(name), str):
                body[name] = _document(name, body[name])
        try:
            return msgspec.convert(body, shape, strict=False)
        except msgspec.ValidationError as error:
            wrong = field_error(str(error))
            raise UnacceptableError(f"{wrong.field}: {wrong.message}", code="invalid_fields", errors=[wrong]) from None

    def refused(self, error: AppError, *, shown: Collection[str], lists: Collection[str] = ()) -> FormState:
        """The form to show again after `error`. `shown` are the fields that the page has a place for.

        An error of another field becomes one about the whole, so that none is lost.
        """
        values: dict[str, Any] = {
            name: value for name, value in self.fields if not is_secret(name) and name not in NOT_FIELDS
        }
        values |= {name: self.all(name) for name in lists}
        errors, others = dict[str, str](), list[str]()
        for item in error.errors:
            place = _place(item.field, shown)
            if place is None:
                others.append(in_words(f"{item.field}: {item.message}" if item.field else item.message))
            else:
                inner = _numbered(item.field.removeprefix(place).lstrip("."))
                errors.setdefault(place, in_words(f"{inner}: {item.message}" if inner else item.message))
        for name in filter(is_secret, set(shown)):
            if self.get(name).strip():
                values[name] = ""
                if name not in _PROOFS:
                    errors.setdefault(name, _ENTER_AGAIN)
        whole = " ".join(others) if error.errors else in_words(error.detail)
        return FormState(values=values, errors=errors, error=whole or None)


async def provide_form(request: Request[Any, Any, Any]) -> Form:
    """What the form of this request sent. Files count as absent: no form of ours has any."""
    sent = await request.form()
    return Form(tuple((name, value) for name, value in sent.multi_items() if isinstance(value, str)))


FormDependency = NamedDependency[SkipValidation[Form]]


def nested(fields: Iterable[tuple[str, str]]) -> dict[str, Any]:
    """Turn the pairs of a form into the body that the API takes: `credentials.token` becomes an object in an object.

    Empty fields count as absent, since a form cannot leave a field out. Of two fields of one name the last wins.
    """
    body: dict[str, Any] = {}
    for name, value in fields:
        if name in NOT_FIELDS or not value.strip():
            continue
        *path, last = name.split(".")
        inner = body
        for step in path:
            deeper = inner.setdefault(step, {})
            if not isinstance(deeper, dict):  # a made-up form that uses one name for a value and for an object
                deeper = inner[step] = {}
            inner = deeper
        inner[last] = value
    return body


def _document(name: str, text: str) -> dict[str, Any]:
    """The JSON object in a field. The error says where the text breaks off, and never what it is."""
    try:
        found = json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        _refuse(name, f"is not JSON: {error.msg} in line {error.lineno}, column {error.colno}")
    except (ValueError, RecursionError):
        _refuse(name, "is not JSON that can be kept: a number is not one, or it is nested too deeply")
    if not isinstance(found, dict):
        _refuse(name, 'must be a JSON object, such as {"levels": 10}')
    return found


def _refuse(name: str, message: str) -> NoReturn:
    raise UnacceptableError(f"{name}: {message}", code="invalid_fields", errors=[field_error(message, name)]) from None


def _no_number(text: str) -> NoReturn:
    raise ValueError(text)


def _place(name: str, shown: Collection[str]) -> str | None:
    """The field of a page that an error belongs to: the one it names, or the one that holds it."""
    while name and name not in shown:
        name = name[: max(name.rfind("."), name.rfind("["), 0)]
    return name or None


def _numbered(inner: str) -> str:
    """An entry of a list as people count it: `[1]` is the second."""
    found = _ENTRY.fullmatch(inner)
    return f"number {int(found[1]) + 1}" if found else inner


_ENTRY = re.compile(r"\[(\d+)\]")


# The API tells programmers what a value has to be; a form tells people.
_IN_WORDS = (
    (re.compile(r"expected `str` of length >= (\d+)"), r"must have at least \1 characters"),
    (re.compile(r"expected `str` of length <= (\d+)"), r"must have at most \1 characters"),
    (re.compile(r"expected `str` matching regex .*"), "has a form that cannot be taken"),
    (re.compile(r"expected `array` of length >= 1"), "choose at least one"),
    (re.compile(r"expected `array` of length <= (\d+)"), r"there may be at most \1"),
    (re.compile(r"(?:invalid decimal string|expected `decimal`.*)"), "must be a number such as 250 or 99.50"),
    (re.compile(r"invalid enum value .*"), "is not one of the choices"),
    (re.compile(r"^is required$"), "this is needed"),
)


def in_words(message: str) -> str:
    """What the API says of a field, as a sentence below the field."""
    for pattern, words in _IN_WORDS:
        message = pattern.sub(words, message)
    return sentence(message)


def sentence(text: str) -> str:
    """``text`` as a sentence of its own: the API's details begin small and end without a stop."""
    whole = text[:1].upper() + text[1:]
    return whole if whole.endswith((".", "!", "?")) else f"{whole}."
