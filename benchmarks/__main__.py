"""The command line of the benchmarks: pytofu and its peers side by side, over loopback."""

import argparse
import sys
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final

from benchmarks import alarm, memory
from benchmarks.contenders import CALLS, NAMES, why_not
from benchmarks.marks import contenders_for
from benchmarks.picture import write_svg
from benchmarks.profiling import profile
from benchmarks.report import marks, tables, write_json
from benchmarks.runner import Failure, run_all
from benchmarks.work import WORKS, Subject, Task, Work

_QUICK_WORKS: Final = frozenset(
    {
        *("echo-64x1", "echo-64x64", "echo-65535x16", "oneway-64", "fanin-10", "rate-50"),
        *("call-64x64", "stream", "fanout-100"),
        *("tls-64x64", "connect", "idle-1000", "startup"),
    }
)
_QUICK_CONTENDERS: Final = frozenset(
    {
        *("pytofu", "pytofu-uds", "raw", "trio", "asyncio", "uvloop", "pyzmq"),
        *("pytofu-tls", "asyncio-tls"),
    }
)
_QUICK_CALLERS: Final = frozenset({"pytofu-peers", "websockets"})
"""Those that take part in calls, streams and publishing."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for; 0, or 1 if anybody gave a wrong answer or none."""
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.list:
        _print_list()
        return 0
    for pattern in options.work:
        if not any(_chosen(work, [pattern]) for work in WORKS):
            parser.error(f"no such work: {pattern}; --list names them")
    works = [
        work
        for work in WORKS
        if _chosen(work, options.work)
        if options.work or not options.quick or work.name in _QUICK_WORKS
        if not options.marks or contenders_for(work)
    ]
    names = [
        name
        for name in options.contender or NAMES
        if options.contender or not options.quick or name in _QUICK_CONTENDERS | _QUICK_CALLERS
    ]
    if options.quick:
        seconds, warm_up, rounds = 0.2, 0.05, 1
    else:  # many short rounds: a machine's speed swings, and each round sees another one
        seconds, warm_up, rounds = 0.5, 0.1, 9 if options.marks else 5
    tasks = [
        Task(work, (options.seconds or seconds) * work.lengthening, warm_up)
        for work in _measurable(works)
    ]
    if options.profile:
        return _profile(tasks, options.contender or ["pytofu"])
    present = _present(names)
    if options.marks:
        plan = {task: _needed(present, task.work) for task in tasks}
    elif options.quick and not options.contender:
        plan = {task: _quick(present, task.work) for task in tasks}
    else:
        plan = dict.fromkeys(tasks, present)
    results = run_all(plan, options.rounds or rounds, _say)
    print(tables(results))
    if not options.quick:  # so short a run proves nothing
        print(f"\n{marks(results)}")
    if options.json:
        write_json(options.json, results, tasks)
    if options.svg:
        write_svg(options.svg, results)
    for failure in results.failures:
        _say(f"FAILED: {failure}")
    return 1 if results.failures else 0


def _chosen(work: Work, patterns: Sequence[str]) -> bool:
    return not patterns or any(
        work.subject == pattern or fnmatchcase(work.name, pattern) for pattern in patterns
    )


def _measurable(works: Sequence[Work]) -> Sequence[Work]:
    unmeasurable = set[Subject]()
    if not memory.can_be_measured():
        _say("without the memory of idle channels: this system does not say how large a process is")
        unmeasurable.add(Subject.IDLE)
    if not alarm.can_be_set():
        _say("without the open loop: for its alarms it takes Python 3.13 on Linux")
        unmeasurable.add(Subject.RATE)
    return [work for work in works if work.subject not in unmeasurable]


def _present(names: Sequence[str]) -> Sequence[str]:
    present = []
    for name in names:
        reason = why_not(name)
        if reason is None:
            present.append(name)
        else:
            _say(f"without {name}: {reason}")
    return present


def _needed(names: Sequence[str], work: Work) -> Sequence[str]:
    return [name for name in names if name in contenders_for(work)]


def _quick(names: Sequence[str], work: Work) -> Sequence[str]:
    chosen = _QUICK_CALLERS if work.subject in CALLS else _QUICK_CONTENDERS
    return [name for name in names if name in chosen]


def _profile(tasks: Sequence[Task], names: Sequence[str]) -> int:
    try:
        for task in tasks:
            if task.work.subject in _PROFILED:
                for name in names:
                    print(profile(name, task))
    except Failure as failure:
        _say(f"FAILED: {failure}")
        return 1
    return 0


_PROFILED: Final = CALLS | {
    *(Subject.ECHO, Subject.TLS, Subject.ONE_WAY, Subject.FAN_IN, Subject.CONNECTIONS),
}
"""What a profile can say something about."""


def _print_list() -> None:
    print("works (--work echo: all whose names begin so):")
    for work in WORKS:
        print(f"  {work.name:16} {work.title}")
    print("contenders:")
    for name in NAMES:
        reason = why_not(name)
        print(f"  {name:16} {f'not here: {reason}' if reason else ''}".rstrip())


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    extent = parser.add_mutually_exclusive_group()
    extent.add_argument(
        "--quick", action="store_true", help="few works and contenders, briefly: does it all work?"
    )
    extent.add_argument(
        "--marks",
        action="store_true",
        help="only what tells whether pytofu reaches its marks, nine times over",
    )
    parser.add_argument(
        "--work",
        action="append",
        default=[],
        metavar="NAME",
        help="only this work, all of its kind (echo), or all that match (echo-64x*); repeatable",
    )
    parser.add_argument(
        "--contender",
        action="append",
        default=[],
        choices=NAMES,
        metavar="NAME",
        help="only this contender; repeatable",
    )
    parser.add_argument(
        "--rounds", type=int, metavar="N", help="measure each N times (5; with --marks 9)"
    )
    parser.add_argument("--seconds", type=float, metavar="S", help="measure for S seconds (0.5)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw it")
    parser.add_argument(
        "--profile",
        action="store_true",
        help="instead: where the time of a message goes, by layer, in server and client (pytofu)",
    )
    parser.add_argument("--list", action="store_true", help="name the works and the contenders")
    return parser


if __name__ == "__main__":
    sys.exit(main())
