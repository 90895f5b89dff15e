"""The marks that pytofu is to reach, as ratios within one run."""

from collections.abc import Callable, Iterator, Sequence
from typing import Final

import attrs

from benchmarks.contenders import REFERENCE
from benchmarks.runner import Results
from benchmarks.work import LARGEST_BODY, WORKS, Subject, Work

_UDS: Final = "pytofu-uds"


@attrs.frozen
class Mark:
    """Something to be reached."""

    title: str
    least: float
    """What the ratio must be at least."""
    measure: Callable[[Results], float | None]
    """The ratio; None if what it takes was not measured."""


def _against(work: Work, contender: str, least: float) -> Mark:
    return Mark(
        f"{work.title}: over {contender}",
        least,
        lambda results: results.ratio(work, REFERENCE, contender),
    )


def _uds(work: Work) -> Mark:
    return Mark(
        f"{work.title}: over UDS, over that over TCP",
        1.0,
        lambda results: results.ratio(work, _UDS),
    )


def _idle(channels: int) -> Mark:
    work = Work(Subject.IDLE, channels=channels)

    def measure(results: Results) -> float | None:
        used = results.median(work, REFERENCE, "server_bytes")
        return None if used is None else _IDLE_BYTES / used

    return Mark(f"{work.title}: 12 KiB over what the server needs for one", 1.0, measure)


def _many_channels(results: Results) -> float | None:
    many = results.median(Work(Subject.FAN_IN, channels=1000), REFERENCE)
    few = results.median(Work(Subject.FAN_IN, channels=10), REFERENCE)
    return None if many is None or few is None else many / few


def _fairness(results: Results) -> float | None:
    return results.median(Work(Subject.FAN_IN, channels=1000), REFERENCE, "fairness")


_IDLE_BYTES: Final = 12 * 1024

MARKS: Final[Sequence[Mark]] = (
    _against(Work(Subject.ECHO, 64, 1), "asyncio", 1.0),
    _against(Work(Subject.ECHO, 64, 1), "trio", 0.75),
    _against(Work(Subject.ECHO, 64, 64), "pyzmq", 1.25),
    _against(Work(Subject.ECHO, 64, 64), "uvloop", 1.5),
    _against(Work(Subject.ECHO, 64, 64), "asyncio", 1.5),
    _against(Work(Subject.ONE_WAY, 64), "pyzmq", 1.0),
    _against(Work(Subject.ECHO, LARGEST_BODY, 16), "pyzmq", 1.0),
    *(_uds(work) for work in WORKS if work.subject is Subject.ECHO),
    Mark("1,000 channels: throughput over that of 10", 0.7, _many_channels),
    Mark("1,000 channels: the slowest over the fastest", 0.5, _fairness),
    _idle(1000),
    _idle(5000),
    _against(Work(Subject.CONNECTIONS, body=0), "asyncio", 0.8),
)


def verdicts(results: Results) -> Iterator[str]:
    """A line for every mark that was measured."""
    for mark in MARKS:
        ratio = mark.measure(results)
        if ratio is not None:
            verdict = "reached" if ratio >= mark.least else "MISSED "
            yield f"  {verdict}  {ratio:6.2f}  (at least {mark.least:4.2f})  {mark.title}"
