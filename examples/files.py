"""Send a file to a server that dies on the way, twice: go on where it has got to."""

import logging
import os
import sys
import tempfile

import trio

from pytofu import Backoff, Incoming, NotSent, Peer, Unanswered, connect, serve


async def receive(peer: Peer, request: Incoming) -> None:
    assert request.stream is not None
    async with await trio.open_file("target", "ab", buffering=0) as file:
        start = await file.tell()
        await request.stream.send(b"%d" % start)  # so many bytes are here already
        async for part in request.stream:
            await file.write(part)
            if await file.tell() > start + 2_000_000:
                os._exit(1)


async def send(address: str, path: trio.Path, finished: trio.CancelScope) -> None:
    async with connect(address, reconnect=Backoff(first=0.05, longest=1)) as peer:
        while True:  # in as many attempts as it takes
            try:
                async with peer.stream() as stream, await path.open("rb") as file:
                    print(f"from byte {await file.seek(int(await anext(stream))):,}")
                    while part := await file.read(60_000):
                        await stream.send(part)  # waits while the server is behind
                    await stream.finish()  # returns when the handler there has
                    return finished.cancel()
            except (NotSent, Unanswered):
                print("the server has gone")


async def main() -> None:
    logging.getLogger("pytofu.peers").setLevel("ERROR")  # no server at first: no news here
    with tempfile.TemporaryDirectory() as directory:
        source, address = trio.Path(directory, "source"), f"uds://{directory}/socket"
        await source.write_bytes(os.urandom(5_000_000))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send, address, source, nursery.cancel_scope)
            command = [sys.executable, __file__, address]
            while not nursery.cancel_scope.cancel_called:  # what a supervisor does
                await trio.run_process(command, cwd=directory, check=False)
        print("whole:", await source.read_bytes() == await source.with_name("target").read_bytes())


if __name__ == "__main__":
    trio.run(serve, receive, sys.argv[1]) if sys.argv[1:] else trio.run(main)
