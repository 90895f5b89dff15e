"""The compiled twins keep nothing: no memory, no reference, whatever is done to them.

Blocks of memory are counted by every interpreter, references by those that were built for
debugging (`./configure --with-pydebug`), where this finds even a reference to None.
"""

import gc
import sys
from collections.abc import Callable
from typing import Any, Final

import pytest
from hypothesis import Phase, given, settings

from tests.compiled import test_calls
from tests.compiled.test_group import KINDS
from tests.compiled.test_group import history as program_history
from tests.compiled.twins import TWINS, Twin, starts, steps
from tests.compiled.worlds import Step, World, history

counters: Final[list[Callable[[], int]]] = [sys.getallocatedblocks]
if hasattr(sys, "gettotalrefcount"):
    counters.append(sys.gettotalrefcount)
# Enough for what is left once each time to be more than the lists of growth() itself, a dozen.
TIMES: Final = 40

pytestmark = pytest.mark.skipif(
    sys.getallocatedblocks() == 0, reason="PYTHONMALLOC=malloc: nobody counts the blocks"
)


def growth(work: Callable[[], object]) -> list[int]:
    """By how much each counter grows, each time that this is done TIMES times.

    The second smallest of several such times: a cache grows now and then, and what others have
    left may go once; a leak grows each time.
    """
    for _ in range(3):
        work()
    grown: list[list[int]] = []
    gc.collect()
    before = [counter() for counter in counters]
    for _ in range(5):
        for _ in range(TIMES):
            work()
        gc.collect()
        after = [counter() for counter in counters]
        grown.append([now - then for now, then in zip(after, before, strict=True)])
        before = after
    return [sorted(column)[1] for column in zip(*grown, strict=True)]


@pytest.mark.parametrize("twin", TWINS, ids=[twin.place for twin in TWINS])
@pytest.mark.timeout(120)
def test_nothing_is_kept(twin: Twin, compiled: World) -> None:
    with compiled.active():
        cls = compiled.find(twin.place)
    histories: list[tuple[tuple[Any, ...], list[Step]]] = []

    @given(starts(cls), steps(twin, cls))
    @settings(max_examples=80, phases=[Phase.generate], database=None)
    def gather(first: tuple[Any, ...], then: list[Step]) -> None:
        histories.append((first, then))

    gather()  # and what Hypothesis itself keeps is kept before the counting begins
    assert len(histories) == 80

    def work() -> None:
        for first, then in histories:
            history(compiled, twin.place, first, then)

    gc.freeze()  # what is there already need not be looked at each time
    try:
        assert max(growth(work)) < TIMES
    finally:
        gc.unfreeze()


ROUND: Final = [
    *[("get", 0, 0), ("post", 0, 64), ("post", 1, 1), ("send", 2, 1024), ("turn", 0, 0)],
    *[("receive", 1, 0), ("wait", 3, 0), ("answer", 1, 0), ("put", 0, 0), ("twice", 0, 0)],
    *[("odd", 0, 64), ("odd", 1, 65), ("other", 0, 0), ("none", 1, 1), ("make", 0, 0)],
    *[("behind", 1, 64), ("cancelled", 0, 0), ("turn", 0, 0), ("receive", 1, 0), ("put", 0, 0)],
    *[("borrow", 0, 0), ("borrow", 2, 64), ("trace", 0, 0), ("post", 0, 0), ("trace", 1, 0)],
    *[("turn", 0, 0), ("receive", 1, 0), ("put", 0, 0), ("receive", 0, 0), ("put", 0, 0)],
    *[("post", 2, 1), ("turn", 0, 0), ("receive", 1, 0), ("put", 0, 0)],
    *[("post", 2, 1), ("next", 1, 0), ("put", 0, 0), ("post", 2, 1), ("next", 3, 0), ("put", 0, 0)],
]
ROUNDS: Final = 20


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.timeout(60)
def test_a_program_keeps_nothing(compiled: World, kind: str) -> None:
    def work() -> object:
        return program_history(compiled, kind, ROUND * ROUNDS)

    # A run of Trio leaves some blocks, compiled or pure: fewer than one for each round.
    assert max(growth(work)) < TIMES * ROUNDS / 2


CALLS: Final = [
    *[("call", which, size) for which in range(len(test_calls.METHODS)) for size in (1, 64)],
    *[("turn", 0, 0), ("late", 3, 1), ("call", 3, 64), ("cancel", 1, 0), ("sleep", 0, 0)],
    *[("call", 1, 65_536), ("headers", 1, 64), ("turn", 0, 0)],
]


@pytest.mark.timeout(60)
def test_calls_keep_nothing(compiled: World) -> None:
    def work() -> object:
        return test_calls.history(compiled, test_calls.between_two, CALLS * 2)

    assert max(growth(work)) < TIMES * len(CALLS) / 2


def test_a_leak_is_found() -> None:
    kept: list[Any] = []
    assert min(growth(lambda: kept.append(object()))) >= TIMES
    assert max(growth(object)) < TIMES
