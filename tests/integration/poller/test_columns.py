"""Columns as PostgreSQL reads them: what went in is what it holds."""

from __future__ import annotations

from datetime import UTC, datetime

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from agents.poller import columns

# By its own row, several kinds at once: a column must not be read as its neighbour.
_VALUES: dict[str, SearchStrategy[object]] = {
    "uuid": st.uuids(),
    "timestamptz": st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC)),  # noqa: DTZ001
    "numeric": st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**19), max_value=10**19),
    "float8": st.floats(allow_nan=False, allow_infinity=False),
    "int": st.integers(-(2**31), 2**31 - 1),
    "bool": st.booleans(),
    "text": st.text(st.characters(exclude_characters="\0", codec="utf-8")),
}
_COLUMNS: columns.Columns = {f"a_{kind}": kind for kind in _VALUES}
_ROWS = st.lists(st.tuples(*(st.none() | values for values in _VALUES.values())), max_size=20)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(rows=_ROWS)
async def test_what_is_packed_is_what_the_database_reads(admin: asyncpg.Connection, rows: list[tuple[object]]) -> None:
    values = [[row[place] for row in rows] for place in range(len(_COLUMNS))]
    found = await admin.fetch(f"select * from {columns.given(_COLUMNS, 'n')}", *columns.packed(_COLUMNS, values))
    assert [tuple(row) for row in found] == rows


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
async def test_a_float_that_is_no_number_is_unknown(admin: asyncpg.Connection, number: float) -> None:
    packed = columns.packed({"latency_ms": "float8"}, [[1.5, number]])
    found = await admin.fetch(f"select * from {columns.given({'latency_ms': 'float8'}, 'n')}", *packed)
    assert [row["latency_ms"] for row in found] == [1.5, None]


def test_columns_without_values_are_a_fault() -> None:
    with pytest.raises(ValueError, match="shorter"):
        columns.packed(_COLUMNS, [[]])
