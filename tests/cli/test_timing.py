"""Round-trip times."""

import math

from hypothesis import given
from hypothesis import strategies as st

from pytofu.cli.timing import RoundTrips


def test_nothing_measured() -> None:
    times = RoundTrips()
    assert (times.count, times.minimum, times.mean, times.maximum) == (0, 0, 0.0, 0)
    assert times.percentile(50) == 0


@given(st.lists(st.integers(0, 10**12), min_size=1), st.integers(1, 100))
def test_percentiles_are_right_to_a_fifth_of_a_percent(values: list[int], percent: int) -> None:
    times = RoundTrips()
    for value in values:
        times.add(value)
    exact = sorted(values)[max(1, math.ceil(len(values) * percent / 100)) - 1]
    assert exact - exact / 511 <= times.percentile(percent) <= exact
    assert (times.minimum, times.maximum) == (min(values), max(values))
    assert math.isclose(times.mean, sum(values) / len(values))


def test_memory_does_not_grow_with_the_number_of_round_trips() -> None:
    times = RoundTrips()
    for value in range(0, 10**6, 7):
        times.add(value)
    assert len(times._buckets) < 10_000
