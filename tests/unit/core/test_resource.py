"""What a kind may be called and what it may hold."""

from __future__ import annotations

import pytest

from leakwarden.core.errors import ConfigError
from leakwarden.core.resource import RESERVED_KINDS, ResourceSettings, check_kind


@pytest.mark.parametrize("kind", ["a", "db_session", "x1", "a" * 32])
def test_a_good_kind_is_itself(kind):
    assert check_kind(kind) == kind


@pytest.mark.parametrize("kind", ["", "1a", "_a", "A", "a-b", "é", "a" * 33, "a\n"])
def test_a_kind_of_other_letters_or_length_is_refused(kind):
    with pytest.raises(ConfigError, match="cannot name a kind"):
        check_kind(kind)


@pytest.mark.parametrize("kind", sorted(RESERVED_KINDS))
def test_what_leakwarden_measures_itself_names_no_kind(kind):
    with pytest.raises(ConfigError, match="reserved"):
        check_kind(kind)


@pytest.mark.parametrize("name", ["limit", "ttl_seconds", "limit_bytes"])
@pytest.mark.parametrize("value", [0, -1, float("nan")])
def test_a_bound_is_above_zero_and_none_is_no_bound(name, value):
    assert getattr(ResourceSettings(**{name: None}), name) is None
    with pytest.raises(ConfigError, match=f"{name} is {value}"):
        ResourceSettings(**{name: value})


def test_an_unknown_overflow_is_refused():
    with pytest.raises(ConfigError, match="overflow is 'drop'"):
        ResourceSettings(limit=1, overflow="drop")


def test_a_ring_needs_a_limit_of_either_sort():
    assert ResourceSettings(limit_bytes=1, overflow="evict_oldest").limit is None
    with pytest.raises(ConfigError, match="without a limit"):
        ResourceSettings(ttl_seconds=1.0, overflow="evict_oldest")
