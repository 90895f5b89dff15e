"""What a process holds: files, tasks and memory. Compared before and after, they show leaks."""

import contextlib
import gc
import os
import stat
import subprocess
import sys
from pathlib import Path

import trio
from trio._core import _run


def open_files() -> dict[int, str]:
    """The open file descriptors of this process and what each stands for."""
    files: dict[int, str] = {}
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):  # the one that listdir itself used
            files[int(name)] = _identity(int(name))
    return files


def _identity(descriptor: int) -> str:
    with contextlib.suppress(OSError):  # it is a link on Linux, with more to say, and nowhere else
        return os.readlink(f"/dev/fd/{descriptor}")
    status = os.fstat(descriptor)
    return f"{stat.filemode(status.st_mode)} {status.st_dev}:{status.st_ino}"


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
    pid = pid or os.getpid()
    status = Path("/proc", str(pid), "status")
    if status.exists():  # where it does, `ps` need not
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024
    shown = subprocess.check_output(["ps", "-o", "rss=", "-p", str(pid)])
    return int(shown) * 1024


def python_blocks() -> int:
    """How many blocks of memory Python has given out: exact, where RSS is not.

    Within a Trio run, which keeps up to a thousand entries for deadlines that have been changed:
    they are a few hundred blocks at one time and none at another, so they go first.
    """
    _run.GLOBAL_RUN_CONTEXT.runner.deadlines._prune()
    gc.collect()
    return sys.getallocatedblocks()
