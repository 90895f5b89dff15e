"""A job queue: workers come, work and die; the job of a dead one goes to another."""

import os
import sys
from functools import partial
from itertools import count

import trio

from pytofu import Incoming, Peer, connect, serve

JOBS = 8


async def work(address: str) -> None:
    jobs = count(1)

    async def carry_out(queue: Peer, job: Incoming) -> bytes:
        if next(jobs) == 3:
            os._exit(1)  # a crash
        return str(int(job.body) ** 2).encode()

    async with connect(address, carry_out) as queue:
        await queue.closed.wait()


async def keep_working(address: str) -> None:
    while True:
        await trio.run_process([sys.executable, __file__, address], check=False)


async def main() -> None:
    jobs, todo = trio.open_memory_channel[int](JOBS)
    results, done = dict[int, int](), trio.Event()

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
        serving = partial(serve, None, on_peer=employ)
        (address,) = await nursery.start(serving, "tcp://127.0.0.1:0")
        for _ in range(2):
            nursery.start_soon(keep_working, address)
        await done.wait()
        nursery.cancel_scope.cancel()
    print("squares:", [results[job] for job in range(JOBS)])


trio.run(partial(work, sys.argv[1]) if sys.argv[1:] else main)
