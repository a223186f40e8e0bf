"""Which images may run: by name, and by what the engine has under the name."""

from __future__ import annotations

import pytest

from agents.launcher.image_rules import is_allowed, parse_reference, refusal
from agents.launcher.runtimes.base import Image
from control_plane.settings import Settings

_A, _B, _C = (f"sha256:{letter * 64}" for letter in "abc")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("bot", ("bot", None, None)),
        ("registry.example:5000/team/bot", ("registry.example:5000/team/bot", None, None)),
        (f"registry.example:5000/team/bot:1@{_A}", ("registry.example:5000/team/bot", "1", _A)),
        (f"team/bot@{_A}", ("team/bot", None, _A)),
    ],
)
def test_a_reference_is_taken_apart(text: str, parts: tuple[str, str | None, str | None]) -> None:
    found = parse_reference(text)
    assert (found.name, found.tag, found.digest) == parts


@pytest.mark.parametrize(
    ("reference", "pattern", "allowed"),
    [
        ("team/bot:1", f"team/bot:1@{_A}", True),
        ("team/bot:2", f"team/bot:1@{_A}", False),
        ("team/bot", f"team/bot@{_A}", True),
        (f"team/bot@{_A}", f"team/bot:1@{_A}", True),
        (f"team/bot@{_B}", f"team/bot:1@{_A}", False),
        (f"team/bot:1@{_A}", f"team/bot:1@{_A}", True),
        (f"team/bot:1@{_B}", f"team/bot:1@{_A}", False),
        (f"other/bot@{_A}", f"team/bot:1@{_A}", False),
        (f"team/bot@{_B}", "team/*", True),
    ],
)
def test_a_pattern_may_name_a_digest(reference: str, pattern: str, *, allowed: bool) -> None:
    assert is_allowed(reference, Settings(allowed_images=(pattern,))) is allowed


@pytest.mark.parametrize(
    ("reference", "patterns", "image", "digests", "allowed"),
    [
        # A pattern without a digest takes whatever has the name.
        ("team/bot:1", ("team/*",), Image(_C), "optional", True),
        # One with a digest takes what was pulled by it, or built here with that id.
        ("team/bot:1", (f"team/bot:1@{_A}",), Image(_C, frozenset({_A})), "optional", True),
        ("team/bot:1", (f"team/bot:1@{_C}",), Image(_C), "optional", True),
        ("team/bot:1", (f"team/bot:1@{_A}",), Image(_C, frozenset({_B})), "optional", False),
        ("team/bot:1", (f"team/bot:1@{_A}", "team/*"), Image(_C), "optional", True),
        # Where digests are required, a name is not enough.
        ("team/bot:1", ("team/*",), Image(_C, frozenset({_A})), "required", False),
        ("team/bot:1", (f"team/bot:1@{_A}", "team/*"), Image(_C, frozenset({_A})), "required", True),
        (f"team/bot@{_A}", ("team/*",), Image(_C, frozenset({_A})), "required", True),
        (f"team/bot@{_B}", ("team/*",), Image(_C, frozenset({_A})), "required", False),
        # Our own bot's image is the operator's.
        ("tradewise/paper-bot:latest", (), Image(_C), "required", True),
    ],
)
def test_what_the_engine_has_is_looked_at(
    reference: str, patterns: tuple[str, ...], image: Image, digests: str, *, allowed: bool
) -> None:
    settings = Settings(allowed_images=patterns, image_digests=digests)  # type: ignore[arg-type]
    why = refusal(reference, image, settings)
    assert (why is None) is allowed
    assert why is None or "TRADEWISE_" in why
