"""A client that outlives its server: calls wait for the next one, and what is in doubt says so."""

import logging
import os
import sys
import tempfile
from functools import partial

import trio

from pytofu import Backoff, Incoming, Peer, Unanswered, connect, serve


async def answer(name: str, peer: Peer, request: Incoming) -> bytes:
    if request.body == b"crash":
        os._exit(1)  # in the middle of a call
    return f"the {name} server answers".encode()


async def keep_serving(address: str) -> None:
    """What a supervisor does: start the server again when it has ended."""
    for name in ("first", "second", "third"):
        await trio.run_process([sys.executable, __file__, address, name], check=False)


async def main(address: str) -> None:
    logging.getLogger("pytofu.peers").setLevel("ERROR")  # no server at first: no news here
    async with trio.open_nursery() as nursery:
        nursery.start_soon(keep_serving, address)
        # Waits until the server is there; a connection that is lost is followed by another.
        async with connect(address, reconnect=Backoff(first=0.05, longest=1)) as peer:
            print((await peer.call(b"hello")).body.decode())
            try:
                await peer.call(b"crash")
            except Unanswered:
                print("the server has gone: it may have acted on that call, or not")
            print((await peer.call(b"hello", idempotent=True)).body.decode())  # by the next one
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    match sys.argv[1:]:
        case [address, name]:
            trio.run(serve, partial(answer, name), address)
        case _:
            with tempfile.TemporaryDirectory() as directory:
                trio.run(main, f"uds://{directory}/socket")
