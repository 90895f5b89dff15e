"""What a message costs an engine does not grow: with time, with channels, or with what waits.

Counted, not timed (`tests/work.py`): so of pure Python only. What depends on when the system has
what is ready varies a little from run to run; each bound is three times what was counted, and a
tenth or less of what was counted where the work grew.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio
import trio.testing

import pytofu
from pytofu import AllocationStrategy, AmpeException, Holder, OpCode, Options
from tests.support import (
    PATIENCE,
    App,
    End,
    Kind,
    ListenerEnd,
    RawPeer,
    connect_apps,
    frame,
    hello,
    open_app,
    server_address_of,
)
from tests.work import Work, counted, sizes

pytestmark = pytest.mark.skipif(pytofu.compiled, reason="what is compiled cannot be counted")

# Asked in vain, the pollers are asked as often as there is time for.
_OPTIONS: Final = Options(
    initial_pool_msgs=4096, max_pool_msgs=4096, busy_poll=0, close_timeout=0.05
)
_LARGE: Final = b"x" * 40_000


@attrs.frozen
class World:
    """A server, and clients that are connected to it."""

    server: App
    client: App
    listener: ListenerEnd
    clients: Sequence[End]
    servers: Sequence[End]

    def put(self, holder: Holder[pytofu.Message]) -> None:
        """Put a message back that was received at the server."""
        self.server.ampe.put(holder)


@asynccontextmanager
async def open_world(
    kind: Kind, directory: Path, channels: int, options: Options = _OPTIONS
) -> AsyncIterator[World]:
    """So many channels between two engines."""
    async with open_app(options) as server, open_app(_OPTIONS) as client:
        listener = await server.listen(server_address_of(kind, directory))
        ends = [await connect_apps(client, listener) for _ in range(channels)]
        yield World(
            server, client, listener, [one for one, _ in ends], [other for _, other in ends]
        )


async def round_trips(world: World, count: int, body: bytes = b"") -> None:
    """One message after the other on the first channel, there and back."""
    client, server = world.clients[0], world.servers[0]
    for _ in range(count):
        client.post(OpCode.REQUEST, 1, body=body)
        assert (await world.server.event()).channel == server.number
        server.post(OpCode.RESPONSE, 1, body=body)
        assert (await world.client.event()).channel == client.number


async def fan_in(world: World, count: int, body: bytes) -> None:
    """On each channel one message waits, always, until so many have been received."""
    for end in world.clients:
        end.post(OpCode.SIGNAL, body=body)
    for number in range(count):
        await world.server.event()
        if number < count - len(world.clients):
            await world.client.chnls.send(
                world.client.message(
                    OpCode.SIGNAL, world.clients[number % len(world.clients)].number, body=body
                )
            )


# ---------------------------------------------------------------------- with many channels


@pytest.mark.parametrize("kind", ["tcp", "tls", "mem"])
async def test_many_that_bring_much_cost_no_more_a_message_than_few(
    kind: Kind, tmp_path: Path
) -> None:
    """Each pass looked at all that were ready, to serve one of them."""

    async def work(channels: int) -> Work:
        async with open_world(kind, tmp_path, channels) as world:
            with counted() as work:
                await fan_in(world, 256, _LARGE)
        return work

    few, many = await work(4), await work(96)
    assert many.total < 2 * few.total, many.most()
    assert many.steps["Pass.is_over", "calls"] < 16 * 256


async def test_those_who_wait_for_room_cost_those_who_do_not_nothing(tmp_path: Path) -> None:
    """Where they had sent too much, somebody to be closed was looked for among all, each turn."""

    async def work(channels: int) -> Work:
        pool = channels + 2
        options = attrs.evolve(
            _OPTIONS, initial_pool_msgs=pool, max_pool_msgs=pool, max_received_bytes=5_000
        )
        async with open_world("tcp", tmp_path, channels, options) as world:
            take = partial(world.server.ampe.get, strategy=AllocationStrategy.POOL_ONLY)
            held = [take() for _ in range(pool)]
            for end in world.clients[1:]:
                for _ in range(3):  # each may always have one
                    end.post(OpCode.SIGNAL, body=bytes(1_000))
            await trio.testing.wait_all_tasks_blocked()
            waiting = channels - 1
            while waiting:
                message = await world.server.receive()
                waiting -= message.payload != b""
                held.append(message)
            assert {event.body for event in await world.server.rest()} <= {b""}  # it is told
            with counted() as work:
                await round_trips(world, 50)
            assert world.server.ampe.statistics().channels == channels + 1
            for message in held:
                world.put(Holder(message))
        return work

    few, many = await work(10), await work(80)
    assert many.total < 1.3 * few.total, many.most()
