"""What a message costs two peers does not grow: with time, with calls, or with those who wait.

Counted, not timed: see `tests/work.py`, and `tests/engine/test_work_per_message.py` for the bounds.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any, Final

import pytest
import trio
import trio.testing

import pytofu
from pytofu import Incoming, Options, Peer, RemoteError, Topics, open_ampe
from pytofu.peers.peer import Handler
from tests.peers.pairs import Both, connected, echo
from tests.work import Work, counted, grown, sizes

pytestmark = pytest.mark.skipif(pytofu.compiled, reason="what is compiled cannot be counted")

_OPTIONS: Final = Options(initial_pool_msgs=4096, max_pool_msgs=4096, busy_poll=0)
_LARGE: Final = bytes(60_000)


@asynccontextmanager
async def open_world(handler: Handler = echo, **settings: Any) -> AsyncIterator[Both]:
    """Two peers of one engine."""
    async with (
        open_ampe(_OPTIONS) as ampe,
        connected(handler, ampe=ampe, client={"ampe": ampe}, **settings) as both,
    ):
        yield both


async def many_tasks(tasks: int, count: int, one: Callable[[], Awaitable[object]]) -> None:
    """Do it so many times, in so many tasks at once."""
    left = count

    async def some() -> None:
        nonlocal left
        while left:
            left -= 1
            await one()

    async with trio.open_nursery() as nursery:
        for _ in range(tasks):
            nursery.start_soon(some)


# ---------------------------------------------------------------------- for long


async def handle(peer: Peer, request: Incoming) -> bytes:
    """Whatever a program may do: answer, send back, fail, or never end."""
    if request.stream is not None:
        async for item in request.stream:
            await request.stream.send(item)
    if request.method == "fail":
        raise RemoteError("FAILED", "as it was asked to")
    if request.method == "never":
        await trio.sleep_forever()
    return request.body


async def everything(both: Both, topics: Topics, number: int) -> None:
    """Some of each kind of what two peers do."""
    peer = both.client
    with trio.fail_after(1_000):
        await peer.call(b"x", {f"name-{number}": "x"}, method=f"method-{number}")
    await peer.call(bytes(100_000))
    with pytest.raises(RemoteError):
        await peer.call(method="fail")
    with trio.move_on_after(0):
        await peer.call(method="never")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(peer.call, method="never"))
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    async with peer.stream() as stream:
        await stream.send(b"x")
        await anext(stream)
        await stream.finish()
    async with peer.stream() as stream:
        await stream.send(b"x")  # and leave it
    async with peer.subscribe("a.*") as messages:
        topics.publish("a.b", b"x")
        await anext(messages)
    await peer.signal(b"x")
    await anext(both.server.messages)


async def test_the_last_of_everything_costs_what_the_first_did() -> None:
    topics = Topics()
    async with (
        open_ampe(_OPTIONS) as ampe,
        connected(handle, topics=topics, ampe=ampe, client={"ampe": ampe}) as both,
    ):

        async def some(count: int) -> None:
            for number in range(count):
                await everything(both, topics, number)
            await trio.testing.wait_all_tasks_blocked()

        roots = (ampe, topics, both.client, both.server)
        await some(5)
        before = sizes(*roots)
        with counted() as first:
            await some(10)
        await some(80)
        with counted() as last:
            await some(10)
        assert last.total < 1.3 * first.total, last.most()
        assert grown(before, sizes(*roots), 32) == {}


# ---------------------------------------------------------------------- with many who wait


@pytest.mark.parametrize("limit", [4, 64])
async def test_many_callers_cost_no_more_a_call_than_few(limit: int) -> None:
    async def work(tasks: int) -> Work:
        async with open_world(calls_per_peer=limit) as both:
            with counted() as work:
                await many_tasks(tasks, 512, lambda: both.client.call(b"x"))
        return work

    few, many = await work(8), await work(256)
    assert many.total < 1.3 * few.total, many.most()


async def test_calls_and_streams_under_way_cost_the_others_nothing() -> None:
    async def work(open_ones: int) -> Work:
        async with (
            open_world(handle, calls_per_peer=256) as both,
            trio.open_nursery() as nursery,
            AsyncExitStack() as stack,
        ):
            for _ in range(open_ones):
                await stack.enter_async_context(both.client.stream())
                nursery.start_soon(partial(both.client.call, method="never"))
            await trio.testing.wait_all_tasks_blocked()
            with counted() as work:
                await many_tasks(1, 50, lambda: both.client.call(b"x"))
            nursery.cancel_scope.cancel()
        return work

    few, many = await work(2), await work(64)
    assert many.total < 1.1 * few.total, many.most()


async def test_of_many_who_wait_to_signal_one_is_woken() -> None:
    """Credit woke all of them, each time."""

    async def work(tasks: int) -> Work:
        async with open_world() as both, trio.open_nursery() as nursery:
            with counted() as work:
                nursery.start_soon(many_tasks, tasks, 200, lambda: both.client.signal(_LARGE))
                for _ in range(200):
                    assert (await anext(both.server.messages)).missed == 0
        return work

    few, many = await work(8), await work(128)
    assert many.total < 1.3 * few.total, many.most()


async def test_of_many_who_wait_to_publish_one_is_woken() -> None:
    """Each message that a slow subscriber took woke all of them."""

    async def work(tasks: int) -> Work:
        topics = Topics(keep=4)
        async with (
            open_world(topics=topics) as both,
            both.client.subscribe("a") as messages,
            trio.open_nursery() as nursery,
        ):
            with counted() as work:
                nursery.start_soon(many_tasks, tasks, 200, lambda: topics.send("a", _LARGE))
                for _ in range(200):
                    assert (await anext(messages)).missed == 0
        return work

    few, many = await work(8), await work(128)
    assert many.total < 1.3 * few.total, many.most()
