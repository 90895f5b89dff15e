"""A peer that sends and does not read: it holds up nobody else, and does not fill the memory."""

from contextlib import suppress

import pytest
import trio
import trio.testing

from pytofu import AllocationFailedException, AmpeStatus, ChannelClosedException, OpCode, Options
from tests.support import (
    End,
    Event,
    RawPeer,
    ServerAddress,
    Side,
    clog,
    frame,
    from_app,
    from_engine,
    hello,
    open_app,
    open_raw_pair,
)

CLOSED = AmpeStatus.CHANNEL_CLOSED
MIB = 1024 * 1024
SMALL_POOL = Options(initial_pool_msgs=8, max_pool_msgs=8)


async def test_what_is_queued_for_it_takes_nothing_from_the_pool(address: ServerAddress) -> None:
    """Others are received as before, though far more is queued than the pool has messages."""
    async with open_app(SMALL_POOL) as app:
        listener = await app.listen(address)
        with await RawPeer.connect(listener.client_address, receive_buffer=4096) as deaf:
            await deaf.send(hello(5))
            stuck = await app.event()
            app.post(OpCode.HELLO_RESPONSE, stuck.channel, 5)
            for _ in range(200):
                app.post(OpCode.SIGNAL, stuck.channel, 6, body=bytes(60_000))
            await trio.testing.wait_all_tasks_blocked()
            assert app.ampe.statistics().pool_free == 8
            with await RawPeer.connect(listener.client_address) as other:
                await other.send(hello(7) + frame(OpCode.REQUEST, 8))
                greeted = await app.event()
                assert (greeted.opcode, greeted.message_id) == (OpCode.HELLO_REQUEST, 7)
                assert await app.event() == from_app(OpCode.REQUEST, greeted.channel, 8)


async def test_unsent_messages_that_come_back_are_of_the_pool_again(
    address: ServerAddress,
) -> None:
    async with open_raw_pair("server", address, receive_buffer=4096) as pair:
        before = pair.app.ampe.statistics().pool_free
        clogged = await clog(pair)
        pair.peer.reset()
        events = await pair.end.events_until_closed()  # puts each message back
        assert len(events) > 1
        assert len(clogged.unsent(events[0].status)) >= len(events) - 1
        assert pair.app.ampe.statistics().pool_free == before


async def test_unsent_messages_come_back_in_pieces(address: ServerAddress, side: Side) -> None:
    """They are made as the application receives, not all at once; meanwhile the channel is gone."""
    count = 10_000
    async with open_raw_pair(side, address, receive_buffer=4096) as pair:
        clogged = await clog(pair)
        for message_id in range(count, 2 * count):
            pair.end.post(OpCode.SIGNAL, message_id)
        pair.end.post(OpCode.BYE_SIGNAL, 9)
        with pytest.raises(ChannelClosedException):
            pair.end.post(OpCode.SIGNAL, 10)
        most = 0
        events: list[Event] = []
        while not events or events[-1].reason is None:
            most = max(most, pair.app.chnls.statistics().messages_waiting)
            events.append(await pair.app.event())
        assert most <= 128
        assert events == [
            from_engine(OpCode.BYE_SIGNAL, CLOSED, pair.end.number, 9),
            *clogged.unsent(CLOSED),
            *(
                from_engine(OpCode.SIGNAL, CLOSED, pair.end.number, message_id)
                for message_id in range(count, 2 * count)
            ),
            pair.end.closed(CLOSED),
        ]
        assert await pair.app.rest() == []


async def test_nothing_more_is_taken_from_it_until_it_reads(
    address: ServerAddress,
) -> None:
    """An echo server answers everything in the end, and no answer finds its queue full."""
    count, body, limit = 300, bytes(60_000), 800_000
    options = Options(
        max_queued_bytes=limit,
        max_received_bytes=2 * limit,
        channel_share=1 / 4,
        initial_pool_msgs=4,
        max_pool_msgs=4,
    )

    async def echo(end: End) -> None:
        answered = 0
        while answered < count:
            request = await end.app.event()
            if request.opcode is OpCode.REQUEST:  # else the pool was empty
                end.post(OpCode.RESPONSE, request.message_id, body=request.body)
                answered += 1

    async def ask(peer: RawPeer) -> None:
        for message_id in range(1000, 1000 + count):
            await peer.send(frame(OpCode.REQUEST, message_id, body=body))

    async with (
        open_raw_pair("server", address, options=options, receive_buffer=4096) as pair,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(echo, pair.end)
        nursery.start_soon(ask, pair.peer)
        await trio.testing.wait_all_tasks_blocked(0.01)
        statistics = pair.app.chnls.statistics()
        assert statistics.messages_received < count
        unsent = statistics.messages_received + 1 - statistics.messages_sent
        assert limit // 2 < unsent * len(body) < limit
        for message_id in range(1000, 1000 + count):
            answer = await pair.peer.receive_frame()
            assert (answer.opcode, answer.message_id) == (OpCode.RESPONSE, message_id)


async def test_it_is_noticed_when_it_vanishes_while_nothing_is_taken_from_it(
    address: ServerAddress,
) -> None:
    options = Options(max_queued_bytes=8 * MIB, max_received_bytes=64 * MIB)
    async with open_raw_pair("server", address, options=options, receive_buffer=4096) as pair:
        clogged = await clog(pair)
        await pair.peer.send(frame(OpCode.SIGNAL, 6))
        assert await pair.app.rest() == []  # it is not read: too much is queued
        pair.peer.reset()
        received, *returned, last = await pair.end.events_until_closed()
        assert received == from_app(OpCode.SIGNAL, pair.end.number, 6)
        assert returned == clogged.unsent(AmpeStatus.COMMUNICATION_FAILED)
        assert last == pair.end.closed(AmpeStatus.COMMUNICATION_FAILED)


async def test_after_an_answered_bye_it_is_given_no_more_than_close_timeout(
    address: ServerAddress,
) -> None:
    options = Options(close_timeout=0.05, max_queued_bytes=8 * MIB, max_received_bytes=64 * MIB)
    async with open_raw_pair("server", address, options=options, receive_buffer=4096) as pair:
        await pair.peer.send(frame(OpCode.BYE_REQUEST, 5))
        await pair.app.event()
        clogged = await clog(pair)
        pair.end.post(OpCode.BYE_RESPONSE, 5)
        await pair.peer.send(frame(OpCode.SIGNAL, 6))
        events = await pair.end.events_until_closed()
        returned = [event.message_id for event in events[:-1]]
        assert returned == [message.message_id for message in clogged.unsent(CLOSED)] + [5]
        assert events[-1] == pair.end.closed(CLOSED)


async def test_posting_more_than_may_be_queued(address: ServerAddress, side: Side) -> None:
    """The message stays with its poster; there is room again when the peer has read."""
    limit, body = 500_000, bytes(60_000)
    options = Options(max_queued_bytes=limit)
    async with open_raw_pair(side, address, options=options, receive_buffer=4096) as pair:
        posted = 0
        with suppress(AllocationFailedException):
            while posted < 100:
                pair.end.post(OpCode.SIGNAL, 1000 + posted, body=body)
                posted += 1
        queued = posted * (len(body) + 16) - pair.app.chnls.statistics().bytes_sent
        assert limit < queued <= limit + len(body) + 16
        assert pair.app.ampe.statistics().limits_reached == {"max_queued_bytes": 1}
        message = pair.app.message(OpCode.SIGNAL, pair.end.number, 9)
        with pytest.raises(AllocationFailedException):
            pair.app.chnls.post(message)
        assert not message.is_empty()
        for i in range(posted):
            assert (await pair.peer.receive_frame()).message_id == 1000 + i
        pair.app.chnls.post(message)
        assert (await pair.peer.receive_frame()).message_id == 9
