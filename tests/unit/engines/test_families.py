"""What is said of families agrees with what their programs do, and with what is written of them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.engines import engine_for
from agents.engines.base import Reading
from control_plane.engines.configs import CONFIG_LIMIT, ConfigError, decode_config, encode_config
from control_plane.engines.family import CONTROLS, Capability, EngineConfig, Family
from control_plane.engines.http import HttpConfig
from control_plane.engines.http_fields import HttpFields
from control_plane.engines.registry import FAMILIES, family_of
from control_plane.engines.schemas import view_of

DOCUMENT = (Path(__file__).parents[3] / "docs" / "engines.md").read_text()
NEEDS = {
    Capability.TRADING_STATE: ["trading_state"],
    Capability.LOOP_AGE: ["loop_age_s"],
    Capability.EQUITY: ["equity", "currency"],
    Capability.PERFORMANCE: ["realized_profit", "closed_trades"],
    Capability.POSITIONS: ["open_positions"],
}


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_every_capability_comes_from_somewhere_and_every_provenance_is_of_a_field(family: Family) -> None:
    assert set(family.provenance) <= set(Reading.__struct_fields__)
    assert "latency_ms" in family.provenance
    for capability, fields in NEEDS.items():
        assert (capability in family.capabilities) == all(field in family.provenance for field in fields), capability
    assert engine_for(family.name).family is family
    assert family.actions == {action for action, needed in CONTROLS.items() if needed in family.capabilities}


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_document_names_every_family_and_every_field(name: str) -> None:
    assert f"\n## {name}\n" in DOCUMENT
    family = FAMILIES[name]
    for shape in filter(None, (family.credential, family.config)):
        for field in shape.__struct_fields__:
            assert f"`{field}`" in DOCUMENT, field
    assert msgspec.json.encode(view_of(family))


def test_the_documents_declaration_is_one() -> None:
    sample = re.search(r"<!-- engine_config: http -->\n```json\n(.*?)```", DOCUMENT, re.DOTALL)
    assert sample
    config = decode_config(family_of("http"), sample[1])
    assert isinstance(config, HttpConfig)
    assert HttpConfig.example == sample[1]  # the dashboard's form begins with it
    for field in HttpFields.__struct_fields__:
        assert f"`{field}`" in DOCUMENT
    assert decode_config(family_of("http"), encode_config(config)) == config


def test_a_configuration_of_a_family_that_has_none_is_refused() -> None:
    assert decode_config(family_of("freqtrade"), None) is None
    with pytest.raises(ConfigError, match="leave it out"):
        decode_config(family_of("freqtrade"), {})
    with pytest.raises(LookupError, match="hummingbot"):
        family_of("nonesuch")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "7", '{"mode": 1e}', '{"mode": "\ud800"}', "[" * 5000, " " * 2 * CONFIG_LIMIT + " {}"]
)
def test_a_text_that_is_no_configuration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        decode_config(family_of("octobot"), text.encode(errors="surrogatepass"))


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["path", "call", "value", "words", "scale", "a", "x y"]), inner, max_size=3)
    ),
    max_leaves=8,
)
_NAMES = st.sampled_from(
    ["calls", "fields", "auth", "header", "bot_name", "controller_id", "currency", "capital", "mode", "surplus"]
)


@pytest.mark.parametrize(
    ("query", "refused"),
    [("api_key=1", True), ("apikey=1", True), ("accessToken=1", True), ("a=1&X-Signature=2", True), ("auth", True),
     ("signals=1", False), ("monkey=1", False), ("author=1", False), ("currency=USDT&limit=5", False)],
)  # fmt: skip
def test_a_query_that_looks_as_if_it_carried_a_secret_is_refused(query: str, refused: bool) -> None:
    raw = {"calls": {"a": f"/x?{query}"}, "fields": {"version": {"path": "v"}}}
    assert isinstance(decided("http", raw), ConfigError) == refused


def test_two_bots_in_one_answer_are_two_and_the_same_declaration_is_one() -> None:
    def part(path: str, **more: str) -> str:
        config = decided("http", {"calls": {"a": "/bots"}, "fields": {"version": {"path": path}}, **more})
        assert isinstance(config, HttpConfig)
        return config.part

    assert part("[0].v") != part("[1].v")
    assert part("[0].v") == part("[0].v", auth="bearer")


def decided(engine: str, raw: dict[str, Any]) -> EngineConfig | ConfigError:
    """The configuration, or why it is none."""
    try:
        config = decode_config(family_of(engine), raw)
    except ConfigError as error:
        return error
    assert config is not None
    return config


@given(st.sampled_from(sorted(FAMILIES)), st.dictionaries(_NAMES, _VALUES, max_size=5))
def test_any_object_is_a_configuration_or_refused_by_field(engine: str, raw: dict[str, Any]) -> None:
    config = decided(engine, raw)
    if isinstance(config, ConfigError):
        assert config.message
        assert re.fullmatch(r"[\w.\[\]]*", config.field)
    else:
        assert decode_config(family_of(engine), encode_config(config)) == config


@given(
    st.dictionaries(st.sampled_from(sorted(HttpFields.__struct_fields__)), _VALUES, max_size=4),
    st.dictionaries(st.sampled_from(["a", "b", "B", ""]), st.text(alphabet="/.?=&a%2e#", max_size=8), max_size=5),
)
def test_any_declaration_is_one_or_refused_by_field(fields: dict[str, Any], calls: dict[str, str]) -> None:
    config = decided("http", {"fields": fields, "calls": calls})
    if isinstance(config, ConfigError):
        assert config.field.partition(".")[0] in {"fields", "calls"}
    else:
        assert isinstance(config, HttpConfig)
        assert all(path.startswith("/") and "#" not in path for path in config.calls.values())
