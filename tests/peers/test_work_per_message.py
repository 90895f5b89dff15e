"""What a message costs two peers does not grow: with time, with calls, or with those who wait.

Counted, not timed: see `tests/work.py`, and `tests/engine/test_work_per_message.py` for the bounds.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final

import pytest
import trio
import trio.testing

import pytofu
from pytofu import Incoming, Options, Peer, Topics, open_ampe
from pytofu.peers.peer import Handler
from tests.peers.pairs import Both, connected, echo
from tests.work import Work, counted, sizes

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


# ---------------------------------------------------------------------- with many who wait


async def test_of_many_who_wait_to_signal_one_is_woken() -> None:
    """Credit woke all of them, each time."""

    async def work(tasks: int) -> Work:
        async with open_world() as both, trio.open_nursery() as nursery:
            with counted() as work:
                nursery.start_soon(
                    many_tasks, tasks, 200, lambda: both.client.signal(_LARGE)
                )
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
