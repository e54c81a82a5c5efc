"""Durations counted by upper bound."""

from __future__ import annotations

from math import inf

from leakwarden.core.histogram import Histogram


def test_a_value_at_a_bound_counts_below_it():
    histogram = Histogram([0.1, 1.0])
    for value in (0.05, 0.1, 0.5, 1.0, 7.0):
        histogram.observe(value)
    sample = histogram.sample()
    assert sample.buckets == ((0.1, 2), (1.0, 4), (inf, 5))
    assert sample.count == 5
    assert sample.sum == 8.65


def test_an_empty_histogram_has_every_bucket_at_zero():
    sample = Histogram([1.0]).sample()
    assert (sample.buckets, sample.sum, sample.count) == (((1.0, 0), (inf, 0)), 0.0, 0)


def test_a_sample_does_not_change_under_the_reader():
    histogram = Histogram([1.0])
    sample = histogram.sample()
    histogram.observe(0.5)
    assert sample.count == 0
