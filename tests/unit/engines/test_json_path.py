"""The path language: what it says, and that nothing makes it fail or take long."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.engines.json_path import COUNT, LONGEST_PATH, MOST_STEPS, Path, PathError, look_up, parse

DOCUMENT: Any = {"a": {"b-c": [1, {"d": None}, "x"]}, "weird.name": {'"': 7}, "": 0, "e": {"f": True}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a.b-c[0]", 1),
        ("a.b-c[-1]", "x"),
        ("a.b-c[1].d", None),
        ("a.b-c#", 3),
        ("a#", 1),
        ('["weird.name"]["\\""]', 7),
        ('[""]', 0),
        ("e.f", True),
        ("nothing.here[3].at", None),
        ("a.b-c[3]", None),
        ("a.b-c[-4]", None),
        ("a[0]", None),
        ("a.b-c.d", None),
        ("e.f#", None),
        ("a.b-c[2]#", None),
        ('["\\u0061"].b-c[0]', 1),
    ],
)
def test_a_path_names_one_value_or_none(path: str, value: Any) -> None:
    assert look_up(DOCUMENT, parse(path)) == value


def test_an_answer_that_is_a_list_begins_with_an_index() -> None:
    assert look_up([{"a": 1}], parse("[0].a")) == 1
    assert look_up([1, 2], parse("#")) == 2


@pytest.mark.parametrize(
    "path",
    ["", ".", ".a", "a.", "a..b", "a b", "a[", "a[]", "a[x]", "a[0", "a[1.5]", "a[*]", "a[?(@)]", "$", "$.a", "a['b']",
     'a["b]', 'a["\\x"]', "a#b", "a#.b", "##", "a.#", "a()", "a[0]b", "a[999999]", '["\\ud800"]', "ä", "a[0:2]",
     "a" * (LONGEST_PATH + 1), ".".join("a" * (MOST_STEPS + 1))],
)  # fmt: skip
def test_anything_else_is_refused_with_what_to_write(path: str) -> None:
    with pytest.raises(PathError) as caught:
        parse(path)
    assert str(caught.value)


_NAMES = st.sampled_from(["a", "b", "weird.name", "", "0", '"', "ä"])
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(_NAMES, inner, max_size=4),
    max_leaves=20,
)
_STEPS = st.lists(_NAMES | st.integers(-9, 9), min_size=1, max_size=MOST_STEPS)


@given(st.text(alphabet='ab.[]"#\\u0-19 *$()', max_size=30), _JSON)
def test_any_text_is_a_path_or_refused_and_any_path_ends_on_any_document(text: str, document: Any) -> None:
    try:
        path = parse(text)
    except PathError:
        return
    look_up(document, path)


@given(_STEPS, st.booleans(), _JSON)
def test_every_place_can_be_written_and_is_found_by_going_there(steps: list[Any], counted: bool, document: Any) -> None:
    written = "".join(f"[{step}]" if isinstance(step, int) else f"[{_quoted(step)}]" for step in steps)
    path: Path = (*steps, COUNT) if counted and len(steps) < MOST_STEPS else tuple(steps)
    assert parse(written + ("#" if path[-1] is COUNT else "")) == path
    assert look_up(document, path) == _walk(document, steps, counted=path[-1] is COUNT)


def _walk(document: Any, steps: list[Any], *, counted: bool) -> Any:
    """The same by other means: one that runs into errors."""
    for step in steps:
        try:
            document = document[step] if isinstance(step, int) is isinstance(document, list) else None
        except (KeyError, IndexError, TypeError):
            return None
    if not counted:
        return document
    return len(document) if isinstance(document, list | dict) else None


def _quoted(name: str) -> str:
    return '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
