"""The task that receives for all links (peers/hub.py)."""

import itertools

import trio

from pytofu import OpCode, Peer
from tests.peers.pairs import echo, scripted_client, serving
from tests.support import ServerAddress, frame

MESSAGES = 400
AT_ONCE = 64
"""Between two turns of another task the receiver may have two: their order is left to chance."""


async def test_whoever_sends_much_leaves_turns_to_other_tasks(address: ServerAddress) -> None:
    here: list[int] = []

    async def watch(peer: Peer) -> None:
        while not here or here[-1] < MESSAGES:
            here.append(len(peer._link.inbox._items))
            await trio.lowlevel.checkpoint()

    async with serving(echo, address, on_peer=watch) as where, scripted_client(where) as script:
        await script.raw.send(frame(OpCode.SIGNAL, 1, body=b"x") * MESSAGES)
        await script.send(OpCode.REQUEST, 3)
        await script.expect(OpCode.RESPONSE)
    assert here[-1] == MESSAGES
    assert max(after - before for before, after in itertools.pairwise(here)) <= 2 * AT_ONCE
