"""Counters are read as numbers, whatever lies in their hash."""

import math

import pytest

from lig_core.serving.queue.counters import COUNTERS, HISTOGRAMS, parse


@pytest.mark.parametrize("value", [b"inf", b"-inf", b"nan", b"1e999", b"many", b"", b"\xff"])
def test_what_is_no_finite_number_counts_as_none(value):
    garbage = {f"{name}<=inf".encode(): value for name in HISTOGRAMS} | {
        f"{name}:sum".encode(): value for name in HISTOGRAMS
    }
    garbage |= {name.encode(): value for name in COUNTERS} | {b"\xff": b"1"}
    counted = parse(garbage | {b"attempts": b"3"})
    assert counted.counters["attempts"] == {"": 3.0}
    assert [sum(histogram.counts) for histogram in counted.histograms.values()] == [0] * len(HISTOGRAMS)
    assert all(math.isfinite(histogram.sum) for histogram in counted.histograms.values())
