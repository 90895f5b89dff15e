"""The marks that pytofu is to reach within one run: data, and how to check them.

With the compiled core some are higher than in pure Python, and some there are only then.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import attrs

from benchmarks.contenders import REFERENCE
from benchmarks.runner import Results
from benchmarks.work import LARGEST_BODY, WORKS, Subject, Work
from pytofu import compiled

_UDS: Final = "pytofu-uds"
_TLS: Final = "pytofu-tls"
_PEERS: Final = "pytofu-peers"


@attrs.frozen
class Mark:
    """Something to be reached: a ratio of two contenders, or a figure of one."""

    work: Work
    pure: float
    """The bound in pure Python."""
    core: float | None = None
    """The bound with the compiled core; without one, it is the same."""
    over: str | None = None
    """The contender that is the measure; without one, the figure itself counts."""
    contender: str = REFERENCE
    figure: str = "per_second"
    """What counts without another contender."""
    at_most: bool = False
    """Whether the bound is one from above."""

    @property
    def bound(self) -> float:
        """The bound for pytofu as it is here."""
        return self.core if compiled and self.core is not None else self.pure

    @property
    def contenders(self) -> frozenset[str]:
        """Who must be measured."""
        return frozenset({self.contender, self.over or self.contender})

    def measured(self, results: Results) -> float | None:
        """The median over the rounds; None if what it takes was not measured."""
        if self.over is None:
            return results.median(self.work, self.contender, self.figure)
        return results.ratio(self.work, self.contender, self.over)

    def is_reached(self, measured: float) -> bool:
        """Whether this is enough."""
        return measured <= self.bound if self.at_most else measured >= self.bound

    @property
    def title(self) -> str:
        """The work, and what of it counts."""
        if self.over is None:
            return f"{self.work.title}: {self.figure} of {self.contender}"
        return f"{self.work.title}: {self.contender} over {self.over}"


_ECHO_ONE: Final = Work(Subject.ECHO, 64, 1)
_ECHO_MANY: Final = Work(Subject.ECHO, 64, 64)
_ECHO_LARGE: Final = Work(Subject.ECHO, LARGEST_BODY, 16)
_ONE_WAY: Final = Work(Subject.ONE_WAY, 64)
_TEN_CHANNELS: Final = Work(Subject.FAN_IN, channels=10)
_MANY_CHANNELS: Final = Work(Subject.FAN_IN, channels=1000)
_CALLS: Final = Work(Subject.CALL, 64, 64)
_WITH_CORE: Final = (
    Mark(_ECHO_ONE, 1.0, over="pyzmq"),
    Mark(_ECHO_MANY, 1.3, over="trio"),
    Mark(_TEN_CHANNELS, 0.85, over="uvloop"),
)

MARKS: Final[Sequence[Mark]] = (
    Mark(_ECHO_ONE, 0.92, core=1.0, over="trio"),
    Mark(_ECHO_ONE, 0.95, core=1.0, over="asyncio"),
    Mark(_ECHO_MANY, 1.15, core=2.0, over="pyzmq"),
    Mark(_ONE_WAY, 0.45, core=1.0, over="pyzmq"),
    Mark(_ONE_WAY, 1.2, over="asyncio"),
    Mark(_ECHO_LARGE, 1.0, over="pyzmq"),
    Mark(_ECHO_LARGE, 1.0, over="trio"),
    Mark(_TEN_CHANNELS, 1.5, over="trio"),
    Mark(_TEN_CHANNELS, 1.8, over="asyncio"),
    Mark(_MANY_CHANNELS, 0.9, core=1.2, over="uvloop"),
    Mark(_MANY_CHANNELS, 0.5, figure="fairness"),
    *(_WITH_CORE if compiled else ()),
    Mark(_CALLS, 0.5, over=REFERENCE, contender=_PEERS),
    Mark(_CALLS, 1.0, over="websockets", contender=_PEERS),
    Mark(_CALLS, 5.0, over="grpc", contender=_PEERS),
    Mark(Work(Subject.TLS, 64, 64), 0.7, over=REFERENCE, contender=_TLS),
    Mark(Work(Subject.TLS, LARGEST_BODY, 16), 0.5, over=REFERENCE, contender=_TLS),
    Mark(Work(Subject.CONNECTIONS, body=0), 1.0, over="trio"),
    *(
        Mark(work, 3 * 1024, core=2 * 1024, figure="server_bytes", at_most=True)
        for work in WORKS
        if work.subject is Subject.IDLE
    ),
    *(
        Mark(work, 1.0, over=REFERENCE, contender=_UDS)
        for work in WORKS
        if work.subject is Subject.ECHO
    ),
)


def contenders_for(work: Work) -> frozenset[str]:
    """Whom the marks of a work take; nobody if it has none."""
    return frozenset[str]().union(*(mark.contenders for mark in MARKS if mark.work == work))


def verdicts(results: Results) -> Iterator[str]:
    """A line for every mark that was measured."""
    for mark in MARKS:
        measured = mark.measured(results)
        if measured is not None:
            verdict = "reached" if mark.is_reached(measured) else "MISSED "
            bound = f"at {'most' if mark.at_most else 'least'} {_number(mark.bound)}"
            yield f"  {verdict}  {_number(measured):>6}  ({bound})  {mark.title}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2f}"
