"""docs/bot-api.md says what is so: its samples are valid, and it names every code, parameter and default there is."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

import agents.paper_bot
from tests.unit.paper_bot.support import SCHEMA_FILE, config_of, schema

PAGE = SCHEMA_FILE.with_name("bot-api.md").read_text()
SAMPLES = re.findall(r"<!-- schema: (\w+) -->\n```json\n(.*?)```", PAGE, re.DOTALL)
SOURCES = {path.name: path.read_text() for path in Path(agents.paper_bot.__file__).parent.rglob("*.py")}


@pytest.mark.parametrize(("name", "sample"), SAMPLES, ids=[name for name, _ in SAMPLES])
def test_samples_follow_the_schema(name: str, sample: str) -> None:
    jsonschema.validate(json.loads(sample), schema(name), format_checker=jsonschema.FormatChecker())


def test_every_document_has_a_sample() -> None:
    assert {name for name, _ in SAMPLES} == {
        "ping",
        "state",
        "drain",
        "performance",
        "trades",
        "ledger",
        "problem",
        "handover",
    }


def test_the_sample_of_the_hand_over_is_taken_by_the_bot() -> None:
    sample = next(sample for name, sample in SAMPLES if name == "handover")
    assert config_of(json.loads(sample)).strategy_type == "grid"


def test_every_error_code_is_listed() -> None:
    codes = {code for text in SOURCES.values() for code in re.findall(r'ApiError\(\s*\d+, "(\w+)"', text)}
    assert "unauthorized" in codes
    assert {code for code in codes if f"`{code}`" not in PAGE} == set()


def test_every_parameter_is_listed_with_its_default() -> None:
    defaults = [
        found
        for name in ("dca.py", "grid.py", "momentum.py", "arbitrage.py")
        for found in re.findall(r'fields\.(?:decimal|integer)\("(\w+)", "?([\d.]+)"?', SOURCES[name])
    ]
    assert len(defaults) > 10
    for parameter, default in defaults:
        assert re.search(rf"`{parameter}`[^|(]*\({re.escape(default)}[;)]", PAGE), (parameter, default)


def test_the_image_carries_the_version_of_the_program() -> None:
    dockerfile = Path(agents.paper_bot.__file__).with_name("Dockerfile").read_text()
    assert f'org.opencontainers.image.version="{agents.paper_bot.__version__}"' in dockerfile
    assert f'"version": "{agents.paper_bot.__version__}"' in PAGE
