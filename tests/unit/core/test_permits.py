"""A limit in the form of permits."""

from __future__ import annotations

import pytest

from leakwarden.core.permits import Permits


def take(permits):
    """As a ledger takes one: a free one, or a minted one; False at the limit."""
    try:
        permits.free.pop()
    except IndexError:
        return permits.mint()
    return True


def take_all(permits, at_most=10_000):
    taken = 0
    while taken < at_most and take(permits):
        taken += 1
    return taken


@pytest.mark.parametrize("limit", [1, 2, 3, 64, 65, 1000])
def test_as_many_as_the_limit_can_be_taken(limit):
    permits = Permits(limit)
    assert take_all(permits) == limit
    for _ in range(limit):
        permits.returned.append(None)
    assert take_all(permits) == limit


def test_without_a_limit_there_is_always_another():
    assert take_all(Permits(None)) == 10_000


def test_an_unused_limit_costs_no_memory():
    permits = Permits(1_000_000)
    take(permits)
    assert len(permits.free) < 64


def test_what_comes_back_above_a_lowered_limit_is_not_taken_again():
    permits = Permits(5)
    take_all(permits)
    permits.resize(2)
    for _ in range(3):
        permits.returned.append(None)
        assert not take(permits)
    permits.returned.append(None)
    assert take(permits)
    assert not take(permits)


def test_free_permits_above_a_lowered_limit_are_gone():
    permits = Permits(5)
    take_all(permits)
    for _ in range(5):
        permits.returned.append(None)
    permits.resize(2)
    assert take_all(permits) == 2


def test_a_raised_limit_makes_up_for_what_was_owed():
    permits = Permits(5)
    take_all(permits)
    permits.resize(2)
    permits.resize(7)
    assert take_all(permits) == 2
