"""The cap on the length of a page: whole kinds are left out, the last ones first.

A page that lacks a kind says less; one that has some of a kind's metrics says something wrong,
for a rule divides one by another. So a kind is in every family or in none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable

from leakwarden.core.histogram import HistogramSample
from leakwarden.exporters.catalog_family import Family, Sample, Value

Reading = tuple[Family, list[Sample]]


def that_fit(
    readings: Iterable[Reading], subjects: Iterable[str], most: int
) -> frozenset[str] | None:
    """The subjects that stay where `readings` may make at most `most` series; None for all.

    `subjects` are the values of open-ended labels, kinds and other collectors, those to be kept
    first in front. The first that does not fit is left out with all that follow, so that the
    same ones stay from page to page. None stays where the families that are never cut are
    alone more than `most`.
    """
    sizes: Counter[str] = Counter()
    fixed = 0
    for family, samples in readings:
        if family.subject_at is None:
            fixed += sum(_series(value) for _, value in samples)
        else:
            for labels, value in samples:
                sizes[labels[family.subject_at]] += _series(value)
    spare = most - fixed
    if sum(sizes.values()) <= spare:
        return None
    kept = set()
    for subject in dict.fromkeys(subjects):
        spare -= sizes[subject]
        if spare < 0:
            break
        kept.add(subject)
    return frozenset(kept)


def leave_out(readings: Iterable[Reading], kept: Collection[str]) -> dict[str, int]:
    """Take all but the subjects in `kept` out of `readings`; the series taken out, by family."""
    dropped = {}
    for family, samples in readings:
        at = family.subject_at
        if at is not None:
            gone = [value for labels, value in samples if labels[at] not in kept]
            dropped[family.name] = sum(map(_series, gone))
            samples[:] = [sample for sample in samples if sample[0][at] in kept]
    return dropped


def _series(value: Value) -> int:
    """Series that one sample makes: a histogram's buckets, its count and its sum."""
    return len(value.buckets) + 2 if isinstance(value, HistogramSample) else 1
