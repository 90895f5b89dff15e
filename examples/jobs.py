"""A queue of jobs, and workers that die: what was not done is tried again, but not for ever."""

import os
import sys
from functools import partial

import trio

from pytofu import Incoming, Peer, RemoteError, connect, serve

JOBS, TRIES = 20, 4
strength = iter(range(6))  # of a worker: it dies in the middle of its seventh job


async def do(peer: Peer, job: Incoming) -> bytes:
    if next(strength, None) is None:
        os._exit(1)
    if job.body == b"13":
        raise RemoteError("FAILED_PRECONDITION", "no worker does 13")
    return b"%d" % int(job.body) ** 2


async def work(address: str) -> None:
    async with connect(address, do, heartbeat=5) as queue:  # here the one who connects answers
        await queue.closed.wait()


async def keep_working(address: str) -> None:
    while True:  # what a supervisor does: start another worker when one has died
        await trio.run_process([sys.executable, __file__, address], check=False)
        print("a worker has died")


async def main() -> None:
    put, jobs = trio.open_memory_channel[tuple[int, int, int | str]](JOBS)
    done, results = trio.open_memory_channel[tuple[int, int, int | str]](JOBS)
    for job in range(JOBS):
        put.send_nowait((job, 0, "no answer"))

    async def employ(worker: Peer) -> None:  # run for each that comes, cancelled when it goes
        async for job, tries, outcome in jobs:
            try:
                with trio.move_on_after(10):  # a worker that hangs is as good as dead
                    outcome = int((await worker.call(b"%d" % job)).body)
            except RemoteError as error:  # the job is to blame, not the worker
                outcome = str(error)
            finally:  # what has no answer may have been done: jobs must bear being done twice
                again = isinstance(outcome, str) and tries + 1 < TRIES
                (put if again else done).send_nowait((job, tries + 1, outcome))

    async with trio.open_nursery() as nursery:
        addresses = await nursery.start(partial(serve, None, on_peer=employ), "tcp://127.0.0.1:0")
        for _ in range(2):
            nursery.start_soon(keep_working, addresses[0])
        print(*sorted([await results.receive() for _ in range(JOBS)]), sep="\n")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(work, sys.argv[1]) if sys.argv[1:] else trio.run(main)
