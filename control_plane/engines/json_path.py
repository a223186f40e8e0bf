"""A small language that names one value in a JSON document. Total: whatever path on whatever document ends, soon.

    data.account.total         members, by names of letters, digits, _ and -
    balances[0].total          an element of a list, from 0; [-1] is the last
    data["weird.name"].x       a member of any other name, written as a JSON string
    positions#                 at the end: how many elements a list has, or members an object

There are no wildcards, filters, expressions or calls, and nothing that goes over a document twice.
"""

from __future__ import annotations

import re
from typing import Any, Final, TypeAlias

import msgspec

LONGEST_PATH: Final = 200
MOST_STEPS: Final = 12

_MEMBER = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
_INDEX = re.compile(r"\[(-?[0-9]{1,5})\]")
_QUOTED = re.compile(r'\[("(?:[^"\\\x00-\x1f]|\\["\\/bfnrtu])*")\]')


class Count:
    """The step that counts."""

    def __repr__(self) -> str:
        return "#"


COUNT: Final = Count()
Step: TypeAlias = str | int | Count
Path: TypeAlias = tuple[Step, ...]


class PathError(ValueError):
    """No such path. The message says what to write instead."""


def parse(text: str) -> Path:
    """The steps that a path takes. Raises `PathError`."""
    if not text or len(text) > LONGEST_PATH:
        raise PathError(f"write a path of 1 to {LONGEST_PATH} characters, such as data.balances[0].total")
    steps: list[Step] = []
    position = 0
    while position < len(text):
        step, position = _step(text, position, first=not steps)
        steps.append(step)
        if len(steps) > MOST_STEPS:
            raise PathError(f"write a path of at most {MOST_STEPS} steps")
        if step is COUNT and position < len(text):
            raise PathError("# counts, and stands at the end of a path")
    return tuple(steps)


def _step(text: str, start: int, *, first: bool) -> tuple[Step, int]:
    if match := _INDEX.match(text, start):
        return int(match[1]), match.end()
    if match := _QUOTED.match(text, start):
        try:
            return msgspec.json.decode(match[1].encode(), type=str), match.end()
        except (msgspec.DecodeError, UnicodeEncodeError):
            raise PathError(f"the name in quotes at character {start + 1} is not a JSON string") from None
    if text[start] == "#":
        return COUNT, start + 1
    begin = start if first else start + 1
    match = _MEMBER.match(text, begin) if first or text[start] == "." else None
    if match is None:
        raise PathError(
            f"character {start + 1} does not continue it: write names with dots between them, [0] for an element,"
            ' ["a name"] for an unusual name, # at the end for how many there are'
        )
    return match[0], match.end()


def look_up(document: Any, path: Path) -> Any:
    """What stands there; None where nothing does, as where null does."""
    found = document
    for step in path:
        if isinstance(step, str) and isinstance(found, dict):
            found = found.get(step)
        elif isinstance(step, int) and isinstance(found, list):
            found = found[step] if -len(found) <= step < len(found) else None
        elif isinstance(step, Count) and isinstance(found, list | dict):
            found = len(found)
        else:
            return None
    return found
