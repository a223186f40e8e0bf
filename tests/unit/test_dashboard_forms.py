"""From the fields of a form to the body of a request."""

from control_plane.dashboard.forms import nested


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
