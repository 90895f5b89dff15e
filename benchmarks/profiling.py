"""Where the time of a message goes, by layer.

Two runs. One without a profiler says how much processor time a message costs in each process, and
how much of it in the kernel. One under cProfile says how the rest is spread over the layers: only
the shares are taken from it, for it makes every call dearer than it is. Functions written in C
count for the layer that called them. So the layers' microseconds are estimates, which favour code
that makes few calls; the sums are true.
"""

import pstats
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import attrs
import trio

import pytofu
from benchmarks.runner import run_pair
from benchmarks.runs import Figures
from benchmarks.work import Task

type _Function = tuple[str, int, str]
"""File, line and name, as pstats has them."""

_KERNEL: Final = (
    *("method 'recv", "method 'send", "method 'poll'", "method 'accept'", "'connect'"),
    "sched_yield",
)
"""Functions in C whose time is that of the kernel."""

_FOLDERS: Final[Sequence[tuple[Path, str]]] = (
    (Path(pytofu.__file__).parent / "engine" / "busy_polling.py", "waiting"),
    (Path(pytofu.__file__).parent / "engine", "engine"),
    (Path(pytofu.__file__).parent / "protocol", "protocol"),
    (Path(pytofu.__file__).parent / "peers", "peers"),
    (Path(pytofu.__file__).parent / "links", "links"),
    (Path(pytofu.__file__).parent, "values"),
    (Path(trio.__file__).parent, "trio"),
    (Path(__file__).parent, "benchmark"),
)
_PUBLIC: Final = frozenset({"ampe.py", "channel_group.py", "boundary.py", "holder.py"})
_FUNCTIONS_SHOWN: Final = 20


def profile(name: str, task: Task) -> str:
    """Do the work twice; the account of it as text. Raises `Failure`."""
    plain = run_pair(name, task)
    with tempfile.TemporaryDirectory() as folder:
        profiled = run_pair(name, attrs.evolve(task, profile=folder))
        accounts = [
            _account(side, plain, profiled, pstats.Stats(str(Path(folder, side))))
            for side in ("server", "client")
        ]
    speed = f"{task.work.title}: {plain['per_second']:,.0f} messages/s with {name}"
    return "\n\n".join([speed, *accounts])


def _account(side: str, plain: Figures, profiled: Figures, stats: pstats.Stats) -> str:
    """One process's time, by layer and by function."""
    all_us = plain.get(f"{side}_cpu_us", 0.0)
    kernel_us = plain.get(f"{side}_kernel_us", 0.0)
    own, calls = _own_times(stats)
    layers: dict[str, float] = defaultdict(float)
    for function, seconds in own.items():
        layers[_layer(function)] += seconds
    layers.pop("kernel", None)
    scale = (all_us - kernel_us) / sum(layers.values())
    lines = [f"{side}: {all_us:.2f} µs of processor time a message"]
    lines += [f"  {kernel_us:6.2f} µs  kernel"]
    for layer, seconds in sorted(layers.items(), key=lambda item: -item[1]):
        lines.append(f"  {seconds * scale:6.2f} µs  {layer}")
    lines.append("  of which, by function (calls a message):")
    for function in sorted(own, key=lambda function: -own[function])[:_FUNCTIONS_SHOWN]:
        layer = _layer(function)
        if layer != "kernel":
            per_message = calls[function] / profiled["messages"]
            where = f"{Path(function[0]).name}:{function[1]} {function[2]}"
            lines.append(f"  {own[function] * scale:6.2f} µs  {per_message:5.2f}  {layer}: {where}")
    return "\n".join(lines)


def _own_times(stats: pstats.Stats) -> tuple[dict[_Function, float], Mapping[_Function, int]]:
    """Seconds in each function itself, with the functions in C that it called; and its calls."""
    own: dict[_Function, float] = defaultdict(float)
    calls: dict[_Function, int] = {}
    table: dict[_Function, Any] = stats.stats  # type: ignore[attr-defined]  # since Python 2
    for function, (_, count, seconds, _, callers) in table.items():
        calls[function] = count
        if function[0] != "~" or _is_kernel(function):
            own[function] += seconds
            continue
        for caller, (_, _, part, _) in callers.items():
            own[caller] += part
    return own, calls


def _is_kernel(function: _Function) -> bool:
    return any(name in function[2] for name in _KERNEL)


def _layer(function: _Function) -> str:
    file, _, _ = function
    if file == "~":
        return "kernel" if _is_kernel(function) else "other"
    path = Path(file)
    for folder, layer in _FOLDERS:
        if path.is_relative_to(folder):  # or it is that file
            return "public" if layer == "values" and path.name in _PUBLIC else layer
    return "other"
