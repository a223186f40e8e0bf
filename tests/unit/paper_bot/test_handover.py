"""Where the hand-over document is taken from."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from agents.paper_bot.fields import ConfigError
from agents.paper_bot.handover import FILE_VARIABLE, receive

DOCUMENT = {"bot_id": "b-1", "token": "planted-token-0123", "config": {"capital": "100"}}


def test_a_file_that_is_named_comes_before_standard_input(tmp_path: Path) -> None:
    named = tmp_path / "document"
    named.write_text(json.dumps(DOCUMENT, indent=1), "utf-8")
    assert receive(-1, {FILE_VARIABLE: str(named)}).bot_id == "b-1"


def test_without_one_it_is_standard_input() -> None:
    reading, writing = os.pipe()
    try:
        os.write(writing, json.dumps(DOCUMENT).encode() + b"\n")
        assert receive(reading, {FILE_VARIABLE: ""}).bot_id == "b-1"
    finally:
        os.close(reading)
        os.close(writing)


def test_a_file_that_is_not_there_is_told_with_the_variable_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=FILE_VARIABLE):
        receive(-1, {FILE_VARIABLE: str(tmp_path / "gone")})
