"""The documentation's receiver takes what we sign and nothing else, and its tables say what the code does."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest

from agents.notifier.retry import MESSAGE_DELAYS_S
from control_plane.alerts.kinds import KINDS
from control_plane.alerts.words import Told
from control_plane.webhooks.signing import new_secret, signatures

TEXT = (Path(__file__).parents[3] / "docs/webhooks.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture
def is_ours() -> Callable[[str, dict[str, str], bytes], bool]:
    [program] = blocks("python")
    scope: dict[str, Any] = {}
    exec(program, scope)
    return cast("Callable[[str, dict[str, str], bytes], bool]", scope["is_ours"])


def headers(secrets: list[str], body: bytes, at: int) -> dict[str, str]:
    return {
        "webhook-id": "an-id",
        "webhook-timestamp": str(at),
        "webhook-signature": signatures(secrets, "an-id", at, body),
    }


def test_the_documented_receiver(is_ours: Callable[[str, dict[str, str], bytes], bool]) -> None:
    old, new, now = new_secret(), new_secret(), int(time.time())
    sent = headers([new, old], b"body", now)
    assert is_ours(old, sent, b"body")
    assert is_ours(new, sent, b"body")
    assert not is_ours(new_secret(), sent, b"body")
    assert not is_ours(new, sent, b"Body")
    assert not is_ours(new, {**sent, "webhook-id": "another"}, b"body")
    assert not is_ours(new, headers([new], b"body", now - 3600), b"body")


def test_the_documented_message_has_the_members_of_a_real_one() -> None:
    [message] = blocks("json")
    assert set(json.loads(message)["data"]["incident"]) == set(Told.__struct_fields__)


def test_every_kind_is_documented() -> None:
    table = TEXT.partition("## What is told")[2].partition("\n## ")[0]
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == list(KINDS)


def test_the_documented_waits_are_the_real_ones() -> None:
    said = re.search(r"tried again after (.*?) \(a fifth", TEXT, re.DOTALL)
    assert said is not None
    words, unit = re.findall(r"\d+|\b(?:s|min|h)\b", said[1]), {"s": 1, "min": 60, "h": 3600}
    found: list[int] = []
    scale = 1
    for word in reversed(words):
        scale, found = (unit[word], found) if word in unit else (scale, [int(word) * scale, *found])
    assert found == list(MESSAGE_DELAYS_S)
