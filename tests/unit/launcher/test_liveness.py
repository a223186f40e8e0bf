"""When a running bot is taken to hang, and when nothing is certain enough for that."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
import pytest

from agents.engines.base import Reason
from agents.launcher.lifecycle import Policy
from agents.launcher.liveness import CURABLE, blind, hung
from tests.unit.launcher.rows import NOW, POLICY, ago, bot, unwell

STARTED = ago(1000)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        ({}, True),
        ({"reason": "unreachable"}, True),
        ({"reason": "http_error"}, True),
        ({"reason": "bad_payload"}, True),
        # nothing that a restart cures
        ({"reason": "auth"}, False),
        ({"reason": "rate_limited"}, False),
        ({"reason": "egress_refused"}, False),
        ({"reason": "secret_unreadable"}, False),
        ({"reason": "engine_unknown"}, False),
        ({"reason": None}, False),
        # not for long enough, not often enough
        ({"well_at": ago(304)}, False),
        ({"failures": 3}, True),
        ({"failures": 2}, False),
        # the poller is away
        ({"seen_at": ago(75), "well_at": ago(900)}, True),
        ({"seen_at": ago(76), "well_at": ago(900)}, False),
        # never well since its start
        ({"well_at": None}, True),
    ],
)
def test_a_bot_hangs(more: dict[str, Any], expected: bool) -> None:
    assert (hung(bot(unwell=unwell(**more)), STARTED, NOW, POLICY) is not None) is expected


def test_what_was_before_this_copy_does_not_count() -> None:
    assert hung(bot(unwell=unwell(well_at=ago(5000))), ago(100), NOW, POLICY) is None


@pytest.mark.parametrize(("since", "expected"), [(ago(5000), True), (ago(301), True), (ago(290), False)])
def test_silence_from_before_the_engine_came_back_does_not_count(since: datetime, expected: bool) -> None:
    # With the engine went the way to its published port: the bot itself may have been well all along.
    policy = msgspec.structs.replace(POLICY, in_sight_since=since)
    assert (hung(bot(unwell=unwell(well_at=ago(900), seen_at=NOW)), STARTED, NOW, policy) is not None) is expected


def test_a_bot_that_is_well_does_not_hang() -> None:
    assert hung(bot(healthy_at=NOW), STARTED, NOW, POLICY) is None


def test_the_operator_may_switch_it_off() -> None:
    assert hung(bot(unwell=unwell()), STARTED, NOW, Policy(liveness_deadline=0.0)) is None


def test_reasons_are_those_of_the_poller() -> None:
    assert {reason.value for reason in Reason} >= CURABLE


@pytest.mark.parametrize(
    ("failing", "well", "expected"),
    [(4, 0, False), (5, 0, True), (5, 5, False), (6, 5, True), (50, 50, False), (0, 9, False)],
)
def test_most_of_them_at_once_means_that_we_are_blind(failing: int, well: int, expected: bool) -> None:
    bots = [bot(unwell=unwell()) for _ in range(failing)] + [bot(healthy_at=NOW) for _ in range(well)]
    assert blind(bots, NOW, POLICY) is expected


def test_bots_whose_credentials_are_refused_blind_nobody() -> None:
    assert not blind([bot(unwell=unwell(reason="auth")) for _ in range(9)], NOW, POLICY)
