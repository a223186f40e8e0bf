"""From the fields of a form to the body of a request."""

import pytest

from control_plane.dashboard.forms import Form, nested
from control_plane.errors import unacceptable


def test_dots_nest_and_empty_fields_are_absent() -> None:
    fields = [
        ("csrf_token", "t"),
        ("name", "Home"),
        ("description", "  "),
        ("credentials.username", "ada"),
        ("credentials.password", " kept as typed "),
        ("credentials.token", ""),
    ]
    assert nested(fields) == {"name": "Home", "credentials": {"username": "ada", "password": " kept as typed "}}


def test_an_empty_group_is_absent_altogether() -> None:
    assert nested([("credentials.token", "")]) == {}


def test_a_name_that_is_a_value_and_a_group_does_no_harm() -> None:
    assert nested([("credentials", "x"), ("credentials.token", "t")]) == {"credentials": {"token": "t"}}


@pytest.mark.parametrize(
    ("field", "words"),
    [
        ("places", "Must be one."),
        ("places[1]", "Number 2: must be one."),
        ("places[0].port", "[0].port: must be one."),
        ("elsewhere[1]", None),
    ],
)
def test_an_error_of_an_entry_is_shown_with_its_list(field: str, words: str | None) -> None:
    state = Form(()).refused(unacceptable(field, "must be one"), shown=("places",))
    assert state.errors.get("places") == words
    assert (state.error is None) == (words is not None)
