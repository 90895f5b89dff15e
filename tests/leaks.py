"""What a process holds: files, tasks and memory. Compared before and after, they show leaks."""

import contextlib
import gc
import os
import sys
from pathlib import Path

import trio
from trio._core import _run


def open_files() -> dict[int, str]:
    """The open file descriptors of this process and what each stands for."""
    files: dict[int, str] = {}
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the one that listdir itself used
            files[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return files


def live_tasks() -> int:
    """How many tasks this Trio run has, Trio's own among them."""
    root = trio.lowlevel.current_root_task()
    assert root is not None
    count, tasks = 0, [root]
    while tasks:
        task = tasks.pop()
        count += 1
        tasks.extend(child for nursery in task.child_nurseries for child in nursery.child_tasks)
    return count


def resident_bytes(pid: int | None = None) -> int:
    """The memory that a process, this one or another, has in RAM."""
    status = Path(f"/proc/{pid or os.getpid()}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1]) * 1024


def python_blocks() -> int:
    """How many blocks of memory Python has given out: exact, where RSS is not.

    Within a Trio run, which keeps up to a thousand entries for deadlines that have been changed:
    they are a few hundred blocks at one time and none at another, so they go first.
    """
    _run.GLOBAL_RUN_CONTEXT.runner.deadlines._prune()
    gc.collect()
    return sys.getallocatedblocks()
