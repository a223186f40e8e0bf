"""Forms by family: fields where a person can fill them in, an example and the members where it is a document."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import pytest

from control_plane.dashboard.families import FamilyForm, form_of, made
from control_plane.engines.configs import decode_config
from control_plane.engines.family import Capability, EngineConfig, Family
from control_plane.engines.http import FAMILY as HTTP
from control_plane.engines.tradewise import FAMILY as TRADEWISE


class Plain(EngineConfig, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a third party may ask for."""

    account: str
    depth: Annotated[int, msgspec.Meta(ge=1, le=50)]
    live: bool = False
    ratio: float | None = None
    side: Literal["long", "short"] | None = None


class Market(msgspec.Struct, frozen=True):
    """One market."""

    symbol: str
    weight: float | None = None


class Nested(EngineConfig, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A document, of which nothing is hinted."""

    markets: list[Market]
    main: Market
    labels: dict[str, str] | None = None
    depth: Annotated[int, msgspec.Meta(ge=1, le=50)] = 5


class Told(Nested, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The same with words."""

    hints: ClassVar[Mapping[str, str]] = {"depth": "a whole number, 50 at most"}
    purposes: ClassVar[Mapping[str, str]] = {"depth": "how deep to look"}


def form(config: type[EngineConfig]) -> FamilyForm:
    return made(
        Family(
            name="acme",
            title="Acme",
            about="",
            credential=TRADEWISE.credential,
            config=config,
            capabilities=frozenset({Capability.EQUITY}),
            provenance={},
        )
    )


def test_numbers_and_choices_are_fields_of_their_own() -> None:
    shown = form(Plain)
    assert shown.document is None
    fields = {field.name.removeprefix("engine_config."): field for field in shown.config}
    assert list(fields) == ["account", "depth", "live", "ratio", "side"]
    assert [name for name, field in fields.items() if field.required] == ["account", "depth"]
    assert fields["depth"].help == "A whole number, from 1 to 50."
    assert fields["ratio"].help == "A number."
    # What is so where nothing is chosen comes first: another choice, or none.
    assert [value for value, _ in fields["live"].options] == ["false", "true"]
    assert [value for value, _ in fields["side"].options] == ["", "long", "short"]


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ({"account": "12", "depth": "5"}, {"account": "12", "depth": 5}),
        ({"account": "a", "depth": "5", "live": "true", "ratio": "0.5"},
         {"account": "a", "depth": 5, "live": True, "ratio": 0.5}),
        ({"account": "a", "depth": "many"}, {"account": "a", "depth": "many"}),
        ({"account": "a", "depth": "NaN", "more": "1"}, {"account": "a", "depth": "NaN", "more": "1"}),
    ],
)  # fmt: skip
def test_what_a_form_sends_as_text_is_what_the_configuration_has(sent: dict[str, str], meant: dict[str, Any]) -> None:
    assert form(Plain).typed(sent) == meant


@pytest.mark.parametrize("config", [Nested, Told])
def test_a_document_is_told_by_its_members(config: type[EngineConfig]) -> None:
    document = form(config).document
    assert document is not None
    assert len(document.help) > 1
    told = {member.name: member for member in document.members}
    assert list(told) == ["markets", "markets[].symbol", "markets[].weight", "main", "main.symbol", "main.weight",
                          "labels", "depth"]  # fmt: skip
    assert [name for name, member in told.items() if member.required] == [
        "markets", "markets[].symbol", "main", "main.symbol",
    ]  # fmt: skip
    assert told["markets"].about == "A list of objects with symbol, weight."
    assert told["main"].about == "An object with symbol, weight. One market."
    assert told["main.weight"].about == "A number."
    assert told["labels"].about == "An object."
    hinted = "How deep to look. A whole number, 50 at most."
    assert told["depth"].about == (hinted if config is Told else "A whole number, from 1 to 50.")


def test_the_declaration_of_any_json_api_has_an_example_that_can_be_taken_over() -> None:
    shown = form_of("http")
    assert shown is not None
    assert shown.document is not None
    decode_config(HTTP, shown.document.example)
    assert {"calls", "fields", "fields.equity", "auth", "header"} <= {member.name for member in shown.document.members}
