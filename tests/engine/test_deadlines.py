"""A group's clock: who is asked, and when."""

import math
import sys

from hypothesis import given
from hypothesis import strategies as st

from pytofu.engine.deadlines import Deadlines, Timed

INF = math.inf


class Alarm(Timed):
    """Its deadline is what the test says; it notes when it was asked."""

    def __init__(self, deadline: float = INF, *, then: float = INF) -> None:
        super().__init__()
        self.when = deadline
        self.then = then  # its deadline once it has been asked in time
        self.asked: list[float] = []

    def deadline(self) -> float:
        return self.when

    def time_passed(self, now: float) -> None:
        self.asked.append(now)
        if now >= self.when:
            self.when = self.then

    def on_defect(self) -> None:
        raise AssertionError("there is none")


class Changes:
    """How often somebody was told that the earliest deadline may have changed."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        self.count += 1


def test_where_nobody_has_a_deadline_nobody_is_asked() -> None:
    deadlines = Deadlines(Changes())
    deadlines.expect(Alarm())
    assert deadlines.earliest == INF
    deadlines.strike(1e9)


def test_everybody_is_asked_once_when_its_time_is_up_the_earliest_first() -> None:
    deadlines = Deadlines(Changes())
    order: list[int] = []

    class Ordered(Alarm):
        def time_passed(self, now: float) -> None:
            order.append(int(self.when))
            super().time_passed(now)

    alarms = [Ordered(when) for when in (3, 1, 2, 5, 2)]
    for alarm in alarms:
        deadlines.expect(alarm)
    assert deadlines.earliest == 1
    deadlines.strike(0.9)
    assert order == []
    deadlines.strike(3)
    assert order == [1, 2, 2, 3]
    assert deadlines.earliest == 5
    deadlines.strike(5)
    deadlines.strike(9)
    assert order == [1, 2, 2, 3, 5]


def test_who_has_moved_its_deadline_on_is_asked_too_early_and_again_in_time() -> None:
    deadlines = Deadlines(Changes())
    alarm = Alarm(1)
    deadlines.expect(alarm)
    alarm.when = 7
    deadlines.expect(alarm)
    assert deadlines.earliest == 1
    deadlines.strike(1)
    assert (alarm.asked, deadlines.earliest) == ([1], 7)
    deadlines.strike(7)
    assert (alarm.asked, deadlines.earliest) == ([1, 7], INF)


def test_who_has_an_earlier_deadline_now_is_asked_for_that_alone() -> None:
    deadlines = Deadlines(Changes())
    alarm = Alarm(7)
    deadlines.expect(alarm)
    alarm.when = 2
    deadlines.expect(alarm)
    deadlines.strike(2)
    deadlines.strike(7)
    assert alarm.asked == [2]


def test_who_is_asked_may_have_a_new_deadline_at_once() -> None:
    deadlines = Deadlines(Changes())
    alarm = Alarm(1, then=2)
    deadlines.expect(alarm)
    deadlines.strike(1.5)
    assert (alarm.asked, deadlines.earliest) == ([1.5], 2)


def test_who_was_withdrawn_or_has_no_deadline_any_more_is_not_asked() -> None:
    deadlines = Deadlines(Changes())
    one, other = Alarm(1), Alarm(2)
    for alarm in (one, other):
        deadlines.expect(alarm)
    deadlines.withdraw(one)
    assert deadlines.earliest == 2
    other.when = INF
    deadlines.expect(other)
    assert deadlines.earliest == INF
    deadlines.strike(9)
    assert one.asked == other.asked == []
    deadlines.withdraw(one)
    one.when = 3
    deadlines.expect(one)
    deadlines.strike(3)
    assert one.asked == [3]


def test_what_sleeps_is_told_of_an_earlier_moment_and_of_nothing_else() -> None:
    changes = Changes()
    deadlines = Deadlines(changes)
    one, other = Alarm(5), Alarm(9)
    deadlines.expect(one)
    assert changes.count == 1
    deadlines.expect(other)
    one.when = 6
    deadlines.expect(one)
    assert changes.count == 1
    other.when = 4
    deadlines.expect(other)
    assert changes.count == 2
    deadlines.withdraw(other)
    deadlines.withdraw(other)
    assert changes.count == 2


def test_entries_that_have_lost_their_meaning_do_not_pile_up() -> None:
    """As those of a channel whose peer takes little at a time do, behind a quiet one's."""
    deadlines = Deadlines(Changes())
    deadlines.expect(Alarm(0.5))
    busy = Alarm()
    for moment in range(10_000):
        busy.when = moment + 60
        deadlines.expect(busy)
        busy.when = INF
        deadlines.expect(busy)
    assert len(deadlines._entries) < 200


def test_a_deadline_that_comes_back_as_it_was_does_not_pile_up() -> None:
    """As with a clock that stands still: each message that comes in two pieces has the same."""
    deadlines = Deadlines(Changes())
    alarms = [Alarm(5.0) for _ in range(3)]
    for _ in range(100):
        for alarm in alarms:
            deadlines.withdraw(alarm)
            deadlines.expect(alarm)
    assert len(deadlines._entries) <= 2 * len(alarms) + 2
    deadlines.strike(5.0)
    assert [alarm.asked for alarm in alarms] == [[5.0]] * 3


def test_a_defect_is_its_owners_alone() -> None:
    class Defective(Alarm):
        handled: BaseException | None = None

        def time_passed(self, now: float) -> None:
            self.when = INF
            raise RuntimeError

        def on_defect(self) -> None:
            self.handled = sys.exception()

    deadlines = Deadlines(Changes())
    defective, sound = Defective(1), Alarm(2)
    for alarm in (defective, sound):
        deadlines.expect(alarm)
    deadlines.strike(3)
    assert isinstance(defective.handled, RuntimeError)
    assert sound.asked == [3]
    assert deadlines.earliest == INF


_moments = st.one_of(st.just(INF), st.integers(0, 30).map(float))


@given(
    steps=st.lists(
        st.one_of(
            st.tuples(st.just("expect"), st.integers(0, 4), _moments, _moments),
            st.tuples(st.just("withdraw"), st.integers(0, 4), st.just(0.0), st.just(0.0)),
            st.tuples(st.just("pass"), st.just(0), st.integers(0, 9).map(float), st.just(0.0)),
        ),
        max_size=60,
    )
)
def test_everybody_is_asked_in_time_whatever_happens(
    steps: list[tuple[str, int, float, float]],
) -> None:
    """Against a list of who waits: nobody is asked late, nor who has no deadline."""
    changes = Changes()
    deadlines = Deadlines(changes)
    alarms = [Alarm() for _ in range(5)]
    waiting: set[int] = set()
    now = 0.0
    for what, index, one, other in steps:
        alarm = alarms[index]
        told, earliest = changes.count, deadlines.earliest
        match what:
            case "expect":
                alarm.when, alarm.then = (now + one), (now + 10 + other)
                deadlines.expect(alarm)
                waiting.discard(index)
                if alarm.when < INF:
                    waiting.add(index)
            case "withdraw":
                deadlines.withdraw(alarm)
                waiting.discard(index)
            case _:
                now += one
                due = {i for i in waiting if alarms[i].when <= now}
                before = [len(a.asked) for a in alarms]
                deadlines.strike(now)
                for i, a in enumerate(alarms):
                    asked = len(a.asked) - before[i]
                    assert asked == 1 if i in due else asked <= (i in waiting)
                waiting = {i for i in waiting if alarms[i].when < INF}
        assert deadlines.earliest <= min((alarms[i].when for i in waiting), default=INF)
        assert deadlines.earliest > now or what != "pass"
        if deadlines.earliest < earliest:
            assert changes.count > told
        if not waiting:
            assert deadlines.earliest == INF
