"""A client that outlives its server: it connects again, and its calls wait meanwhile."""

import trio

from pytofu import Backoff, Incoming, Peer, Unanswered, connect, serve


async def main() -> None:
    first_server = trio.CancelScope()

    async def greet(peer: Peer, request: Incoming) -> bytes:
        if request.method == "crash":
            first_server.cancel()
            await trio.sleep_forever()  # no answer will come
        return b"hello, " + request.body

    async def run_first(task_status: trio.TaskStatus[tuple[str, ...]]) -> None:
        with first_server:
            await serve(greet, "tcp://127.0.0.1:0", grace=0, task_status=task_status)

    async def connected(peer: Peer) -> None:
        print("connected")

    async with trio.open_nursery() as nursery:
        (address,) = await nursery.start(run_first)
        backoff = Backoff(first=0.05, longest=1)
        async with connect(address, reconnect=backoff, on_peer=connected) as peer:
            print((await peer.call(b"one")).body)
            try:
                await peer.call(method="crash")
            except Unanswered:
                print("in doubt: it was carried out, or it was not")
            nursery.start_soon(serve, greet, address)
            print((await peer.call(b"two")).body)  # waits until somebody is there
        nursery.cancel_scope.cancel()


trio.run(main)
