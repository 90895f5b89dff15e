"""What one channel may hold of the pool, in messages and in bytes (PROTOCOL 4 and 7)."""

import os
from typing import Final

import trio
import trio.testing

from pytofu import Options
from tests.flows.flood import Keeper, flood_of, numbered, numbered_events
from tests.support import (
    Event,
    RawPair,
    RawPeer,
    ServerAddress,
    Side,
    hello,
    open_app,
    open_raw_pair,
    pool_empty,
)

POOL: Final = 16
SHARE: Final = 4
QUARTER: Final = Options(initial_pool_msgs=POOL, max_pool_msgs=POOL, channel_share=1 / 4)


async def test_who_has_used_its_share_is_held_back_alone(address: ServerAddress) -> None:
    async with open_app(QUARTER) as app:
        listener = await app.listen(address)
        keeper = Keeper(app)
        with (
            await RawPeer.connect(listener.client_address) as loud,
            await RawPeer.connect(listener.client_address) as quiet,
        ):
            await loud.send(hello(5))
            loud_number = (await app.event()).channel
            await quiet.send(hello(5))
            quiet_number = (await app.event()).channel
            await loud.send(flood_of(0, 500))
            assert await keeper.keep() == numbered_events(loud_number, 0, SHARE)
            assert app.ampe.statistics().pool_free == POOL - SHARE
            await quiet.send(flood_of(0, 3))
            assert await keeper.keep() == numbered_events(quiet_number, 0, 3)
            assert app.ampe.statistics().pool_spells == 0


async def test_reading_goes_on_when_half_the_share_is_given_back(
    address: ServerAddress, side: Side
) -> None:
    async with open_raw_pair(side, address, options=QUARTER) as pair:
        keeper = Keeper(pair.app)
        await pair.peer.send(flood_of(0, 20))
        assert await keeper.keep() == numbered_events(pair.end.number, 0, 4)
        keeper.put(1)
        assert await keeper.keep() == []
        keeper.put(1)
        assert await keeper.keep() == numbered_events(pair.end.number, 4, 6)
        keeper.put(4)
        assert await keeper.keep() == numbered_events(pair.end.number, 6, 10)


async def test_who_waits_in_vain_is_told_once(address: ServerAddress, side: Side) -> None:
    """What it holds itself is all that there is to be had: who does not wait need not know."""
    async with open_raw_pair(side, address, options=QUARTER) as pair:
        number = pair.end.number
        keeper = Keeper(pair.app)
        await pair.peer.send(flood_of(0, 8))
        for start in (0, 4):
            assert await keeper.keep() == numbered_events(number, start, start + 4)
            await pair.peer.send(numbered(8 + start // 4))
            assert await keeper.keep() == []
            assert await pair.app.event() == pool_empty(number)
            assert await pair.app.chnls.wait_receive(timeout_ns=10_000_000) is None
            keeper.put(4)
        assert await keeper.keep() == numbered_events(number, 8, 10)
        assert pair.app.ampe.statistics().pool_spells == 0


async def test_who_has_waited_before_is_told_too(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address, options=QUARTER) as pair:
        keeper = Keeper(pair.app)
        await pair.peer.send(flood_of(0, 4))
        assert await keeper.keep() == numbered_events(pair.end.number, 0, 4)
        events: list[Event] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_receive_one, pair, events)
            await trio.testing.wait_all_tasks_blocked()
            await pair.peer.send(numbered(4))
        assert events == [pool_empty(pair.end.number)]


async def test_who_waits_is_told_of_what_another_task_has_seen(
    socket_address: ServerAddress, side: Side
) -> None:
    async with open_raw_pair(side, socket_address, options=QUARTER) as pair:
        keeper = Keeper(pair.app)
        await pair.peer.send(flood_of(0, 4))
        assert await keeper.keep() == numbered_events(pair.end.number, 0, 4)
        events: list[Event] = []
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_receive_one, pair, events)
            await trio.testing.wait_all_tasks_blocked()
            assert isinstance(pair.peer.sock, trio.socket.SocketType)
            os.write(pair.peer.sock.fileno(), numbered(4))  # at once: nobody else has a turn
            assert pair.app.chnls.receive_nowait() is None
        assert events == [pool_empty(pair.end.number)]


async def _receive_one(pair: RawPair, events: list[Event]) -> None:
    events.append(await pair.app.event())


# ---------------------------------------------------------------------- bytes


LARGE: Final = 60_000
"""Bytes of a body so large that no two messages arrive together."""


async def test_a_share_of_the_bytes(address: ServerAddress, side: Side) -> None:
    """It is used up when that much is held; the last message may be larger than what was left."""
    options = Options(max_received_bytes=1_000_000, channel_share=1 / 10)
    async with (
        open_raw_pair(side, address, options=options) as pair,
        trio.open_nursery() as nursery,
    ):
        number = pair.end.number
        keeper = Keeper(pair.app)
        nursery.start_soon(pair.peer.send, flood_of(0, 4, LARGE))
        assert await keeper.keep() == numbered_events(number, 0, 2, LARGE)
        assert pair.app.ampe.statistics().bytes_held == 2 * (LARGE + 16)
        keeper.put(1)
        assert await keeper.keep() == []  # more than half of its share is held
        keeper.put(1)
        assert await keeper.keep() == numbered_events(number, 2, 4, LARGE)
        keeper.put(2)
        assert pair.app.ampe.statistics().bytes_held == 0


async def test_a_message_larger_than_the_share_is_received_all_the_same(
    address: ServerAddress, side: Side
) -> None:
    options = Options(max_received_bytes=1_000_000, channel_share=1 / 100)
    async with (
        open_raw_pair(side, address, options=options) as pair,
        trio.open_nursery() as nursery,
    ):
        number = pair.end.number
        keeper = Keeper(pair.app)
        nursery.start_soon(pair.peer.send, flood_of(0, 3, LARGE))
        for i in range(3):
            assert await keeper.keep() == numbered_events(number, i, i + 1, LARGE)
            keeper.put(1)
        assert pair.app.ampe.statistics().bytes_held == 0


async def test_what_the_receiver_has_dropped_makes_room_before_it_waits(
    address: ServerAddress,
) -> None:
    """Nobody is told of a share used up by messages that are gone."""
    options = Options(initial_pool_msgs=POOL, max_pool_msgs=POOL, channel_share=1 / POOL)
    async with open_raw_pair("server", address, options=options) as pair:
        await pair.peer.send(flood_of(0, 5))
        await trio.testing.wait_all_tasks_blocked()
        seen = []
        for _ in range(5):
            message = await pair.app.chnls.wait_receive()
            seen.append(Event.of(message))
            del message  # neither posted nor put back
        assert seen == numbered_events(pair.end.number, 0, 5)
