"""Several peers: a server in two places that knows who is there, and asks them all at once."""

import tempfile
from contextlib import AsyncExitStack, suppress
from functools import partial

import trio

from pytofu import Incoming, Peer, connect, serve


class Room:
    def __init__(self) -> None:
        self._members: dict[str, Peer] = {}

    async def enter(self, peer: Peer) -> None:  # run for each that comes, cancelled when it goes
        name = peer.info["name"]
        self._members[name] = peer
        try:
            await peer.closed.wait()
        finally:
            del self._members[name]

    async def ask(self, asking: Peer, question: Incoming) -> bytes:
        """Ask all others; who takes longer than half a second is left out."""
        answers: list[bytes] = []

        async def ask_one(name: str, member: Peer) -> None:
            with suppress(ConnectionError):  # has left meanwhile
                answer = await member.call(question.body)
                answers.append(b"%s: %s" % (name.encode(), answer.body))

        with trio.move_on_after(0.5):
            async with trio.open_nursery() as nursery:
                for name, member in self._members.items():
                    if name != asking.info["name"]:
                        nursery.start_soon(ask_one, name, member)
        return b", ".join(sorted(answers))


async def think(patience: float, peer: Peer, question: Incoming) -> bytes:
    await trio.sleep(patience)
    return b"that is why"


async def main(socket: str) -> None:
    room = Room()
    async with trio.open_nursery() as nursery, AsyncExitStack() as stack:
        listen = partial(serve, room.ask, on_peer=room.enter)
        tcp, uds = await nursery.start(listen, "tcp://127.0.0.1:0", f"uds://{socket}")
        for name, address, patience in [("bob", tcp, 0), ("carol", uds, 0), ("dave", uds, 60)]:
            member = connect(address, partial(think, patience), hello={"name": name})
            await stack.enter_async_context(member)
        async with connect(tcp, hello={"name": "alice"}) as peer:
            print((await peer.call(b"why?")).body.decode())
        await stack.aclose()  # who has gone
        async with connect(tcp, hello={"name": "alice"}) as peer:
            print("nobody:", (await peer.call(b"why?")).body == b"")
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as directory:
        trio.run(main, f"{directory}/socket")
