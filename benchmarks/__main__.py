"""The command line of the benchmarks."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.contenders import NAMES, why_not
from benchmarks.report import tables, write_json
from benchmarks.runner import run_all
from benchmarks.work import WORKS, Task, Work

_QUICK_WORKS: Final = frozenset({"echo-64x1", "echo-64x64", "oneway-64", "fanin-10"})
_QUICK_CONTENDERS: Final = frozenset({"pytofu", "pytofu-uds", "raw", "trio", "asyncio"})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments ask for; 0, or 1 when anybody gave a wrong answer or none."""
    options = _parser().parse_args(arguments)
    works = [work for work in WORKS if _chosen(work.name, options.work)]
    names = [name for name in NAMES if not options.contender or name in options.contender]
    if options.list:
        print("works:", *(f"  {work.name:16} {work.title}" for work in WORKS), sep="\n")
        print("contenders:", *(f"  {name}" for name in NAMES), sep="\n")
        return 0
    if options.quick:
        works = [work for work in works if options.work or work.name in _QUICK_WORKS]
        names = [name for name in names if options.contender or name in _QUICK_CONTENDERS]
    seconds, warm_up, rounds = (0.2, 0.05, 1) if options.quick else (1.0, 0.2, 3)
    rounds = options.rounds or rounds
    tasks = [Task(work, options.seconds or seconds, warm_up) for work in works]
    results = run_all(tasks, list(_present(names)), rounds, _say)
    print(tables(results))
    if options.json:
        write_json(options.json, results, tasks, rounds)
    for failure in results.failures:
        _say(f"FAILED: {failure}")
    return 1 if results.failures else 0


def _present(names: Sequence[str]) -> Sequence[str]:
    present = []
    for name in names:
        reason = why_not(name)
        if reason is None:
            present.append(name)
        else:
            _say(f"without {name}: {reason}")
    return present


def _chosen(name: str, patterns: Sequence[str]) -> bool:
    return not patterns or any(
        name == pattern or name.startswith(pattern + "-") for pattern in patterns
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a short run: does everything work?")
    parser.add_argument(
        "--work",
        action="append",
        default=[],
        metavar="NAME",
        help="only this work, or all works whose names begin so (echo); may be repeated",
    )
    parser.add_argument(
        "--contender",
        action="append",
        default=[],
        choices=NAMES,
        metavar="NAME",
        help="only this contender; may be repeated",
    )
    parser.add_argument("--rounds", type=int, help="how often each is measured (3)")
    parser.add_argument("--seconds", type=float, help="how long each is measured (1.0)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured there")
    parser.add_argument("--list", action="store_true", help="name works and contenders")
    return parser


if __name__ == "__main__":
    sys.exit(main())
