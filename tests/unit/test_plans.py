"""The operator's table of plans."""

from __future__ import annotations

from pathlib import Path

import pytest

from control_plane.plans import DEFAULT_PLANS, Plan, parse_plans, plan_of


def test_a_table_is_read_from_a_variable_or_a_file(tmp_path: Path) -> None:
    text = '{"free": {"memory_mib": 128, "running_bots": 2}, "big": {"disk_mib": null, "running_bots": null}}'
    inline = parse_plans(text)
    assert inline["free"] == Plan(memory_mib=128, running_bots=2)
    assert (inline["big"].disk_bytes, inline["big"].running_bots) == (None, None)
    assert inline["free"].memory_bytes == 128 * 2**20
    file = tmp_path / "plans.json"
    file.write_text(text)
    assert parse_plans(str(file)) == inline


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("{", "JSON"),
        ("{}", "'free'"),
        ('{"free": {"cores": 1}}', "cores"),
        ('{"free": {"cpus": 0}}', "cpus"),
        ('{"free": {"running_bots": -1}}', "running_bots"),
        ("/no/such/file.json", "FileNotFoundError"),
    ],
)
def test_a_table_that_cannot_be_used_says_why(raw: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_plans(raw)


def test_a_plan_that_is_gone_counts_as_the_standard_one() -> None:
    assert plan_of(DEFAULT_PLANS, "gone") == DEFAULT_PLANS["free"]
    assert plan_of(DEFAULT_PLANS, "pro").memory_bytes == 2**30
