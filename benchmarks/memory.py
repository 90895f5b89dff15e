"""What idle channels cost in memory: the growth of a process, divided by their number."""

import os
import resource
from pathlib import Path
from typing import Final

from benchmarks.runs import Figures
from benchmarks.work import Task

ALREADY_OPEN: Final = 50
"""Channels that are open before anything is measured, so that what is loaded and reserved once
is not counted as theirs."""


def can_be_measured() -> bool:
    """Whether this system says how large a process is (Linux does, in /proc)."""
    return _statm(os.getpid()).exists()


def _statm(pid: int) -> Path:
    return Path("/proc", str(pid), "statm")


def _resident(pid: int) -> int:
    """Bytes of memory that a process has in use."""
    return int(_statm(pid).read_text().split()[1]) * resource.getpagesize()


class IdleMemory:
    """Made when ALREADY_OPEN channels are open; `figures` when all of the task are as well."""

    def __init__(self, task: Task) -> None:
        self._channels = task.work.channels
        self._pids = (task.server_pid, os.getpid())
        self._before = [_resident(pid) for pid in self._pids]

    def figures(self) -> Figures:
        """Bytes a channel, in the server's process and in the client's."""
        server, client = (
            (_resident(pid) - before) / self._channels
            for pid, before in zip(self._pids, self._before, strict=True)
        )
        return {"server_bytes": server, "client_bytes": client}
