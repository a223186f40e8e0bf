"""Which images may run."""

from __future__ import annotations

import pytest

from agents.launcher.image_rules import is_allowed, with_tag
from control_plane.settings import Settings


@pytest.mark.parametrize(
    ("reference", "allowed", "expected"),
    [
        ("tradewise/paper-bot", (), True),
        ("tradewise/paper-bot:latest", (), True),
        ("tradewise/paper-bot:0.2", (), False),
        ("tradewise/paper-bot:0.2", ("tradewise/*",), True),
        ("tradewise/grid@sha256:0123", ("tradewise/*",), True),
        ("evil/tradewise/paper-bot", ("tradewise/*",), False),
        ("Tradewise/grid:1", ("tradewise/*",), False),
        ("freqtrade/freqtrade:stable", ("freqtrade/freqtrade:stable",), True),
        ("freqtrade/freqtrade:develop", ("freqtrade/freqtrade:stable",), False),
        ("freqtrade/freqtrade", ("freqtrade/freqtrade",), True),
        ("freqtrade/freqtrade:2026.1", ("freqtrade/freqtrade",), False),
        ("registry.example:5000/bot", ("registry.example:5000/bot:*",), True),
    ],
)
def test_an_image_runs_when_the_operator_lets_it(reference: str, allowed: tuple[str, ...], *, expected: bool) -> None:
    assert is_allowed(reference, Settings(allowed_images=allowed)) is expected


@pytest.mark.parametrize(
    ("reference", "full"),
    [
        ("bot", "bot:latest"),
        ("a/b:1", "a/b:1"),
        ("registry.example:5000/bot", "registry.example:5000/bot:latest"),
        ("a/b@sha256:0123", "a/b@sha256:0123"),
    ],
)
def test_an_image_without_a_tag_means_the_latest(reference: str, full: str) -> None:
    assert with_tag(reference) == full
