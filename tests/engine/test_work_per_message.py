"""What a message costs an engine does not grow: with time, with channels, or with what waits.

Counted, not timed (`tests/work.py`): so of pure Python only. What depends on when the system has
what is ready varies from run to run by a few per cent, and so does the ratio of what many cost to
what few do: it may be 1.3. What goes through a reactor that has more to look at may be twice as
much. Where the work grew it was several times that.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio
import trio.testing

import pytofu
from pytofu import AllocationStrategy, AmpeStatus, Holder, OpCode, Options
from tests.support import (
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
from tests.work import Work, counted, grown, sizes

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


async def answer(world: World) -> None:
    """Send back what comes to the server."""
    async for holder in world.server.chnls:
        holder.unwrap().opcode = OpCode.RESPONSE
        await world.server.chnls.send(holder)


async def stream(world: World, count: int, body: bytes, under_way: int) -> None:
    """So many messages there and back on the first channel, some of them under way at a time."""
    client = world.client
    for number in range(count + under_way):
        if number < count:
            world.clients[0].post(OpCode.REQUEST, number + 1, body=body)
        if number >= under_way:
            assert len((await client.event()).body) == len(body)


# ---------------------------------------------------------------------- for long


@pytest.mark.parametrize("under_way", [1, 12])
@pytest.mark.parametrize("body", [b"x", bytes(65_535)], ids=["small", "large"])
@pytest.mark.parametrize("kind", ["tcp", "tls", "mem"])
async def test_the_last_message_costs_what_the_first_one_did(
    kind: Kind, body: bytes, under_way: int, tmp_path: Path
) -> None:
    """Where a link always had more to give, it asked to be served again ever more often."""
    async with open_world(kind, tmp_path, 1) as world, trio.open_nursery() as nursery:
        nursery.start_soon(answer, world)
        roots = (world.server.ampe, world.server.chnls, world.client.ampe, world.client.chnls)
        await stream(world, 20, body, under_way)
        before = sizes(*roots)
        with counted() as first:
            await stream(world, 60, body, under_way)
        with counted() as long:
            await stream(world, 240, body, under_way)
        with counted() as last:
            await stream(world, 60, body, under_way)
        assert last.total < 1.3 * first.total, last.most()
        assert long.total < 1.3 * first.total * 240 / 60, long.most()
        # Four a message with the largest over memory, which has room for no more than one of them.
        assert long.steps["PollingReactor._serve_again", "rounds"] < 3 * 4 * 240
        assert grown(before, sizes(*roots)) == {}
        nursery.cancel_scope.cancel()


async def test_channels_that_come_and_go_leave_nothing(tmp_path: Path) -> None:
    async with open_world("tcp", tmp_path, 1) as world:

        async def come_and_go(count: int) -> None:
            for _ in range(count):
                client, server = await connect_apps(world.client, world.listener)
                client.post(OpCode.BYE_REQUEST)
                request = await world.server.event()
                server.post(OpCode.BYE_RESPONSE, request.message_id)
                await client.events_until_closed()
                await server.events_until_closed()
            await trio.testing.wait_all_tasks_blocked()

        roots = (world.server.ampe, world.server.chnls, world.client.ampe, world.client.chnls)
        await come_and_go(10)
        before = sizes(*roots)
        with counted() as first:
            await come_and_go(20)
        await come_and_go(80)
        with counted() as last:
            await come_and_go(20)
        assert last.total < 1.1 * first.total
        # Numbers closed last are not given out again: 1,024 at the most.
        left = {where.split(".")[0] for where in grown(before, sizes(*roots))}
        assert left == {"ChannelNumbers"}


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
    # One of sixteen that are ready is served: no more than so many are looked at for each.
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


async def test_those_whose_share_is_used_up_cost_the_others_nothing(tmp_path: Path) -> None:
    """Whoever waited to receive asked each of them, for each message, whether it had room again."""

    async def work(channels: int) -> Work:
        pool = 8 * channels
        options = attrs.evolve(
            _OPTIONS, initial_pool_msgs=pool, max_pool_msgs=pool, channel_share=2.5 / pool
        )
        async with open_world("tcp", tmp_path, channels, options) as world:
            for end in world.clients[1:]:
                for _ in range(3):
                    end.post(OpCode.SIGNAL, body=b"x")
            held: list[pytofu.Message] = []
            told = 0
            while told < channels - 1:  # that it is the program who has all of its share
                message = await world.server.receive()
                told += message.status is AmpeStatus.POOL_EMPTY
                held.append(message)
            assert len(held) == 3 * (channels - 1)
            await round_trips(world, 1)
            with counted() as work:
                await round_trips(world, 50)
            for message in held:
                world.put(Holder(message))
            for _ in range(channels - 1):  # what waited
                while not (await world.server.event()).body:
                    pass
        return work

    few, many = await work(4), await work(64)
    assert many.total < 1.3 * few.total, many.most()


async def test_messages_that_have_only_begun_cost_the_others_nothing(tmp_path: Path) -> None:
    async def work(channels: int) -> Work:
        async with open_world("tcp", tmp_path, 1) as world, AsyncExitStack() as stack:
            for _ in range(channels):
                raw = await RawPeer.connect(world.listener.client_address)
                stack.callback(raw.close)
                await raw.send(hello())
                end = (await world.server.event()).channel
                world.server.post(OpCode.HELLO_RESPONSE, end, 1)
                await raw.receive_frame()
                await raw.send(frame(OpCode.SIGNAL, 3, body=_LARGE)[:1_000])
            await trio.testing.wait_all_tasks_blocked()
            with counted() as work:
                await round_trips(world, 50, _LARGE)
        return work

    few, many = await work(2), await work(32)
    assert many.total < 1.3 * few.total, many.most()


# ---------------------------------------------------------------------- with many who wait


async def test_many_who_wait_to_send_cost_no_more_a_message_than_few(tmp_path: Path) -> None:
    async def work(tasks: int) -> Work:
        options = attrs.evolve(_OPTIONS, initial_pool_msgs=16, max_pool_msgs=16)
        async with open_world("uds", tmp_path, 1, options) as world:
            number = world.clients[0].number

            async def send() -> None:
                for _ in range(256 // tasks):
                    await world.client.chnls.send(
                        world.client.message(OpCode.SIGNAL, number, body=_LARGE)
                    )

            with counted() as work:
                async with trio.open_nursery() as nursery:
                    for _ in range(tasks):
                        nursery.start_soon(send)
                    received = 0
                    while received < 256:
                        received += len((await world.server.event()).body) > 0
        return work

    few, many = await work(4), await work(128)
    assert many.total < 1.5 * few.total, many.most()
