"""An IO channel from inside: reading, writing, and closing in awkward moments (PROTOCOL 4 to 6).

What applications and peers see of it is in tests/flows.
"""

import socket
from pathlib import Path
from typing import Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pytofu import AmpeStatus, Holder, Message, OpCode, Options
from pytofu.engine.io_channel import TURN_LEN, IoChannel
from pytofu.protocol.lifecycle import State
from tests.support import (
    FIN,
    PATIENCE,
    Event,
    RawPair,
    RawPeer,
    ServerAddress,
    Side,
    clog,
    closed,
    connect_apps,
    frame,
    from_app,
    from_engine,
    hello,
    open_app,
    open_pair,
    open_raw_pair,
    pool_empty,
    server_address_of,
)

CLOSED: Final = AmpeStatus.CHANNEL_CLOSED
SMALL_POOL: Final = Options(initial_pool_msgs=2, max_pool_msgs=2)


def channel_of(pair: RawPair) -> IoChannel:
    """The channel itself."""
    channel = pair.app.ampe._engine.numbers.open[pair.end.number]
    assert isinstance(channel, IoChannel)
    return channel


# ---------------------------------------------------------------------- reading


async def test_more_than_a_turns_worth_of_bytes_is_read(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address) as pair, trio.open_nursery() as nursery:
        count = 4 * TURN_LEN // 65_535 + 1
        frames = [frame(OpCode.SIGNAL, number, body=bytes(65_535)) for number in range(count)]
        nursery.start_soon(pair.peer.send, b"".join(frames))
        for number in range(count):
            event = await pair.app.event()
            assert (event.message_id, len(event.body)) == (number, 65_535)


async def test_a_woken_channel_that_closes_passes_the_message_on(address: ServerAddress) -> None:
    """Two channels wait for the pool. The first is woken, and aborted before it has run."""
    async with open_app(SMALL_POOL) as app:
        listener = await app.listen(address)
        peers: list[RawPeer] = []
        numbers: list[int] = []
        for message_id in (1, 2):
            peers.append(await RawPeer.connect(listener.client_address))
            await peers[-1].send(hello(message_id))
            numbers.append((await app.event()).channel)
        with peers[0], peers[1]:
            held = [Holder(app.ampe.get()), Holder(app.ampe.get())]
            news: list[Holder[Message]] = []
            for peer, number in zip(peers, numbers, strict=True):
                await peer.send(frame(OpCode.SIGNAL, 2))
                news.append(Holder(await app.receive()))
                assert Event.of(news[-1].unwrap()) == pool_empty(number)
            await wait_all_tasks_blocked()
            app.ampe.put(held.pop())
            app.post(OpCode.BYE_SIGNAL, numbers[0], 9)
            events = await app.events(3)  # each put back as it comes
        assert [event for event in events if event.channel == numbers[0]] == [
            from_engine(OpCode.BYE_SIGNAL, CLOSED, numbers[0], 9),
            closed(numbers[0], 1, CLOSED),
        ]
        assert from_app(OpCode.SIGNAL, numbers[1], 2) in events
        await app.events_until_closed(numbers[1])
        for holder in (*held, *news):
            app.ampe.put(holder)


async def test_a_bye_is_answered_in_time_although_the_pool_is_dry(
    address: ServerAddress, side: Side
) -> None:
    """The peer goes on sending behind its ByeRequest and never closes."""
    options = Options(initial_pool_msgs=2, max_pool_msgs=2, close_timeout=0.05)
    async with open_raw_pair(side, address, options=options) as pair:
        await pair.peer.send(frame(OpCode.BYE_REQUEST, 5))
        await pair.app.event()
        held = [pair.app.ampe.get(), pair.app.ampe.get()]
        response = Message()
        response.opcode = OpCode.BYE_RESPONSE
        response.channel_number = pair.end.number
        response.message_id = 5
        pair.app.chnls.post(Holder(response))
        assert (await pair.peer.receive_frame()).opcode is OpCode.BYE_RESPONSE
        assert pair.app.ampe.get() is not None  # what the answer has put back
        await pair.peer.send(frame(OpCode.SIGNAL, 6))
        news, last = Event.of(await pair.app.receive()), Event.of(await pair.app.receive())
        assert news == pool_empty(pair.end.number)
        assert last == pair.end.closed(CLOSED)
        assert len(held) == 2


async def test_the_beginning_of_a_small_frame_is_acknowledged_at_once(
    tmp_path: Path, side: Side
) -> None:
    """A peer that has not set TCP_NODELAY, as Zig tofu, sends no more before that."""

    def quick() -> int:
        sock = channel_of(pair)._sock
        assert sock is not None
        return sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK)

    async with open_raw_pair(side, server_address_of("tcp", tmp_path)) as pair:
        for message_id in range(100):  # the system delays acknowledgements to who gets answers
            await pair.peer.send(frame(OpCode.SIGNAL, message_id + 1))
            await pair.app.event()
            pair.end.post(OpCode.SIGNAL, message_id + 1)
            await pair.peer.receive_frame()
        assert not quick()
        await pair.peer.send(frame(OpCode.SIGNAL, 5, body=b"body")[:16])
        await wait_all_tasks_blocked()
        assert quick()


# ---------------------------------------------------------------------- writing


async def test_what_is_posted_while_the_socket_is_full_follows_in_order(
    address: ServerAddress, side: Side
) -> None:
    async with open_raw_pair(side, address) as pair:
        full = await clog(pair)
        for number in range(1, 100):
            pair.end.post(OpCode.SIGNAL, number)
        assert await pair.app.rest() == []
        assert await pair.peer.receive_bytes(len(full.stream())) == full.stream()
        assert [(await pair.peer.receive_frame()).message_id for _ in range(1, 100)] == [
            *range(1, 100)
        ]
        await wait_all_tasks_blocked()
        assert channel_of(pair).writer.size == 0
        pair.end.post(OpCode.SIGNAL, 100)
        assert (await pair.peer.receive_frame()).message_id == 100


async def test_messages_are_counted_when_they_are_written_whole(
    address: ServerAddress, side: Side
) -> None:
    """A broken connection costs neither the pool nor the statistics a message."""
    options = Options(initial_pool_msgs=256, max_pool_msgs=512)
    async with open_raw_pair(side, address, options=options) as pair:
        before = pair.app.chnls.statistics().messages_sent
        full = await clog(pair)
        pair.peer.reset()
        events = await pair.end.events_until_closed()
        assert pair.app.chnls.statistics().messages_sent == before + full.written
        assert len(events) == len(full.unsent(CLOSED)) + 1
        assert pair.app.ampe.statistics().pool_free == 256


async def test_the_frozen_message_is_sent_and_not_what_became_of_it(
    address: ServerAddress,
) -> None:
    async with open_pair(address) as pair:
        message = Message()
        message.opcode = OpCode.SIGNAL
        message.channel_number = pair.client.number
        message.message_id = 5
        body = message.body
        headers = message.text_headers
        body.append(b"before")
        headers.append("when", "before")
        pair.client.app.chnls.post(Holder(message))
        body.append(b"after")
        headers.append("when", "after")
        assert await pair.server.app.event() == from_app(
            OpCode.SIGNAL, pair.server.number, 5, headers=(("when", "before"),), body=b"before"
        )


# ---------------------------------------------------------------------- closing


async def test_aborting_while_it_closes_in_good_order(
    address: ServerAddress, side: Side, nursery: trio.Nursery
) -> None:
    async with open_raw_pair(side, address, options=Options(close_timeout=60)) as pair:
        await clog(pair)
        group = pair.app.chnls._group
        nursery.start_soon(pair.app.ampe.destroy, pair.app.chnls)
        await wait_all_tasks_blocked()
        assert not group.closed.is_set()
        group.close(abort=False)  # changes nothing
        await wait_all_tasks_blocked()
        assert not group.closed.is_set()
        group.close(abort=True)
        with trio.fail_after(PATIENCE):
            await group.closed.wait()
        assert pair.app.ampe.statistics().pool_free >= Options().initial_pool_msgs


async def test_closing_in_good_order_sends_the_rest_to_a_slow_peer(
    address: ServerAddress, side: Side, nursery: trio.Nursery
) -> None:
    async with open_raw_pair(side, address) as pair:
        full = await clog(pair)
        nursery.start_soon(pair.app.ampe.destroy, pair.app.chnls)
        assert await pair.peer.ending() == (full.stream(), FIN)
        pair.peer.close()
        with trio.fail_after(PATIENCE):
            await pair.app.chnls._group.closed.wait()


async def test_a_peer_that_breaks_the_connection_while_it_is_closed_in_good_order(
    address: ServerAddress, side: Side, nursery: trio.Nursery
) -> None:
    async with open_raw_pair(side, address, options=Options(close_timeout=60)) as pair:
        await clog(pair)
        nursery.start_soon(pair.app.ampe.destroy, pair.app.chnls)
        await wait_all_tasks_blocked()
        pair.peer.reset()
        with trio.fail_after(PATIENCE):
            await pair.app.chnls._group.closed.wait()


async def test_what_the_peer_sends_while_the_channel_closes_is_read_and_dropped(
    address: ServerAddress, side: Side, nursery: trio.Nursery
) -> None:
    """Left unread it would turn the end into a reset, and destroy what was sent."""
    async with open_raw_pair(side, address) as pair:
        received = pair.app.ampe.statistics().messages_received
        pair.end.post(OpCode.SIGNAL, 5)
        nursery.start_soon(pair.app.ampe.destroy, pair.app.chnls)
        await wait_all_tasks_blocked()
        await pair.peer.send(frame(OpCode.SIGNAL, 6, body=bytes(65_535)) * 40)
        last = frame(OpCode.SIGNAL, 5, channel=pair.end.number)
        assert await pair.peer.ending() == (last, FIN)
        pair.peer.close()
        with trio.fail_after(PATIENCE):
            await pair.app.chnls._group.closed.wait()
        assert pair.app.ampe.statistics().messages_received == received


@pytest.mark.parametrize("opcode", [OpCode.SIGNAL, OpCode.BYE_REQUEST, OpCode.BYE_SIGNAL])
async def test_what_is_posted_between_the_abort_and_the_end_comes_back(
    address: ServerAddress, side: Side, opcode: OpCode
) -> None:
    async with open_raw_pair(side, address) as pair:
        channel = channel_of(pair)
        pair.end.post(OpCode.BYE_SIGNAL, 1)
        pair.end.post(opcode, 2)
        assert await pair.end.events_until_closed() == [
            from_engine(OpCode.BYE_SIGNAL, CLOSED, pair.end.number, 1),
            from_engine(opcode, CLOSED, pair.end.number, 2),
            pair.end.closed(CLOSED),
        ]
        assert channel._state is State.CLOSED


async def test_a_channel_leaves_nothing_in_its_group(address: ServerAddress) -> None:
    async with open_pair(address) as pair:
        for _ in range(5):
            client, server = await connect_apps(pair.client.app, pair.listener)
            client.post(OpCode.BYE_SIGNAL, 1)
            await client.events_until_closed()
            await server.events_until_closed()
        group = pair.server.app.chnls._group
        assert len(group.channels) == 2
        assert len(group.nursery.child_tasks) == 2
