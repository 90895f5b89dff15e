"""Cancelling what is done on a stream, a subscription or with signals, while these live on.

As `test_cancellation.py`, but what the cancelled task worked with stays open, and no credit may be
missing on either side: what the sender has, and what the receiver will give back with what it
reads next, is the whole window. And more than a window passes afterwards.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio
import trio.testing

from pytofu import Incoming, Peer, Topics, connect
from pytofu.peers.streams import Stream
from pytofu.peers.subscriptions import DEFAULT_WINDOW, Subscription
from tests.flows.test_cancellation_sweep import Canceller, Moment, at_every_checkpoint
from tests.peers.credit import is_all_for_signals_there, is_all_there
from tests.peers.pairs import counted, serving
from tests.support import Kind, server_address_of

ITEM: Final = bytes(60_000)
MANY: Final = 6
"""So many items are more than the window of a stream."""
MESSAGE: Final = bytes(12_000)
KEPT: Final = 2
END: Final = b"end"


@attrs.define
class World:
    """What a deed works with, and what is there behind it."""

    near: Stream
    """The end of the task that is cancelled."""
    far: Stream
    messages: Subscription
    topics: Topics
    client: Peer
    server: Peer


async def take(source: Stream | Subscription) -> None:
    """Whatever comes, until it is cancelled."""
    async for _ in source:
        pass


async def send(world: World) -> None:
    """The reader reads all the time."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, world.far)
        for _ in range(MANY):
            await world.near.send(ITEM)
        nursery.cancel_scope.cancel()


async def send_and_wait_for_credit(world: World) -> None:
    """The reader reads when the window is used up."""
    async with trio.open_nursery() as nursery:

        async def read_late() -> None:
            while world.near._credit > 0:
                await trio.lowlevel.checkpoint()
            await trio.testing.wait_all_tasks_blocked()
            await take(world.far)

        nursery.start_soon(read_late)
        for _ in range(MANY):
            await world.near.send(ITEM)
        nursery.cancel_scope.cancel()


async def send_side_by_side(world: World) -> None:
    """Another task sends as well: for a place in the row is waited too."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, world.far)
        for _ in range(MANY):
            nursery.start_soon(world.near.send, ITEM)
            await trio.lowlevel.checkpoint()
            await world.near.send(ITEM)
        nursery.cancel_scope.cancel()


async def read(world: World) -> None:
    async with trio.open_nursery() as nursery:

        async def send_all() -> None:
            for _ in range(MANY):
                await world.far.send(ITEM)

        nursery.start_soon(send_all)
        for _ in range(MANY):
            await anext(world.near)


async def hear(world: World) -> None:
    for _ in range(MANY):
        world.topics.publish("a", MESSAGE)
        await anext(world.messages)


async def hear_late(world: World) -> None:
    """More is published than there is credit for: the rest is kept, and sent when that comes."""
    for _ in range(3 + KEPT):
        world.topics.publish("a", MESSAGE)
    (subscriber,) = world.topics._subscribers
    assert subscriber._credit <= 0
    for _ in range(3 + KEPT):
        await anext(world.messages)


async def publish_and_wait(world: World) -> None:
    """`Topics.send` waits while what is kept for the subscriber is full."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(take, world.messages)
        for _ in range(3 * MANY):
            await world.topics.send("a", MESSAGE)
        nursery.cancel_scope.cancel()


async def signal(world: World) -> None:
    async with trio.open_nursery() as nursery:

        async def hear_signals() -> None:
            async for _ in world.server.messages:
                pass

        nursery.start_soon(hear_signals)
        for _ in range(MANY):
            await world.client.signal(ITEM)
        nursery.cancel_scope.cancel()


async def hear_signals(world: World) -> None:
    async with trio.open_nursery() as nursery:

        async def signal_all() -> None:
            for _ in range(MANY):
                await world.server.signal(ITEM)

        nursery.start_soon(signal_all)
        for _ in range(MANY):
            await anext(world.client.messages)


DEEDS: Final = (
    send,
    send_and_wait_for_credit,
    send_side_by_side,
    read,
    hear,
    hear_late,
    publish_and_wait,
    signal,
    hear_signals,
)


async def check_stream(sender: Stream, reader: Stream) -> None:
    """Nothing is missing, and more than a window passes."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.send, END)
        while await anext(reader) != END:
            pass
    await trio.testing.wait_all_tasks_blocked(0.002)  # the credit is on its way
    assert is_all_there(sender._credit, reader._window)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(take_some, reader, MANY))
        for _ in range(MANY):
            await sender.send(ITEM)


async def take_some(source: Stream, count: int) -> None:
    for _ in range(count):
        assert await anext(source) == ITEM


async def check_subscription(world: World) -> None:
    """Nothing is missing, and more than a window is heard."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.topics.send, "a", END)
        while (await anext(world.messages)).body != END:
            pass
    (subscriber,) = world.topics._subscribers
    await trio.testing.wait_all_tasks_blocked(0.002)
    assert is_all_there(subscriber._credit, world.messages._window, size=DEFAULT_WINDOW)
    for _ in range(MANY):
        assert world.topics.publish("a", MESSAGE) == 1
        heard = await anext(world.messages)
        assert (heard.body, heard.missed) == (MESSAGE, 0)


async def check_signals(sender: Peer, receiver: Peer) -> None:
    """Nothing is missing, and more than a window passes."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.signal, END)
        while (await anext(receiver.messages)).body != END:
            pass
        for _ in range(MANY):
            nursery.start_soon(sender.signal, ITEM)
        for _ in range(MANY):
            assert (await anext(receiver.messages)).missed == 0
    await trio.testing.wait_all_tasks_blocked(0.002)
    assert is_all_for_signals_there(sender._link, receiver._link)


async def run_once(
    deed: Callable[[World], Awaitable[None]], canceller: Canceller, kind: Kind, directory: Path
) -> bool:
    """Do the deed and cancel it as the canceller says; check the credit of all that is open."""
    accepted: list[Stream] = []
    servers: list[Peer] = []
    topics = Topics(keep=KEPT)

    async def handler(peer: Peer, request: Incoming) -> bytes:
        assert request.stream is not None
        accepted.append(request.stream)
        await request.stream.send(END)
        await trio.sleep_forever()
        raise AssertionError

    async def on_peer(peer: Peer) -> None:
        servers.append(peer)

    address = server_address_of(kind, directory)
    async with (
        counted() as server_ampe,
        counted() as ampe,
        serving(handler, address, ampe=server_ampe, on_peer=on_peer, topics=topics) as where,
        connect(where, ampe=ampe) as client,
        client.stream() as near,
        client.subscribe("a") as messages,
    ):
        assert await anext(near) == END
        world = World(near, accepted[0], messages, topics, client, servers[0])
        cancelled = await canceller.watch(partial(deed, world))
        with trio.fail_after(5):
            await trio.testing.wait_all_tasks_blocked(0.002)
            await check_stream(world.near, world.far)
            await check_stream(world.far, world.near)
            await check_subscription(world)
            await check_signals(world.client, world.server)
            await check_signals(world.server, world.client)
    return cancelled


@pytest.mark.parametrize("moment", Moment, ids=lambda moment: moment.name.lower())
@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: deed.__name__)
def test_no_credit_is_lost(
    deed: Callable[[World], Awaitable[None]], moment: Moment, kind: Kind, tmp_path: Path
) -> None:
    at_every_checkpoint(moment, lambda canceller: run_once(deed, canceller, kind, tmp_path))
