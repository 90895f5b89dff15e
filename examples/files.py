"""A file goes over a stream; cut off in the middle, it goes on where it was cut."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import trio

from pytofu import Incoming, Peer, connect, serve

CHUNK = 64 * 1024


async def receive(folder: Path, peer: Peer, request: Incoming) -> bytes:
    """Say how much of the file is here, and append what comes."""
    stream = request.stream
    assert stream is not None
    with (folder / Path(request.headers["name"]).name).open("ab") as file:  # no other folder
        await stream.send(b"%d" % file.tell())
        async for chunk in stream:
            file.write(chunk)
    return b""


async def upload(peer: Peer, path: Path, *, stop_at: int | None = None) -> None:
    async with peer.stream(headers={"name": path.name}) as stream:
        with path.open("rb") as file:
            print("from byte", file.seek(int(await anext(stream))))
            while chunk := file.read(CHUNK):
                if file.tell() == stop_at:
                    return  # before the end: that cancels the stream
                await stream.send(chunk)
        await stream.finish()


async def main() -> None:
    with TemporaryDirectory() as here, TemporaryDirectory() as there:
        path = Path(here) / "tofu.bin"
        path.write_bytes(bytes(range(256)) * 4096)
        async with trio.open_nursery() as nursery:
            handler = partial(receive, Path(there))
            (address,) = await nursery.start(serve, handler, "tcp://127.0.0.1:0")
            for stop_at in (8 * CHUNK, None):
                async with connect(address) as peer:
                    await upload(peer, path, stop_at=stop_at)
            nursery.cancel_scope.cancel()
        print("the same:", path.read_bytes() == (Path(there) / path.name).read_bytes())


trio.run(main)
