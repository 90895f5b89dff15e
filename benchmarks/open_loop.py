"""Requests on a fixed schedule, each timed from the moment for which it was meant.

In a closed loop a client that waits sends nothing meanwhile, so one long stall spoils one sample
however many requests it would have held up ("coordinated omission"). Here the schedule goes on:
a request that goes out late, because its sender was held up, counts from when it was due.
"""

from array import array
from collections.abc import Awaitable, Callable
from time import monotonic_ns
from typing import Final

import attrs

from benchmarks.alarm import LoopAlarm
from benchmarks.cost import Cost
from benchmarks.runs import Figures, WrongAnswer, percentile
from benchmarks.work import Task

_SECOND: Final = 1_000_000_000

MOST_REQUESTS: Final = 500_000
"""A schedule has no more: all its samples are kept."""

_IDS: Final = 1 << 32
"""Ids of a schedule come after this one, apart from those that found the saturating rate."""


@attrs.frozen
class Schedule:
    """Evenly spaced moments, in nanoseconds."""

    begin: int
    per_second: int
    count: int

    def due_at(self, number: int) -> int:
        """When the request of that number is due; the first is number 0."""
        return self.begin + number * _SECOND // self.per_second

    def due_by(self, now: int) -> int:
        """How many are due then: all whose moment is not after it."""
        elapsed = now - self.begin
        if elapsed < 0:
            return 0
        return min(self.count, -(-(elapsed + 1) * self.per_second // _SECOND))


class OpenLoop:
    """The requests of one channel, sent on a schedule whatever has been answered.

    One task sends: while there are `unsent` ones, it sleeps until `next_due` and sends all that are
    `due`, in one go. Another hears answers, with `answered` for each, until `finished`. It begins
    when it is made; `saturating` is the throughput of which the task's work takes a share.
    """

    __slots__ = (
        "_answered",
        "_clock",
        "_cost",
        "_latenesses",
        "_latencies",
        "_saturating",
        "_schedule",
        "_sent",
        "_warm_up",
        "body",
    )

    def __init__(
        self, task: Task, saturating: float, clock: Callable[[], int] = monotonic_ns
    ) -> None:
        per_second = max(int(saturating * task.work.share / 100), 1)
        wanted = round(per_second * (task.warm_up + task.seconds))
        count = min(max(wanted, 1), MOST_REQUESTS)
        self.body = task.body
        self._clock = clock
        self._saturating = saturating
        self._warm_up = min(round(per_second * task.warm_up), count - 1)
        self._sent = self._answered = 0
        self._latenesses = array("q")
        self._latencies = array("q")
        self._cost = Cost(task)
        self._schedule = Schedule(clock(), per_second, count)

    @property
    def unsent(self) -> int:
        """How many are still to be sent."""
        return self._schedule.count - self._sent

    @property
    def next_due(self) -> int:
        """The moment for which the next one is meant, in nanoseconds of the monotonic clock."""
        return self._schedule.due_at(self._sent)

    def due(self) -> range:
        """The ids of all that are due and were not sent: they are sent now."""
        now = self._clock()
        sent, due = self._sent, self._schedule.due_by(now)
        due_at = self._schedule.due_at
        self._latenesses.extend([now - due_at(number) for number in range(sent, due)])
        self._sent = due
        return range(_IDS + sent + 1, _IDS + due + 1)

    def answered(self, message_id: int, body: bytes) -> None:
        """An answer is here. Raises `WrongAnswer` unless it is the next one, and unchanged."""
        number = self._answered
        expected = _IDS + number + 1
        if message_id != expected or number >= self._sent or body != self.body:
            raise WrongAnswer(
                f"expected message {expected} with {len(self.body)} bytes,"
                f" got message {message_id} with {len(body)} bytes"
            )
        self._latencies.append(self._clock() - self._schedule.due_at(number))
        self._answered = number + 1

    @property
    def finished(self) -> bool:
        """Whether every request of the schedule was answered."""
        return self._answered == self._schedule.count

    def figures(self) -> Figures:
        """From the intended moment to the answer, in microseconds; and how late the sender was."""
        latencies = sorted(self._latencies[self._warm_up :])
        latenesses = sorted(self._latenesses[self._warm_up :])
        return {
            "p50_us": percentile(latencies, 500) / 1000,
            "p99_us": percentile(latencies, 990) / 1000,
            "p999_us": percentile(latencies, 999) / 1000,
            "late_p99_us": percentile(latenesses, 990) / 1000,
            "offered_per_second": self._schedule.per_second,
            "saturating_per_second": self._saturating,
            "samples": len(latencies),
            **self._cost.figures(self._answered),
            "messages": self._answered,
        }


async def send_when_due(
    run: OpenLoop, alarm: LoopAlarm, send: Callable[[range], Awaitable[None]]
) -> None:
    """The task that sends, of contenders on an event loop: `send` gets the ids that are due."""
    with alarm:
        while run.unsent:
            await alarm.sleep_until(run.next_due)
            await send(run.due())
