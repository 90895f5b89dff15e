"""The server that is attacked: answers everything, with default options, and says how it is.

It listens on 127.0.0.1 and writes the port to stdout. Then each line on stdin is answered by a
line of JSON: what it holds now, and what it has cost since the line before.
"""

import json
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Final

import trio

from pytofu import Ampe, AmpeException, ChannelGroup, Holder, MessageRole, OpCode, open_ampe
from tests.leaks import live_tasks, open_files

MIB: Final = 1024 * 1024


class Turns(trio.abc.Instrument):
    """How long the longest turn of the loop took: what others have to wait."""

    def __init__(self) -> None:
        self._began_cpu = time.thread_time()
        self._began = time.perf_counter()
        self.longest_cpu = 0.0
        """Seconds of this thread's own time: a busy machine does not show in it."""
        self.longest = 0.0

    def after_io_wait(self, timeout: float) -> None:
        """A turn begins. The one before is over with what the engine's own instrument did."""
        now = time.thread_time()  # stands still while the loop sleeps
        self.longest_cpu = max(self.longest_cpu, now - self._began_cpu)
        self._began_cpu = now
        self._began = time.perf_counter()

    def before_io_wait(self, timeout: float) -> None:
        """It ends by the clock, but for what the engine's own instrument does."""
        self.longest = max(self.longest, time.perf_counter() - self._began)


async def answer(chnls: ChannelGroup) -> None:
    """Every request becomes its own response."""
    async for holder in chnls:
        message = holder.unwrap()
        if not message.is_from_engine() and message.opcode.role is MessageRole.REQUEST:
            message.opcode = message.opcode.echo().unwrap()
            with suppress(AmpeException):  # whoever asked has gone, or takes no answers
                chnls.post(holder)


def peak_mib() -> float:
    """The most memory that this process ever had in RAM."""
    status = Path("/proc/self/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024 / MIB


async def report(ampe: Ampe, turns: Turns) -> None:
    """Answer the lines on stdin, until there are no more."""
    cpu = time.process_time()
    while await trio.to_thread.run_sync(sys.stdin.readline):
        statistics = ampe.statistics()
        now = time.process_time()
        state = {
            "channels": statistics.channels,
            "pool_free": statistics.pool_free,
            "bytes_held": statistics.bytes_held,
            "bytes_queued": statistics.bytes_queued,
            "bytes_unfinished": ampe._engine.budget.bytes_unfinished,
            "tasks": live_tasks(),
            "files": len(open_files()),
        }
        cost = {
            "peak_mib": peak_mib(),
            "longest_cpu": turns.longest_cpu,
            "longest": turns.longest,
            "cpu": now - cpu,
            "messages": statistics.messages_received,
            "limits": dict(statistics.limits_reached),
        }
        turns.longest_cpu = turns.longest = 0.0
        cpu = now
        print(json.dumps([state, cost]), flush=True)


async def main(turns: Turns) -> None:
    async with (
        open_ampe() as ampe,
        ampe.open_channel_group() as chnls,
        trio.open_nursery() as nursery,
    ):
        message = ampe.get()
        message.opcode = OpCode.WELCOME_REQUEST
        message.text_headers.append("~listen_on", "tcp|127.0.0.1|0")
        chnls.post(Holder(message))
        welcome = await chnls.wait_receive()
        where = welcome.text_headers.get("~listen_on")
        ampe.put(Holder(welcome))
        assert where is not None
        print(where.rpartition("|")[2], flush=True)
        nursery.start_soon(answer, chnls)
        await report(ampe, turns)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    turns = Turns()
    trio.run(main, turns, instruments=[turns])
