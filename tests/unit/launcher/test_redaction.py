"""A secret never appears in what is shown of a bot's output, however it was written and wherever it was split."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agents.launcher.redaction import REDACTED, SHORTEST, Redactor

TOKEN = "planted-token-0123456789"
_LETTERS = st.text(alphabet='ab"\\\n\té/:', min_size=0, max_size=12)
_SECRETS = st.lists(st.text(alphabet='abc"\\é\n', min_size=SHORTEST, max_size=14), min_size=1, max_size=4)


def shown(secrets: list[str], lines: list[str], flush_after: set[int] = frozenset()) -> list[str]:  # type: ignore[assignment]
    """What comes out of lines that come one by one, with somebody who waits no longer after some of them."""
    redactor: Redactor[int] = Redactor(secrets)
    out: list[tuple[str, int]] = []
    for number, line in enumerate(lines):
        out += redactor.feed([("stdout", line, False, number)])
        if number in flush_after:
            out += redactor.flush()
    out += redactor.flush()
    assert [number for _, number in out] == list(range(len(lines)))
    return [line for line, _ in out]


def test_what_is_no_secret_is_left_as_it_is() -> None:
    lines = ["", "plain", "planted-", "token", "a planted-token of another kind"]
    assert shown([TOKEN], lines) == lines
    assert shown([], lines) == lines
    assert shown(["short"], ["short"]) == ["short"]


def test_a_secret_is_found_as_it_is_in_json_and_in_addresses() -> None:
    secret = 'p"l\\a/ntéd key'
    said = [f"x {secret} y", json.dumps({"k": secret}), json.dumps(json.dumps({"k": secret})), repr([secret])]
    for line in shown([secret], said):
        assert REDACTED in line
        assert "ntéd" not in line
        assert "nt\\u00e9d" not in line
    assert shown([secret], ["GET /?key=p%22l%5Ca%2Fnt%C3%A9d%20key"]) == [f"GET /?key={REDACTED}"]


def test_a_secret_that_is_wrapped_is_taken_out_of_both_lines() -> None:
    assert shown([TOKEN], ["x planted-tok", "en-0123456789 y"]) == [f"x {REDACTED}", f"{REDACTED} y"]
    assert shown([TOKEN], ["x p", *TOKEN[1:], "y"]) == ["x " + REDACTED, *[REDACTED] * (len(TOKEN) - 1), "y"]


def test_a_line_waits_only_while_its_end_may_be_a_beginning() -> None:
    redactor: Redactor[None] = Redactor([TOKEN])
    assert redactor.feed([("stdout", "harmless", False, None)]) == [("harmless", None)]
    assert redactor.feed([("stdout", "it was planted-to", False, None)]) == []
    # Other streams keep their place in the order.
    assert redactor.feed([("stderr", "meanwhile", False, None)]) == []
    assert redactor.waiting
    assert redactor.feed([("stdout", "day", False, None)]) == [
        ("it was planted-to", None),
        ("meanwhile", None),
        ("day", None),
    ]


def test_whoever_waits_no_longer_is_told_no_more_than_a_few_letters_of_it() -> None:
    assert shown([TOKEN], ["x planted-tok", "en-0123456789 y"], {0}) == [f"x {REDACTED}", f"{REDACTED} y"]
    assert shown([TOKEN], ["x plan", "ted-token-0123456789 y"], {0}) == ["x plan", f"{REDACTED} y"]


def test_the_end_of_a_line_that_was_cut_off_is_not_shown() -> None:
    redactor: Redactor[None] = Redactor([TOKEN])
    out = redactor.feed([("stdout", "x" * 100 + TOKEN[:-1], True, None)]) + redactor.flush()
    assert out == [("x" * 100 + REDACTED, None)]


def test_secrets_that_overlap_go_together() -> None:
    assert shown(["abcdefgh", "efghijkl"], ["<abcdefghijkl>"]) == [f"<{REDACTED}>"]


@given(_SECRETS, st.lists(st.one_of(_LETTERS, st.integers(0, 3)), max_size=12), st.data())
def test_no_secret_appears_however_lines_are_split(
    secrets: list[str], parts: list[str | int], data: st.DataObject
) -> None:
    text = "".join(part if isinstance(part, str) else secrets[part % len(secrets)] for part in parts)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=8)))
    pieces = [text[a:b] for a, b in pairwise([0, *cuts, len(text)])]
    lines = [line for piece in pieces for line in piece.split("\n")]
    flushes = data.draw(st.sets(st.integers(0, max(0, len(lines) - 1))))
    out = shown(secrets, lines, flushes)
    # Something stands in the place of what was taken out, so what was around it does not become a secret by itself.
    whole = "".join(out)
    for secret in secrets:
        bare = secret.replace("\n", "")
        if len(bare) >= SHORTEST:
            assert bare not in whole


@given(st.integers(1, len(TOKEN) - 1), st.booleans())
def test_a_secret_between_two_lines_is_taken_out_of_each(at: int, impatient: bool) -> None:
    first, second = shown([TOKEN], ["<" + TOKEN[:at], TOKEN[at:] + ">"], {0} if impatient else set())
    assert second == REDACTED + ">"
    assert first in ({f"<{REDACTED}"} if at >= SHORTEST or not impatient else {"<" + TOKEN[:at]})


@pytest.mark.parametrize("secret", ["aaaaaa", "ababab"])
def test_a_secret_that_repeats_itself_costs_little(secret: str) -> None:
    lines = [secret * 80] * 500
    assert shown([secret], lines) == [REDACTED] * 500
