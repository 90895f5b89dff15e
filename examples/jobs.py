"""A job queue: workers come, work and die; the job of a dead one goes to another."""

import os
import sys
from functools import partial

import trio

from pytofu import Incoming, Peer, connect, serve

JOBS = 8


async def work(address: str, *, dies: bool) -> None:
    """A worker: it connects, and is called."""

    async def carry_out(queue: Peer, job: Incoming) -> bytes:
        await trio.sleep(0.01)
        if dies:
            os._exit(1)  # as if it had crashed
        return str(int(job.body) ** 2).encode()

    async with connect(address, carry_out) as queue:
        await queue.closed.wait()


async def main() -> None:
    jobs, todo = trio.open_memory_channel[int](JOBS)
    results: dict[int, int] = {}
    done = trio.Event()

    async def employ(worker: Peer) -> None:
        async for job in todo:
            try:
                results[job] = int((await worker.call(b"%d" % job)).body)
            finally:  # `NotSent`, `Unanswered`, or cancelled since the worker has gone
                if job not in results:
                    print("a worker has died; its job goes to another")
                    jobs.send_nowait(job)
            if len(results) == JOBS:
                done.set()

    for job in range(JOBS):
        jobs.send_nowait(job)
    async with trio.open_nursery() as nursery:
        serving = partial(serve, on_peer=employ)
        (address,) = await nursery.start(serving, None, "tcp://127.0.0.1:0")
        for kind in ("dies", "lives", "lives"):
            command = [sys.executable, __file__, address, kind]
            nursery.start_soon(partial(trio.run_process, command, check=False))
        await done.wait()
        nursery.cancel_scope.cancel()
    print("squares:", [results[job] for job in range(JOBS)])


if len(sys.argv) > 1:
    trio.run(partial(work, sys.argv[1], dies=sys.argv[2] == "dies"))
else:
    trio.run(main)
