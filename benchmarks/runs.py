"""What a client keeps of its work: it says what to send, checks what comes back, and counts.

The same few calls for every contender, so that what they cost is the same for all.
"""

from array import array
from collections.abc import Iterator, Sequence
from time import perf_counter_ns
from typing import Final

from benchmarks.cost import cost_of
from benchmarks.frames import ASK, pack, unpack
from benchmarks.work import Task

type Figures = dict[str, float]
"""What was measured, by name."""

_SECOND: Final = 1_000_000_000
_LOOK_AT_CLOCK: Final = 64
"""Messages sent one way between two looks at the clock."""


class WrongAnswer(Exception):
    """A message came back changed, came in another order, or did not come."""


class Echoes:
    """The echoes of one channel.

    As long as `running`, keep `outstanding` at what the task says, with `next_id` for each request
    and `answered` for each answer; end when nothing is outstanding any more. Ids are consecutive
    and start far apart on different channels, so that no answer can be taken for another one.
    """

    __slots__ = (
        "_answered_at",
        "_begin",
        "_cost",
        "_end",
        "_expected",
        "_last_id",
        "_sent_at",
        "body",
        "outstanding",
        "running",
    )

    def __init__(self, task: Task, channel: int = 0) -> None:
        self.body = task.body
        self.running = True
        self.outstanding = 0
        self._last_id = self._expected = channel << 32
        self._sent_at = array("q")
        self._answered_at = array("q")
        self._cost = cost_of(task)
        self._begin = perf_counter_ns() + int(task.warm_up * _SECOND)
        self._end = self._begin + int(task.seconds * _SECOND)

    def next_id(self) -> int:
        """The id of a request that is sent now."""
        self._last_id += 1
        self.outstanding += 1
        self._sent_at.append(perf_counter_ns())
        return self._last_id

    def answered(self, message_id: int, body: bytes) -> None:
        """An answer is here. Raises `WrongAnswer` unless it is the next one, and unchanged."""
        now = perf_counter_ns()
        self._expected += 1
        if message_id != self._expected or body != self.body:
            raise WrongAnswer(
                f"expected message {self._expected} with {len(self.body)} bytes,"
                f" got message {message_id} with {len(body)} bytes"
            )
        self._answered_at.append(now)
        self.outstanding -= 1
        if now >= self._end:
            self.running = False
            if len(self._answered_at) == 1 or self._answered_at[-2] < self._begin:
                self._end = now + 1  # on a very busy machine: measure at least this one

    @property
    def round_trips(self) -> Sequence[int]:
        """Nanoseconds from request to answer, of every answer in the measured time."""
        return [
            answered - sent
            for sent, answered in zip(self._sent_at, self._answered_at, strict=True)
            if self._begin <= answered < self._end
        ]

    @property
    def messages(self) -> int:
        """Answers, those to warm up included."""
        return len(self._answered_at)

    def costs(self, messages: int) -> Figures:
        """Processor time a message, when there were so many since this run was made."""
        return self._cost.figures(messages)

    @property
    def measured(self) -> float:
        """Seconds that were measured."""
        return (self._end - self._begin) / _SECOND

    @property
    def per_second(self) -> float:
        """Answers a second, in the measured time."""
        return len(self.round_trips) / self.measured


def echo_figures(channels: Sequence[Echoes]) -> Figures:
    """Throughput and round trips of all channels together, and how evenly they were served."""
    messages = sum(run.messages for run in channels)
    costs = channels[0].costs(messages) if messages else {}
    by_channel = [run.round_trips for run in channels]
    counts = [len(trips) for trips in by_channel]
    trips = sorted(trip for trips in by_channel for trip in trips)
    if not trips:
        raise WrongAnswer("nothing was answered in the time that was measured")
    figures = {
        "per_second": len(trips) / channels[0].measured,
        "p50_us": percentile(trips, 500) / 1000,
        "p99_us": percentile(trips, 990) / 1000,
    }
    if len(channels) > 1:
        figures["fairness"] = min(counts) / max(counts)
    return figures | costs | {"messages": messages}


def percentile(ordered: Sequence[int], per_mille: int) -> int:
    """The smallest value that at least so many of a thousand do not exceed (nearest rank): one
    that was measured, never something between two."""
    return ordered[max(-(-len(ordered) * per_mille // 1000), 1) - 1]


class FanOut:
    """Publications that every one of many subscribers must hear.

    Keep `outstanding` under way with `next`, give what each subscriber receives to `heard`, which
    says what to publish next. A subscriber ends with the message that is nobody's (`ASK`).
    """

    def __init__(self, task: Task) -> None:
        self._run = Echoes(task)
        self._heard = [0] * task.work.channels
        self._missing: dict[int, int] = {}  # how many have not heard it, by id

    def next(self) -> bytes:
        """A message to be published now."""
        message_id = self._run.next_id()
        self._missing[message_id] = len(self._heard)
        return pack(message_id, self._run.body)

    def heard(self, subscriber: int, data: bytes) -> bytes | None:
        """A subscriber has received this; what is to be published for it, if anything.

        Raises `WrongAnswer` unless it is the subscriber's next one, and unchanged.
        """
        message_id, body = unpack(data)
        self._heard[subscriber] += 1
        if message_id != self._heard[subscriber] or body != self._run.body:
            raise WrongAnswer(
                f"subscriber {subscriber} expected message {self._heard[subscriber]},"
                f" got message {message_id} with {len(body)} bytes"
            )
        self._missing[message_id] -= 1
        if self._missing[message_id]:
            return None
        del self._missing[message_id]
        self._run.answered(message_id, body)
        if self._run.running:
            return self.next()
        return None if self._run.outstanding else pack(ASK, b"")

    def figures(self) -> Figures:
        """Messages published per second, and how long until the last subscriber had one."""
        return echo_figures([self._run])


class OneWay:
    """Messages sent one way, in two stretches: one to warm up, one that is measured."""

    def __init__(self, task: Task) -> None:
        self.body = task.body
        self._task = task
        self._sent = 0
        self._counted = 0
        self._began = 0
        self._per_second = 0.0
        self._cost = cost_of(task)

    def stretches(self) -> Iterator[Iterator[int]]:
        """Send a message for every id of a stretch, then ask for the count and call `counted`."""
        for seconds in (self._task.warm_up, self._task.seconds):
            yield self._ids(seconds)

    def _ids(self, seconds: float) -> Iterator[int]:
        self._began = perf_counter_ns()
        end = self._began + int(seconds * _SECOND)
        while perf_counter_ns() < end:
            for _ in range(_LOOK_AT_CLOCK):
                self._sent += 1
                yield self._sent

    def counted(self, answer: bytes) -> None:
        """The server's answer. Raises `WrongAnswer` unless it got everything, in order."""
        elapsed = perf_counter_ns() - self._began
        if int(answer) != self._sent:
            raise WrongAnswer(f"of {self._sent} messages {int(answer)} arrived as they were sent")
        self._per_second = (self._sent - self._counted) / (elapsed / _SECOND)
        self._counted = self._sent

    def figures(self) -> Figures:
        """Messages per second, from the first one sent to the answer."""
        costs = self._cost.figures(self._sent)
        return {"per_second": self._per_second} | costs | {"messages": self._sent}


class Tally:
    """The server's side of `OneWay`."""

    __slots__ = ("_body", "_right")

    def __init__(self, task: Task) -> None:
        self._body = task.body
        self._right = 0

    def arrived(self, message_id: int, body: bytes) -> None:
        """Count a message if it is the next one, and unchanged."""
        if message_id == self._right + 1 and body == self._body:
            self._right += 1

    def answer(self) -> bytes:
        """What to tell the client when it asks."""
        return str(self._right).encode()
