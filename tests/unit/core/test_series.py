"""A bounded history at several resolutions."""

from __future__ import annotations

import pytest

from leakwarden.core.series import Point, Series


def test_values_of_one_step_become_one_point_with_min_mean_max_and_count():
    series = Series([(10.0, 5)])
    for at, value in ((100.0, 4.0), (103.0, 1.0), (109.9, 7.0)):
        series.append(at, value)
    assert series.points(10.0) == [Point(at=100.0, min=1.0, mean=4.0, max=7.0, count=3)]


def test_a_point_begins_on_the_grid_and_the_next_exactly_at_its_end():
    series = Series([(10.0, 5)])
    series.append(104.0, 1.0)
    series.append(110.0, 2.0)
    assert [(point.at, point.count) for point in series.points(10.0)] == [(100.0, 1), (110.0, 1)]


def test_every_resolution_has_the_whole_of_each_value():
    series = Series([(1.0, 100), (10.0, 100)])
    for second in range(20):
        series.append(float(second), float(second))
    assert [point.count for point in series.points(1.0)] == [1] * 20
    assert [(point.min, point.mean, point.max) for point in series.points(10.0)] == [
        (0.0, 4.5, 9.0),
        (10.0, 14.5, 19.0),
    ]


def test_a_gap_is_absent_and_not_interpolated():
    series = Series([(1.0, 100)])
    series.append(0.0, 1.0)
    series.append(5.0, 3.0)
    assert [point.at for point in series.points(1.0)] == [0.0, 5.0]


def test_only_the_newest_points_are_kept_however_many_came():
    series = Series([(1.0, 3), (5.0, 2)])
    for second in range(1000):
        series.append(float(second), 0.0)
    assert [point.at for point in series.points(1.0)] == [997.0, 998.0, 999.0]
    assert [point.at for point in series.points(5.0)] == [990.0, 995.0]


def test_a_value_from_the_past_counts_as_of_the_latest_instant():
    series = Series([(1.0, 10)])
    series.append(5.0, 1.0)
    series.append(2.0, 9.0)
    assert series.points(1.0) == [Point(at=5.0, min=1.0, mean=5.0, max=9.0, count=2)]


def test_nothing_measured_is_no_point():
    assert Series().points(1.0) == []


def test_an_unknown_resolution_is_a_key_error():
    with pytest.raises(KeyError):
        Series([(1.0, 10)]).points(2.0)


@pytest.mark.parametrize("resolution", [(0.0, 5), (-1.0, 5), (1.0, 0)])
def test_a_resolution_without_extent_is_refused(resolution):
    with pytest.raises(ValueError, match="both are above 0"):
        Series([resolution])


def test_what_was_read_does_not_change_under_the_reader():
    series = Series([(10.0, 5)])
    series.append(0.0, 1.0)
    read = series.points(10.0)
    series.append(1.0, 3.0)
    assert read == [Point(at=0.0, min=1.0, mean=1.0, max=1.0, count=1)]


def test_a_step_below_a_second_keeps_its_points_apart():
    series = Series([(0.1, 100)])
    for index in range(50):
        series.append(index * 0.1 + 0.05, 1.0)
    points = series.points(0.1)
    assert len(points) == 50
    assert all(point.count == 1 for point in points)
