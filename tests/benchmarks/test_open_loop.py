"""The open loop: its schedule, what is late, and what it notices; with a clock of our own."""

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.open_loop import MOST_REQUESTS, OpenLoop, Schedule
from benchmarks.runs import WrongAnswer
from benchmarks.work import Subject, Task, Work

_TASK = Task(Work(Subject.RATE, body=8, outstanding=4, share=50), seconds=1.0, warm_up=0.0)
_MS = 1_000_000


@attrs.define
class _Clock:
    """Stands until it is moved; in nanoseconds."""

    now: int = 7_000 * _MS

    def __call__(self) -> int:
        return self.now


@given(
    begin=st.integers(0, 10**18),
    per_second=st.integers(1, 10**7),
    count=st.integers(1, 10**6),
    later=st.integers(-(10**9), 10**11),
)
def test_what_is_due_by_a_moment_is_what_was_due_at_it_or_before(
    begin: int, per_second: int, count: int, later: int
) -> None:
    schedule = Schedule(begin, per_second, count)

    due = schedule.due_by(begin + later)

    assert 0 <= due <= count
    assert due == 0 or schedule.due_at(due - 1) <= begin + later
    assert due == count or schedule.due_at(due) > begin + later


def test_the_schedule_is_even_and_does_not_drift() -> None:
    schedule = Schedule(begin=0, per_second=3, count=10**6)

    assert [schedule.due_at(number) for number in range(4)] == [0, 333333333, 666666666, 10**9]
    assert schedule.due_at(3 * 10**5) == 10**5 * 10**9


def test_requests_are_due_at_half_of_what_saturates() -> None:
    clock = _Clock()
    run = OpenLoop(_TASK, 20.0, clock)
    first = run.next_due

    assert run.unsent == 10
    assert first == clock.now
    assert len(run.due()) == 1
    assert run.next_due == first + 100 * _MS
    clock.now += 99 * _MS
    assert len(run.due()) == 0
    clock.now += 1 * _MS
    assert len(run.due()) == 1
    assert run.unsent == 8


def test_a_sender_that_was_held_up_sends_everything_and_the_lateness_counts() -> None:
    clock = _Clock()
    run = OpenLoop(_TASK, 20.0, clock)
    clock.now += 950 * _MS  # ten were due, the first 950 ms ago, the last 50

    ids = run.due()
    assert (len(ids), run.unsent) == (10, 0)
    clock.now += 10 * _MS
    for message_id in ids:
        run.answered(message_id, run.body)

    figures = run.figures()
    assert run.finished
    assert figures["late_p99_us"] == 950_000
    assert (figures["p50_us"], figures["p99_us"], figures["p999_us"]) == (460_000, 960_000, 960_000)
    assert figures["samples"] == figures["messages"] == 10


def test_an_answer_is_timed_from_the_intended_moment_of_its_own_request() -> None:
    clock = _Clock()
    run = OpenLoop(_TASK, 4.0, clock)
    ids = [*run.due()]
    clock.now += 600 * _MS  # the second was due 100 ms ago
    ids += run.due()
    run.answered(ids[0], run.body)
    run.answered(ids[1], run.body)

    figures = run.figures()
    assert (figures["p50_us"], figures["p99_us"]) == (100_000, 600_000)
    assert figures["late_p99_us"] == 100_000
    assert (figures["offered_per_second"], figures["saturating_per_second"]) == (2, 4.0)


def test_the_warm_up_is_sent_and_verified_but_no_sample() -> None:
    clock = _Clock()
    run = OpenLoop(attrs.evolve(_TASK, warm_up=0.5), 20.0, clock)
    while run.unsent:
        stalled = 5_000 * _MS if run.unsent > 10 else 0
        clock.now = max(clock.now, run.next_due) + stalled
        for message_id in run.due():
            run.answered(message_id, run.body)

    assert run.finished
    assert (run.figures()["messages"], run.figures()["samples"]) == (15, 10)


def test_a_schedule_is_never_empty_and_never_too_long() -> None:
    assert OpenLoop(_TASK, 0.001).unsent == 1
    assert OpenLoop(attrs.evolve(_TASK, warm_up=100.0, seconds=1e6), 1e6).unsent == MOST_REQUESTS
    assert OpenLoop(attrs.evolve(_TASK, warm_up=1.0, seconds=0.0), 1.0).unsent == 1


@pytest.mark.parametrize("wrong", ["id", "order", "body", "unsent"])
def test_a_wrong_answer_is_noticed(wrong: str) -> None:
    clock = _Clock()
    run = OpenLoop(_TASK, 20.0, clock)
    if wrong == "unsent":
        [first] = run.due()
        run.answered(first, run.body)
        message_id, body = first + 1, run.body
    else:
        clock.now += 200 * _MS
        first, second, _ = run.due()
        message_id = {"id": 1, "order": second}.get(wrong, first)
        body = bytes(8) if wrong == "body" else run.body

    with pytest.raises(WrongAnswer, match="with 8 bytes, got message"):
        run.answered(message_id, body)
