"""How long a peer that reconnects pauses (peers/reconnect.py)."""

import itertools
import os
import random
import statistics
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytofu import Backoff
from tests.links.ends import printed_by

_FORKED = """
import os
from pytofu import Backoff
for _ in range(4):
    if not os.fork():
        print(next(Backoff().pauses()), flush=True)
        os._exit(0)
    os.wait()
"""


@given(st.floats(0.001, 10), st.floats(0.001, 100))
def test_pauses_grow_to_the_longest(first: float, longest: float) -> None:
    limit = first
    for pause in itertools.islice(Backoff(first, longest).pauses(), 30):
        assert 0 <= pause <= min(limit, longest)
        limit *= 2


def test_many_clients_come_back_spread() -> None:
    """Of 1,000 that lost their server at one moment, by when each has tried so many times."""
    backoff = Backoff(first=0.1, longest=5)
    for attempts in (1, 3, 8):
        times = [sum(itertools.islice(backoff.pauses(), attempts)) for _ in range(1000)]
        span = sum(min(5, 0.1 * 2**i) for i in range(attempts))
        slots = Counter(int(time / span * 10) for time in times)
        assert max(slots.values()) < 350
        assert statistics.stdev(times) > span / 12


def test_the_programs_random_numbers_are_its_own() -> None:
    random.seed(1)
    state = random.getstate()
    next(Backoff().pauses())
    assert random.getstate() == state


@pytest.mark.skipif(not hasattr(os, "fork"), reason="nobody forks here")
def test_forked_children_do_not_come_back_together() -> None:
    assert len(set(printed_by(_FORKED))) == 4


@pytest.mark.parametrize("settings", [{"first": 0}, {"longest": 0}])
def test_pauses_take_time(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="more than 0, not 0"):
        Backoff(**settings)


def test_a_pause_ends() -> None:
    with pytest.raises(ValueError, match="longest is a pause that ends, not inf"):
        Backoff(longest=float("inf"))
