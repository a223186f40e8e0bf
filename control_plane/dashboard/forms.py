"""What forms send and what they show again when something was wrong with it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

NOT_FIELDS = frozenset({"csrf_token", "next"})
"""Fields of a form that are not fields of the resource."""


@dataclass(frozen=True, slots=True)
class FormState:
    """A form as a page shows it.

    `values` are texts by field name; never put a secret in them. `errors` are sentences by field name, as the API names
    the field (`credentials.token`); `error` is one about the whole.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    errors: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None


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
