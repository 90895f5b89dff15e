"""Find out that a peer is dead although its connection is not.

When a process hangs, its connection stays open and its system goes on answering for it. With a
heartbeat both sides are heard of now and then. The clients here are processes; one is stopped.
"""

import signal
import sys
from functools import partial

import trio

from pytofu import Peer, connect, serve

INTERVAL = 0.75  # seconds; who is silent for twice as long is given up


class Attendance:
    def __init__(self) -> None:
        self.here: dict[str, Peer] = {}
        self.changed = trio.Condition()

    async def attend(self, peer: Peer) -> None:
        """Run for each peer that comes, and cancelled when it goes."""
        name = peer.info["name"]
        self.here[name] = peer
        try:
            async with self.changed:
                self.changed.notify_all()
            await trio.sleep_forever()
        finally:
            print(f"{name}: {peer.reason.name.lower()}")


async def live(address: str, name: str) -> None:
    async with connect(address, hello={"name": name}, heartbeat=INTERVAL) as peer:
        await peer.closed.wait()


async def main() -> None:
    attendance = Attendance()
    async with trio.open_nursery() as nursery:
        listen = partial(serve, None, on_peer=attendance.attend)
        addresses: tuple[str, ...] = await nursery.start(listen, "tcp://127.0.0.1:0")
        command = [sys.executable, __file__, *addresses]
        nursery.start_soon(trio.run_process, [*command, "lucky"])
        run = partial(trio.run_process, check=False)
        unlucky: trio.Process = await nursery.start(run, [*command, "unlucky"])
        async with attendance.changed:
            while len(attendance.here) < 2:
                await attendance.changed.wait()
        unlucky.send_signal(signal.SIGSTOP)
        print("unlucky: stopped, and its connection stays open")
        await attendance.here["unlucky"].closed.wait()
        unlucky.kill()
        await attendance.here["lucky"].bye()
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    match sys.argv[1:]:
        case [address, name]:
            trio.run(live, address, name)
        case _:
            trio.run(main)
