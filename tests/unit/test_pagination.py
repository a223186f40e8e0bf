"""Cursors are opaque, reversible, and refused when they are not ours."""

from __future__ import annotations

from collections.abc import Callable
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control_plane.errors import MalformedError
from control_plane.http.pagination import decode_cursor, decode_position, encode_cursor, page_at, page_of


@given(st.uuids())
def test_a_cursor_comes_back_as_it_went(identity: UUID) -> None:
    cursor = encode_cursor(identity)
    assert decode_cursor(cursor) == identity
    assert str(identity) not in cursor
    assert cursor.replace("-", "").replace("_", "").isalnum()


@given(st.text(max_size=40), st.sampled_from([decode_cursor, decode_position]))
def test_any_text_is_a_position_or_refused(text: str, decode: Callable[[str], object]) -> None:
    told: list[MalformedError] = []
    try:
        decode(text)
    except MalformedError as error:
        told.append(error)
    assert all((error.code, error.status, error.errors[0].field) == ("invalid_cursor", 400, "cursor") for error in told)


@given(st.lists(st.uuids(), max_size=12), st.integers(1, 5))
def test_the_one_too_many_only_tells_that_there_is_more(rows: list[UUID], limit: int) -> None:
    page = page_of(rows[: limit + 1], limit, lambda item: item)
    assert page.items == rows[:limit]
    assert (page.next_cursor is not None) == (len(rows) > limit)
    if page.next_cursor is not None:
        assert decode_cursor(page.next_cursor) == page.items[-1]


@given(st.lists(st.integers(), max_size=30), st.integers(1, 7))
def test_a_ranked_list_is_walked_to_its_end(ranked: list[int], limit: int) -> None:
    found: list[int] = []
    cursor: str | None = None
    for _ in range(len(ranked) + 1):
        offset = decode_position(cursor)
        page = page_at(ranked[offset : offset + limit + 1], limit, offset)
        found += page.items
        cursor = page.next_cursor
        if cursor is None:
            break
    assert found == ranked


def test_the_first_page_needs_no_cursor() -> None:
    assert decode_cursor(None) is None
    assert decode_position(None) == 0


def test_one_kind_of_cursor_is_not_the_other() -> None:
    ranked = page_at(list(range(3)), 2, 0).next_cursor
    with pytest.raises(MalformedError):
        decode_cursor(ranked)
