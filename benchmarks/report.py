"""What was measured, as tables for people and as JSON."""

import json
import os
import platform
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final

from benchmarks.contenders import REFERENCE
from benchmarks.runner import Results
from benchmarks.work import Task, Work

_PACKAGES: Final = (
    *("pytofu", "trio", "uvloop", "pyzmq", "pynng", "websockets", "trio-websocket"),
    *("grpcio", "nats-py"),
)


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
    """A table for each work: the contenders by their medians, the best first."""
    return "\n\n".join(_table(results, work) for work in results.rounds)


def _table(results: Results, work: Work) -> str:
    medians = results.medians(work)
    keys = list(dict.fromkeys(key for figures in medians.values() for key in figures))
    first = keys[0]
    rows = [["", *(_heading(key) for key in keys), f"x {REFERENCE}"]]
    reference = medians.get(REFERENCE, {}).get(first)
    for name, figures in sorted(medians.items(), key=lambda item: -item[1][first]):
        ratio = f"{figures[first] / reference:.2f}" if reference else "-"
        rows.append([name, *(_number(figures.get(key)) for key in keys), ratio])
    return work.title + "\n" + _aligned(rows)


def _heading(key: str) -> str:
    return key.replace("per_second", "per second").replace("_us", " µs").replace("_", " ")


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


def write_json(path: Path, results: Results, tasks: Sequence[Task], rounds: int) -> None:
    """Everything: machine, settings, medians and the figures of each round."""
    document = {
        "machine": machine(),
        "rounds": rounds,
        "seconds": {task.work.name: task.seconds for task in tasks},
        "works": {
            work.name: {
                "title": work.title,
                "medians": results.medians(work),
                "rounds": results.rounds[work],
            }
            for work in results.rounds
        },
        "failures": results.failures,
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
