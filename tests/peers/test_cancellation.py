"""Cancelling the caller at its Nth checkpoint, for every N, in every flow between peers.

As in `tests/flows/test_cancellation_sweep.py`: in run N the scope around the flow is cancelled at
the Nth step of the task, once while it waits there and once when what it waited for has just
happened. After each run nothing may be left of the flow, on either side: no id, task, credit,
place among the calls, byte of the budget or message; and the peers go on as if nothing had been.
"""

from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio
import trio.testing

from pytofu import Ampe, Backoff, Incoming, Peer, RemoteError, Topics, connect
from pytofu.peers import asking
from pytofu.peers.flow import WINDOW
from pytofu.peers.link import Link
from pytofu.peers.peer import Handler
from pytofu.peers.wire import MAX_BODY
from tests.flows.test_cancellation_sweep import Canceller, Moment, at_every_checkpoint
from tests.leaks import live_tasks
from tests.peers.credit import is_all_for_signals_there
from tests.peers.pairs import counted, serving
from tests.support import Kind, server_address_of

CALLS: Final = 3
QUICK: Final = Backoff(first=1e-6, longest=1e-6)


async def handler(peer: Peer, request: Incoming) -> bytes:
    """Echo, by calling back, or item by item; what is to fail fails."""
    if request.method == "fail":
        raise RemoteError("ABORTED")
    if request.method == "back":
        return (await peer.call(request.body)).body
    if request.stream is not None:
        async for item in request.stream:
            await request.stream.send(item)
    await trio.lowlevel.checkpoint()
    return request.body


async def client_handler(peer: Peer, request: Incoming) -> bytes:
    """What the server's calls are answered with."""
    return request.body


@attrs.define
class World:
    """What a flow finds."""

    where: str
    ampe: Ampe
    peer: Peer
    """Connected, and staying so behind the flow."""
    topics: Topics
    links: list[Link]
    """Of the server, one for each peer that has come."""


async def connecting(world: World) -> None:
    async with connect(world.where, ampe=world.ampe) as peer:
        await peer.call(b"x")


async def call(world: World) -> None:
    assert (await world.peer.call(b"x")).body == b"x"


async def long_call(world: World) -> None:
    body = bytes(200_000)
    assert (await world.peer.call(body)).body == body


async def failing_call(world: World) -> None:
    with pytest.raises(RemoteError):
        await world.peer.call(method="fail")


async def call_back(world: World) -> None:
    assert (await world.peer.call(b"x", method="back")).body == b"x"


async def call_with_deadline(world: World) -> None:
    with trio.fail_after(60):
        await world.peer.call(b"x")


async def calls_behind_others(world: World) -> None:
    """More than the peer carries out at a time: the last of them waits for a place."""
    async with trio.open_nursery() as nursery:
        for _ in range(CALLS):
            nursery.start_soon(world.peer.call, b"x")
        await trio.lowlevel.checkpoint()
        await world.peer.call(b"y")


async def stream(world: World) -> None:
    async with world.peer.stream(b"z") as stream:
        for item in (b"", b"1", bytes(70_000)):
            await stream.send(item)
            assert await anext(stream) == item
        await stream.send_eof()
        assert [item async for item in stream] == []
        assert await stream.finish() == b"z"


async def stream_left_early(world: World) -> None:
    async with world.peer.stream() as stream:
        await stream.send(b"1")
        assert await anext(stream) == b"1"
        await stream.send(b"2")


async def stream_with_more_than_the_window(world: World) -> None:
    async with world.peer.stream() as stream, trio.open_nursery() as nursery:

        async def send() -> None:
            for _ in range(8):
                await stream.send(bytes(65_000))
            await stream.send_eof()

        nursery.start_soon(send)
        assert len([item async for item in stream]) == 8


async def signal(world: World) -> None:
    for _ in range(8):  # more than the credit at the beginning
        await world.peer.signal(bytes(65_000))


async def subscription(world: World) -> None:
    async with world.peer.subscribe("a.*") as messages:
        for number in range(3):
            assert world.topics.publish("a.b", b"%d" % number + bytes(20_000)) == 1
        for number in range(3):
            assert (await anext(messages)).body[:1] == b"%d" % number


async def reconnecting(world: World) -> None:
    async with connect(world.where, ampe=world.ampe, reconnect=QUICK) as peer:
        assert (await peer.call(b"1")).body == b"1"
        world.links[-1].abort()
        assert (await peer.call(b"2", idempotent=True)).body == b"2"


async def reconnecting_subscription(world: World) -> None:
    async with (
        connect(world.where, ampe=world.ampe, reconnect=QUICK) as peer,
        peer.subscribe("a") as messages,
    ):
        world.links[-1].abort()
        while not messages.interruptions:
            await trio.lowlevel.checkpoint()
        await peer.call(b"there again", idempotent=True)
        world.topics.publish("a", b"x")
        assert (await anext(messages)).body == b"x"


async def bye(world: World) -> None:
    async with connect(world.where, ampe=world.ampe) as peer:
        await peer.bye()


FLOWS: Final = (
    connecting,
    call,
    long_call,
    failing_call,
    call_back,
    call_with_deadline,
    calls_behind_others,
    stream,
    stream_left_early,
    stream_with_more_than_the_window,
    signal,
    subscription,
    reconnecting,
    reconnecting_subscription,
    bye,
)


async def pass_more_than_a_window(peer: Peer) -> None:
    """There and back, over a stream."""
    async with peer.stream() as stream:
        item = bytes(WINDOW // 2)
        for _ in range(3):
            await stream.send(item)
            assert await anext(stream) == item
        assert await stream.finish() == b""


async def run_once(
    flow: Callable[[World], Awaitable[None]],
    canceller: Canceller,
    kind: Kind,
    directory: Path,
    answer: Handler = handler,
) -> bool:
    """Run the flow and cancel it as the canceller says; check what is left of it.

    With an `answer` of its own it is that which is watched, and cancelled.
    """
    links: list[Link] = []
    topics = Topics()

    async def on_peer(peer: Peer) -> None:
        links.append(peer._link)
        async for _ in peer.messages:
            pass

    tasks = live_tasks()
    address = server_address_of(kind, directory)
    async with (
        counted() as server_ampe,
        counted() as ampe,
        serving(
            answer, address, ampe=server_ampe, on_peer=on_peer, topics=topics, calls_per_peer=CALLS
        ) as where,
        connect(where, client_handler, ampe=ampe) as peer,
    ):
        quiet = live_tasks()
        world = World(where, ampe, peer, topics, links)
        if answer is handler:
            cancelled = await canceller.watch(partial(flow, world))
        else:
            await flow(world)
            cancelled = canceller.scope.cancel_called
        with trio.fail_after(5):
            await trio.testing.wait_all_tasks_blocked(0.002)
            assert (await peer.call(b"after")).body == b"after"
            assert (await links[0].asking.call("", {}, b"back")).body == b"back"
            await pass_more_than_a_window(peer)
        await trio.testing.wait_all_tasks_blocked(0.002)
        assert live_tasks() == quiet
        for link in (peer._link, *links):
            assert link.asking.busy == link.answering.busy == 0
            assert not link.asking._open
            assert not link.answering._by_id
            assert not link.answering._subscribers
            assert link.features is not None
            assert link.asking._slots == (link.features.calls or asking._UNLIMITED)
            assert link._budget.left == 4 * MAX_BODY
        assert is_all_for_signals_there(peer._link, links[0])
        assert is_all_for_signals_there(links[0], peer._link)
        assert [link.closed.is_set() for link in links] == [False, *[True] * (len(links) - 1)]
        assert not topics._subscribers
        assert server_ampe.statistics().pool_free == ampe.statistics().pool_free == 256
    assert live_tasks() == tasks
    return cancelled


@pytest.mark.parametrize("moment", Moment, ids=lambda moment: moment.name.lower())
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.__name__)
def test_cancelled_anywhere(
    flow: Callable[[World], Awaitable[None]], moment: Moment, kind: Kind, tmp_path: Path
) -> None:
    at_every_checkpoint(moment, lambda canceller: run_once(flow, canceller, kind, tmp_path))
