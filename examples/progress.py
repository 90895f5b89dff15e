"""A long job that tells how far it is: a stream, whose result is that of the job."""

import trio

from pytofu import Incoming, Peer, connect, serve


async def work(peer: Peer, request: Incoming) -> bytes:
    assert request.stream is not None
    for percent in (25, 50, 75, 100):
        await trio.sleep(0.01 * len(request.body))  # this is the work
        await request.stream.send(b"%d" % percent)
    return request.body.upper()


async def watch(peer: Peer, job: str) -> None:
    async with peer.stream(job.encode()) as stream:
        async for percent in stream:
            bar = ("#" * (int(percent) // 10)).ljust(10, "-")
            print(f"{job:>8} [{bar}] {int(percent):3} %")
        print(f"{job:>8} done: {(await stream.finish()).decode()}")


async def main() -> None:
    async with trio.open_nursery() as nursery:
        addresses: tuple[str, ...] = await nursery.start(serve, work, "tcp://127.0.0.1:0")
        async with connect(addresses[0]) as peer, trio.open_nursery() as jobs:
            jobs.start_soon(watch, peer, "long job")
            jobs.start_soon(watch, peer, "job")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
