"""Counters without a lock: what a scrape reads of them is what prometheus_client's own would tell."""

from __future__ import annotations

from collections.abc import Iterator
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import REGISTRY, CollectorRegistry, Histogram
from prometheus_client.registry import Collector

from agents.poller.tally import Distribution, Tally

BOUNDS = (0.01, 0.5, 1, 30)


@pytest.fixture
def made() -> Iterator[list[Collector]]:
    """What a test registers, and nothing of it afterwards."""
    collectors: list[Collector] = []
    yield collectors
    for collector in collectors:
        REGISTRY.unregister(collector)


@given(st.lists(st.sampled_from([0.0, 0.005, 0.01, 0.02, 0.5, 0.75, 1.0, 29.0, 30.0, 31.0, 1e9]), max_size=30))
def test_a_distribution_is_told_as_a_histogram_is(values: list[float]) -> None:
    name = f"tally_{uuid4().hex}"
    theirs = Histogram(name, "words", buckets=BOUNDS, registry=CollectorRegistry())
    ours = Distribution(name, "words", BOUNDS)
    try:
        for value in values:
            theirs.observe(value)
            ours.observe(value)
        [told] = ours.collect()
        [expected] = theirs.collect()
        assert told.type == expected.type
        samples = {(sample.name, tuple(sample.labels.items())): sample.value for sample in told.samples}
        for sample in expected.samples:
            if not sample.name.endswith("_created"):
                assert samples[sample.name, tuple(sample.labels.items())] == pytest.approx(sample.value)
    finally:
        REGISTRY.unregister(ours)


def test_a_tally_counts_by_labels(made: list[Collector]) -> None:
    tally = Tally("tally_of_looks", "words", ["engine", "outcome"])
    made.append(tally)
    for outcome in ("ok", "ok", "timeout"):
        tally.count("freqtrade", outcome)
    found = {
        outcome: REGISTRY.get_sample_value("tally_of_looks_total", {"engine": "freqtrade", "outcome": outcome})
        for outcome in ("ok", "timeout", "auth")
    }
    assert found == {"ok": 2, "timeout": 1, "auth": None}


def test_one_without_labels_begins_at_nought(made: list[Collector]) -> None:
    made.append(Tally("tally_of_all", "words", ()))
    assert REGISTRY.get_sample_value("tally_of_all_total") == 0
