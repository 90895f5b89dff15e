"""Processor time that a run costs, in both processes: steadier than the clock on a busy machine."""

import os
from functools import cache
from pathlib import Path
from typing import Final

from benchmarks.work import Task

type Times = tuple[float, float]
"""Seconds of processor time in user mode and in the kernel."""

_TICKS: Final = os.sysconf("SC_CLK_TCK")


class Cost:
    """Counts from when it is made."""

    def __init__(self, task: Task) -> None:
        self._server = task.server_pid
        self._server_before = _times_of(self._server)
        self._client_before = os.times()

    def figures(self, messages: int) -> dict[str, float]:
        """Microseconds a message, in all and in the kernel; the server's only on Linux."""
        client, before = os.times(), self._client_before
        costs = {"client": (client.user - before.user, client.system - before.system)}
        server = _times_of(self._server)
        if server is not None and self._server_before is not None:
            user, system = self._server_before
            costs["server"] = (server[0] - user, server[1] - system)
        return {
            f"{side}_{part}_us": seconds / messages * 1e6
            for side, (user, system) in sorted(costs.items(), reverse=True)
            for part, seconds in (("cpu", user + system), ("kernel", system))
        }


@cache
def cost_of(task: Task) -> Cost:
    """The cost of a task in this process: one for all its channels, from the first call on."""
    return Cost(task)


def _times_of(pid: int) -> Times | None:
    """Of another process, as /proc says."""
    try:
        stat = Path("/proc", str(pid), "stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name of the program may contain anything
    return int(fields[11]) / _TICKS, int(fields[12]) / _TICKS
