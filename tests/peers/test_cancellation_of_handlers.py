"""Cancelling a handler at its Nth checkpoint, for every N, in everything that handlers do.

As `test_cancellation.py`, from the other side: the scope that is cancelled is around what the
handler does, as a time limit of its own would be. The handler goes on and answers, and the caller
gets an end in good order; on neither side is anything left.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio

from pytofu import Incoming, Peer, RemoteError, Topics
from tests.flows.test_cancellation_sweep import Canceller, Moment, at_every_checkpoint
from tests.peers.test_cancellation import World, handler, run_once
from tests.support import Kind

LARGE: Final = bytes(65_000)
"""Eight of these are more than the window of a stream."""


@attrs.frozen
class Deed:
    """What a handler does until it is cancelled, and how its caller meets that."""

    done: Callable[[Peer, Incoming, Topics], Awaitable[None]]
    asked: Callable[[World], Awaitable[None]]


async def call_it(world: World) -> None:
    assert (await world.peer.call(LARGE, method="deed")).body == b"answer"


async def wait(peer: Peer, request: Incoming, topics: Topics) -> None:
    for _ in range(3):
        await trio.lowlevel.checkpoint()


async def call_back(peer: Peer, request: Incoming, topics: Topics) -> None:
    assert (await peer.call(bytes(200_000))).body == bytes(200_000)


async def signal(peer: Peer, request: Incoming, topics: Topics) -> None:
    for _ in range(8):
        await peer.signal(LARGE)


async def hear_signals(world: World) -> None:
    async with trio.open_nursery() as nursery:

        async def hear() -> None:
            async for _ in world.peer.messages:
                pass

        nursery.start_soon(hear)
        await call_it(world)
        nursery.cancel_scope.cancel()


async def echo(peer: Peer, request: Incoming, topics: Topics) -> None:
    assert request.stream is not None
    async for item in request.stream:
        await request.stream.send(item)


async def send_and_hear(world: World) -> None:
    async with world.peer.stream(method="deed") as stream:
        try:
            for item in (b"", b"1", bytes(70_000)):
                await stream.send(item)
                assert await anext(stream, item) == item
            assert await stream.finish() == b"answer"
        except trio.BrokenResourceError:
            pass  # it has ended the stream before
        except RemoteError as error:
            if error.code != "CANCELLED":  # in the middle of an item
                raise


async def send_much(peer: Peer, request: Incoming, topics: Topics) -> None:
    assert request.stream is not None
    for _ in range(8):
        await request.stream.send(LARGE)
    await request.stream.send_eof()


async def hear_much(world: World) -> None:
    async with world.peer.stream(method="deed") as stream:
        assert len([item async for item in stream]) <= 8
        assert await stream.finish() == b"answer"


async def publish(peer: Peer, request: Incoming, topics: Topics) -> None:
    for _ in range(8):
        await topics.send("a.b", LARGE)


async def subscribe(world: World) -> None:
    async with world.peer.subscribe("a.*") as messages, trio.open_nursery() as nursery:

        async def hear() -> None:
            async for _ in messages:
                pass

        nursery.start_soon(hear)
        await call_it(world)
        nursery.cancel_scope.cancel()


DEEDS: Final = {
    "wait": Deed(wait, call_it),
    "call back": Deed(call_back, call_it),
    "signal": Deed(signal, hear_signals),
    "echo items": Deed(echo, send_and_hear),
    "send much": Deed(send_much, hear_much),
    "publish": Deed(publish, subscribe),
}


@pytest.mark.parametrize("moment", Moment, ids=lambda moment: moment.name.lower())
@pytest.mark.parametrize("deed", DEEDS.values(), ids=DEEDS)
def test_cancelled_anywhere(deed: Deed, moment: Moment, kind: Kind, tmp_path: Path) -> None:
    async def run(canceller: Canceller) -> bool:
        world: list[World] = []

        async def asked(found: World) -> None:
            world.append(found)
            await deed.asked(found)

        async def answer(peer: Peer, request: Incoming) -> bytes:
            if request.method != "deed":
                return await handler(peer, request)
            await canceller.watch(lambda: deed.done(peer, request, world[0].topics))
            return b"answer"

        return await run_once(asked, canceller, kind, tmp_path, answer)

    at_every_checkpoint(moment, run)
