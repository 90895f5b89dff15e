"""Before the loop sleeps: the pollers are asked again and again, where that has paid off."""

import os

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytofu.engine import busy_polling as module
from pytofu.engine.busy_polling import BusyPolling

STEP = 1
"""Each look at the clock takes as long."""
LIMIT = 40.0
TAKEN = 3 * STEP
FEW, ASLEEP = module._FEW, module._ASLEEP


@attrs.define
class Clock:
    """Goes on when it is looked at."""

    now: float = 1000
    yields: int = 0
    away: int = 0
    """How long somebody else has the core that is given up."""

    def __call__(self) -> float:
        self.now += STEP
        return self.now

    def give_up_the_core(self) -> None:
        self.yields += 1
        self.now += self.away


@attrs.define(eq=False)
class Reactor:
    """Ready from some moment on."""

    clock: Clock
    busy_poll: float = LIMIT
    ready_at: float = float("inf")
    asked: int = 0

    def is_ready(self) -> bool:
        self.asked += 1
        return self.clock.now >= self.ready_at


def clock_in(patch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    patch.setattr(module, "perf_counter", clock)
    patch.setattr(module, "_TAKEN", TAKEN)
    patch.setattr(os, "sched_yield", clock.give_up_the_core)
    return clock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return clock_in(monkeypatch)


def expecting(*reactors: Reactor) -> BusyPolling:
    """These have been ready soon, the last few times."""
    polling = BusyPolling()
    for _ in range(FEW):
        short_wait(polling, *reactors)
    for reactor in reactors:
        reactor.asked = 0
    return polling


def short_wait(polling: BusyPolling, *reactors: Reactor) -> None:
    polling.before_sleep(1e9)
    for reactor in reactors:
        polling.woken_by(reactor)


def test_nobody_is_asked_at_first(clock: Clock) -> None:
    reactor = Reactor(clock, ready_at=0)
    polling = BusyPolling()
    polling.before_sleep(1e9)
    assert (reactor.asked, clock.yields) == (0, 0)


def test_nobody_is_asked_before_there_have_been_a_few_short_waits(clock: Clock) -> None:
    reactor = Reactor(clock, ready_at=0)
    polling = BusyPolling()
    for _ in range(FEW):
        short_wait(polling, reactor)
        assert reactor.asked == 0
    short_wait(polling, reactor)
    assert reactor.asked == 1


def test_who_was_ready_soon_is_asked_until_it_is_ready(clock: Clock) -> None:
    reactor = Reactor(clock)
    polling = expecting(reactor)
    reactor.ready_at = clock.now + LIMIT - 2 * STEP
    polling.before_sleep(1e9)
    assert clock.now == reactor.ready_at
    assert reactor.asked == clock.yields + 1 > 10


def test_it_is_asked_again_as_long_as_it_is_ready_soon(clock: Clock) -> None:
    reactor = Reactor(clock)
    polling = expecting(reactor)
    for _ in range(5):
        reactor.asked, reactor.ready_at = 0, clock.now + 5
        polling.before_sleep(1e9)
        polling.woken_by(reactor)
        assert reactor.asked > 1


def short_waits_until_asked(polling: BusyPolling, reactor: Reactor) -> int:
    reactor.ready_at = reactor.asked = waits = 0
    while not reactor.asked:
        short_wait(polling, reactor)
        waits += 1
    return waits - 1


def test_who_is_not_ready_within_the_limit_is_not_asked_for_twice_as_long(clock: Clock) -> None:
    reactor = Reactor(clock)
    polling = expecting(reactor)
    needed: list[int] = []
    for _ in range(9):
        before, reactor.ready_at = clock.now, float("inf")
        polling.before_sleep(1e9)
        assert LIMIT <= clock.now - before <= LIMIT + 4 * STEP
        clock.now += int(ASLEEP * LIMIT)
        polling.woken_by(reactor)
        needed.append(short_waits_until_asked(polling, reactor))
        polling._needed = max(needed)  # that it was ready this time counts for nothing here
    assert needed == [2 * FEW, 4 * FEW, 8 * FEW, 16 * FEW, 32 * FEW, *[64 * FEW] * 4]


def test_the_first_answer_makes_up_for_all_that_was_in_vain(clock: Clock) -> None:
    reactor = Reactor(clock)
    polling = expecting(reactor)
    polling.before_sleep(1e9)
    assert short_waits_until_asked(polling, reactor) == 2 * FEW
    polling.before_sleep(1e9)  # and something else ends the wait
    polling.before_sleep(1e9)
    assert short_waits_until_asked(polling, reactor) == FEW


@pytest.mark.parametrize(("waits", "asked"), [(ASLEEP * LIMIT - STEP, 1), (ASLEEP * LIMIT, 0)])
def test_what_is_slept_through_is_short_up_to_twice_the_limit(
    clock: Clock, waits: float, asked: int
) -> None:
    reactor = Reactor(clock, ready_at=0)
    polling = BusyPolling()
    for _ in range(FEW):
        polling.before_sleep(1e9)
        clock.now += int(waits) - STEP  # until it is looked at
        polling.woken_by(reactor)
    polling.before_sleep(1e9)
    assert reactor.asked == asked


def test_a_wait_that_something_else_has_ended_is_none_of_the_short_ones(clock: Clock) -> None:
    reactor = Reactor(clock, ready_at=0)
    polling = expecting(reactor)
    polling.before_sleep(1e9)  # and nobody says that it is ready
    reactor.asked = 0
    for _ in range(FEW):
        short_wait(polling, reactor)
        polling.before_sleep(1e9)
    assert reactor.asked == 0


def test_no_limit_means_never(clock: Clock) -> None:
    reactor = Reactor(clock, busy_poll=0.0, ready_at=0)
    expecting(reactor).before_sleep(1e9)
    assert reactor.asked == 0


def test_the_loops_own_deadline_ends_the_asking(clock: Clock) -> None:
    reactor = Reactor(clock)
    polling = expecting(reactor)
    before = clock.now
    polling.before_sleep(15)
    assert clock.now - before <= 15 + 4 * STEP
    assert reactor.asked == clock.yields > 1


def test_somebody_else_who_wants_the_core_ends_the_asking(clock: Clock) -> None:
    reactor = Reactor(clock)
    polling = expecting(reactor)
    clock.away = TAKEN
    polling.before_sleep(1e9)
    assert (reactor.asked, clock.yields) == (1, 1)
    clock.away = 0
    assert short_waits_until_asked(polling, reactor) == 2 * FEW


def test_any_of_several_is_enough_and_each_has_its_own_limit(clock: Clock) -> None:
    hasty, patient = Reactor(clock, busy_poll=10.0), Reactor(clock, busy_poll=100.0)
    polling = expecting(hasty, patient)
    patient.ready_at = clock.now + 50
    polling.before_sleep(1e9)
    assert hasty.asked < 10 < patient.asked
    polling.woken_by(patient)
    hasty.ready_at = patient.ready_at = 0
    hasty.asked = patient.asked = 0
    polling.before_sleep(1e9)
    assert (hasty.asked, patient.asked) == (0, 1)


def test_who_is_closed_is_forgotten(clock: Clock) -> None:
    reactor, never_ready = Reactor(clock), Reactor(clock)
    polling = expecting(reactor)
    polling.forget(reactor)
    polling.forget(never_ready)
    polling.before_sleep(1e9)
    assert (reactor.asked, clock.yields) == (0, 0)


@given(
    st.lists(st.tuples(st.floats(0, 50), st.floats(0, 200), st.booleans()), min_size=1, max_size=6),
    st.floats(0.001, 100),
)
def test_no_wait_is_made_longer_than_the_longest_limit(
    reactors: list[tuple[float, float, bool]], timeout: float
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = clock_in(patch)
        each = [Reactor(clock, busy_poll=limit) for limit, _, _ in reactors]
        polling = expecting(*(r for r, (_, _, soon) in zip(each, reactors, strict=True) if soon))
        before = clock.now
        for reactor, (_, ready_in, _) in zip(each, reactors, strict=True):
            reactor.ready_at = before + ready_in
        polling.before_sleep(timeout)
        longest = max(reactor.busy_poll for reactor in each)
        assert clock.now - before <= min(longest, timeout) + (len(each) + 3) * STEP
