"""A channel's way out (peers/outlet.py)."""

import itertools

import pytest
import trio
import trio.testing

from pytofu import (
    AllocationFailedException,
    AllocationStrategy,
    AmpeException,
    AmpeStatus,
    Holder,
    NotSent,
    OpCode,
    Options,
    Peer,
    PeerInfo,
    connect,
    open_ampe,
)
from pytofu.peers.flow import frame_cost
from tests.peers.faults import Full
from tests.peers.pairs import connected, counted, scripted_server, serving
from tests.support import ServerAddress


async def test_nothing_is_taken_from_the_pool_for_what_is_not_posted() -> None:
    async with counted() as ampe, serving() as where, connect(where, ampe=ampe) as peer:
        outlet = peer._link.outlet
        free = ampe.statistics().pool_free
        assert not outlet.is_closed
        assert outlet.peer().scheme == "tcp"
        number, outlet.number = outlet.number, 65_534
        assert outlet.is_closed
        assert outlet.peer() == PeerInfo()
        with pytest.raises(NotSent, match="the channel has closed"):
            outlet.post(OpCode.SIGNAL)
        with pytest.raises(NotSent, match="the channel has closed"):
            await outlet.send(OpCode.SIGNAL)
        outlet.tell(OpCode.SIGNAL)
        outlet.number = number
        with pytest.raises(AmpeException):
            outlet.post(OpCode.SIGNAL, 0, bytes(70_000))
        with trio.CancelScope() as scope:
            scope.cancel()
            await outlet.send(OpCode.SIGNAL)
        assert ampe.statistics().pool_free == free


async def test_posting_needs_nothing_of_the_pool() -> None:
    async with counted() as ampe, serving() as where, connect(where, ampe=ampe) as peer:
        lent = [Holder(ampe.get()) for _ in range(ampe.statistics().pool_free)]
        assert ampe.get(AllocationStrategy.POOL_ONLY) is None
        assert peer._link.outlet.post_in_turn(OpCode.SIGNAL, 5, b"", b"")
        assert ampe.statistics().pool_free == 0
        assert (await peer.call(b"x")).body == b"x"
        assert ampe.statistics().pool_free == 0
        for holder in lent:
            ampe.put(holder)


async def test_nothing_is_posted_when_the_engine_is_closing() -> None:
    async with serving() as where, open_ampe() as ampe, connect(where, ampe=ampe) as peer:
        free = ampe.statistics().pool_free
        ampe._engine.close(abort=True)
        with pytest.raises(NotSent, match="the engine is shutting down"):
            peer._link.outlet.post_in_turn(OpCode.SIGNAL, 5, b"", b"")
        assert ampe.statistics().pool_free == free


async def test_a_peer_that_cannot_be_told_something_is_closed() -> None:
    async with connected() as both:
        outlet = both.client._link.outlet
        full, outlet._chnls = outlet._chnls, Full(outlet._chnls)
        with pytest.raises(AllocationFailedException):
            outlet.post(OpCode.SIGNAL)
        outlet.tell(OpCode.SIGNAL)
        await both.client.closed.wait()
        assert both.client.reason is AmpeStatus.CHANNEL_CLOSED
        outlet._chnls = full


async def test_what_is_queued_is_told(address: ServerAddress) -> None:
    async with connected(address=address) as both:
        assert both.client.queued_bytes == 0
        posted = _post_until_some_is_queued(both.client)
        assert 0 < both.client.queued_bytes <= posted
        assert both.server.queued_bytes == 0
        await both.client.call()  # which goes out last
        assert both.client.queued_bytes == 0
        _post_until_some_is_queued(both.client)
        both.client._link.abort()
        await both.client.closed.wait()
        assert both.client.queued_bytes == 0


def _post_until_some_is_queued(peer: Peer) -> int:
    """The bytes it took. Nobody else has a turn meanwhile."""
    posted = 0
    while not peer.queued_bytes:
        assert posted < 64 * 1024 * 1024
        posted += frame_cost(peer._link.outlet.post(OpCode.SIGNAL, 0, b"", bytes(65_000)))
    return posted


async def test_what_is_queued_is_told_of_ones_own_channels_only() -> None:
    async with (
        open_ampe() as ampe,
        ampe.open_channel_group() as chnls,
        serving() as where,
        connect(where, ampe=ampe) as peer,
    ):
        _post_until_some_is_queued(peer)
        assert chnls.queued_bytes(peer._link.outlet.number) == 0


async def test_the_proto_byte_is_a_plain_number_which_the_compiled_core_asks_for() -> None:
    async with open_ampe() as ampe, serving() as where, connect(where, ampe=ampe) as peer:
        for more in (False, True):
            holder = peer._link.outlet._message(OpCode.REQUEST, 1, b"", b"", more)
            assert type(holder.unwrap().header.proto_byte) is int
            ampe.put(holder)


async def test_what_is_posted_in_turn_is_what_would_not_have_waited() -> None:
    high_water, body = 300_000, bytes(10_000)
    async with (
        open_ampe(Options(high_water=high_water)) as ampe,
        scripted_server(ampe=ampe, receive_buffer=4096) as (peer, script),
        trio.open_nursery() as nursery,
    ):
        outlet = peer._link.outlet

        def fill() -> int:
            """Post what may be posted; how many messages that was."""
            for count in itertools.count():
                free = peer.queued_bytes <= high_water
                if not outlet.post_in_turn(OpCode.SIGNAL, 5, b"", body):
                    return count
                assert free
            raise AssertionError

        assert fill() > 0
        while peer.queued_bytes <= high_water:
            await outlet.send(OpCode.SIGNAL, 5, b"", body)
            fill()

        async def send_behind() -> None:
            await outlet.send(OpCode.SIGNAL, 5, b"behind")

        nursery.start_soon(send_behind)
        await trio.testing.wait_all_tasks_blocked()
        outlet._room = high_water
        assert fill() == 0  # who waits is not overtaken
        while (await script.expect(OpCode.SIGNAL)).text != b"behind":
            pass
        assert peer.queued_bytes == 0
        assert outlet._room < 0  # what was sent meanwhile is not forgotten
        assert fill() * len(body) > 0.9 * high_water
        nursery.cancel_scope.cancel()
