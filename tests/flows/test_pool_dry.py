"""A peer that sends faster than the application puts messages back (PROTOCOL 4, pool empty)."""

import contextlib
import itertools
import time
from typing import Final

import attrs
import pytest
import trio
import trio.testing

from pytofu import (
    AllocationStrategy,
    AmpeStatus,
    Holder,
    Message,
    OpCode,
    Options,
    TLSServerAddress,
)
from tests.flows.flood import Keeper, flood_of, numbered, numbered_events
from tests.support import (
    HELLO_HEADERS,
    PATIENCE,
    Event,
    RawPair,
    RawPeer,
    ServerAddress,
    Side,
    closed,
    frame,
    from_app,
    from_engine,
    hello,
    open_app,
    open_pair,
    open_raw_pair,
    pool_empty,
)

POOL: Final = 8
SMALL_POOL: Final = Options(initial_pool_msgs=POOL, max_pool_msgs=POOL, channel_share=1)


# ---------------------------------------------------------------------- one spell


async def test_reading_stops_and_goes_on_message_by_message(
    address: ServerAddress, side: Side
) -> None:
    async with open_raw_pair(side, address, options=SMALL_POOL) as pair:
        number = pair.end.number
        keeper = Keeper(pair.app)
        await pair.peer.send(flood_of(0, 20))
        assert await keeper.keep() == [*numbered_events(number, 0, 8), pool_empty(number)]
        assert pair.app.ampe.statistics().pool_free == 0
        assert await keeper.keep() == []
        for i in range(8, 20):
            keeper.put(1)
            assert await keeper.keep() == numbered_events(number, i, i + 1)
        keeper.put(POOL)
        assert await keeper.keep() == []
        assert pair.app.ampe.statistics().pool_free == POOL
        await pair.peer.send(numbered(20))
        assert await keeper.keep() == numbered_events(number, 20, 21)


async def test_a_spell_ends_when_the_pool_is_half_full_again(
    address: ServerAddress, side: Side
) -> None:
    async with open_raw_pair(side, address, options=SMALL_POOL) as pair:
        number = pair.end.number
        keeper = Keeper(pair.app)
        await pair.peer.send(flood_of(0, 100))
        assert await keeper.keep() == [*numbered_events(number, 0, 8), pool_empty(number)]
        keeper.put(3)
        assert await keeper.keep() == numbered_events(number, 8, 11)
        assert pair.app.ampe.statistics().pool_spells == 1
        keeper.put(4)
        assert await keeper.keep() == [*numbered_events(number, 11, 15), pool_empty(number)]
        assert pair.app.ampe.statistics().pool_spells == 2
        keeper.put(3)
        assert await keeper.keep() == numbered_events(number, 15, 18)
        keeper.put(8)
        assert await keeper.keep() == [*numbered_events(number, 18, 26), pool_empty(number)]
        assert pair.app.ampe.statistics().pool_spells == 3


async def test_exactly_as_many_messages_as_the_pool_has(address: ServerAddress, side: Side) -> None:
    """The pool is empty, but nobody wants more: no spell."""
    async with open_raw_pair(side, address, options=SMALL_POOL) as pair:
        keeper = Keeper(pair.app)
        await pair.peer.send(flood_of(0, 8) + numbered(8)[:20])
        assert await keeper.keep() == numbered_events(pair.end.number, 0, 8)
        assert pair.app.ampe.statistics().pool_spells == 0
        await pair.peer.send(numbered(8)[20:])
        assert await keeper.keep() == [pool_empty(pair.end.number)]
        keeper.put(1)
        assert await keeper.keep() == numbered_events(pair.end.number, 8, 9)


async def test_the_pool_itself_while_it_is_dry(address: ServerAddress) -> None:
    async with open_raw_pair("server", address, options=SMALL_POOL) as pair:
        keeper = Keeper(pair.app)
        ampe = pair.app.ampe
        ours = ampe.get(AllocationStrategy.POOL_ONLY)
        await pair.peer.send(flood_of(0, 20))
        assert await keeper.keep() == [
            *numbered_events(pair.end.number, 0, 7),
            pool_empty(pair.end.number),
        ]
        assert ampe.get(AllocationStrategy.POOL_ONLY) is None
        extra = Holder[Message](ampe.get(AllocationStrategy.ALWAYS))
        assert await keeper.keep() == []
        ampe.put(extra)
        assert await keeper.keep() == numbered_events(pair.end.number, 7, 8)
        ampe.put(Holder(ours))
        assert await keeper.keep() == []  # the channel has its share, which is as much as the pool


# ---------------------------------------------------------------------- floods


LARGE: Final = 2000


async def flood(pair: RawPair, sent: list[int]) -> None:
    """Send numbered frames for ever; `sent` tells how many bytes so far."""
    for i in itertools.count(step=100):
        view = memoryview(flood_of(i, i + 100, LARGE))
        while view:
            count = await pair.peer.sock.send(view)
            sent[0] += count
            view = view[count:]


async def test_an_endless_flood(address: ServerAddress, side: Side) -> None:
    """Nobody reads: the peer is held back, memory stays, and the processor has nothing to do."""
    if isinstance(address, TLSServerAddress):
        pytest.skip("over TLS the raw peer cannot tell how much of what it gave up has gone out")
    async with open_raw_pair(side, address, options=SMALL_POOL) as pair:
        number = pair.end.number
        keeper = Keeper(pair.app)
        sent = [0]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood, pair, sent)
            assert await keeper.keep() == [
                *numbered_events(number, 0, 8, LARGE),
                pool_empty(number),
            ]
            await trio.testing.wait_all_tasks_blocked(0.05)  # the flood is held back
            before = pair.app.chnls.statistics()
            sent_before = sent[0]
            cpu = time.process_time()
            await trio.sleep(0.2)
            assert time.process_time() - cpu < 0.02
            assert sent[0] == sent_before
            assert pair.app.chnls.statistics() == before
            assert before.messages_waiting == 0
            assert before.bytes_received < 1_000_000
            # One put, one message: and still nothing more is read.
            keeper.put(1)
            assert await keeper.keep() == numbered_events(number, 8, 9, LARGE)
            assert pair.app.chnls.statistics().bytes_received == before.bytes_received
            nursery.cancel_scope.cancel()
        pair.peer.fin()
        whole = sent[0] // len(numbered(0, LARGE))
        keeper.put(POOL)
        events = await pair.end.events_until_closed()
        assert [event for event in events if event.status is not AmpeStatus.POOL_EMPTY] == [
            *numbered_events(number, 9, whole, LARGE),
            pair.end.closed(AmpeStatus.PEER_DISCONNECTED),
        ]
        signals = events.count(pool_empty(number))
        assert 1 + signals == pair.app.ampe.statistics().pool_spells


async def test_a_slow_receiver_is_told_once(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address, options=SMALL_POOL) as pair:
        await pair.peer.send(flood_of(0, 200))
        events: list[Event] = []
        while len(events) < 201:
            events.append(await pair.app.event())
            await trio.testing.wait_all_tasks_blocked()
        assert events.count(pool_empty(pair.end.number)) == 1
        events.remove(pool_empty(pair.end.number))
        assert events == numbered_events(pair.end.number, 0, 200)
        assert await pair.app.rest() == []


async def test_several_floods_share_what_there_is(address: ServerAddress) -> None:
    """Each channel says once a spell that it has stopped, and each gets on.

    Who comes too late for the pool gets the one message that every channel may hold.
    """
    async with open_app(SMALL_POOL) as app, contextlib.AsyncExitStack() as stack:
        listener = await app.listen(address)
        peers: dict[int, RawPeer] = {}
        for _ in range(3):
            peer = stack.enter_context(await RawPeer.connect(listener.client_address))
            await peer.send(hello(5))
            peers[(await app.event()).channel] = peer
        keeper = Keeper(app)
        for peer in peers.values():
            await peer.send(flood_of(0, 40))
        events = await keeper.keep()
        assert len(events) == (POOL + 2) + 3
        assert app.ampe.statistics().pool_free == 0
        assert {event for event in events if event.status is AmpeStatus.POOL_EMPTY} == {
            pool_empty(number) for number in peers
        }
        while keeper.kept:
            keeper.put(1)
            events += await keeper.keep()
        for number in peers:
            of_channel = [event for event in events if event.channel == number]
            assert of_channel.count(pool_empty(number)) == 1
            of_channel.remove(pool_empty(number))
            assert of_channel == numbered_events(number, 0, 40)
        assert app.ampe.statistics().pool_spells == 1
        assert app.ampe.statistics().pool_free == POOL


async def test_no_channel_starves_while_another_floods(address: ServerAddress) -> None:
    """The first message of the quiet one passes all that waits; the next has its turn."""
    async with open_app(SMALL_POOL) as app:
        listener = await app.listen(address)
        with (
            await RawPeer.connect(listener.client_address) as loud,
            await RawPeer.connect(listener.client_address) as quiet,
        ):
            await loud.send(hello(5))
            loud_number = (await app.event()).channel
            await quiet.send(hello(5))
            quiet_number = (await app.event()).channel
            await loud.send(flood_of(0, 500))
            await trio.testing.wait_all_tasks_blocked(0.002)
            await quiet.send(numbered(0) + numbered(1))
            await trio.testing.wait_all_tasks_blocked(0.002)
            assert (await app.event()).channel == loud_number
            kept = await app.receive()
            assert [Event.of(kept)] == numbered_events(quiet_number, 0, 1)
            assert (await app.event()).channel == loud_number
            assert await app.event() == pool_empty(quiet_number)
            loud_ones = 0
            while (event := await app.event()).channel == loud_number:
                loud_ones += event.status is AmpeStatus.SUCCESS
                await trio.testing.wait_all_tasks_blocked()
            assert [event] == numbered_events(quiet_number, 1, 2)
            assert loud_ones <= POOL


async def test_a_channel_that_closes_when_its_turn_has_come_passes_it_on(
    address: ServerAddress,
) -> None:
    async with open_app(SMALL_POOL) as app:
        listener = await app.listen(address)
        keeper = Keeper(app)
        numbers: list[int] = []
        with (
            await RawPeer.connect(listener.client_address) as first,
            await RawPeer.connect(listener.client_address) as second,
        ):
            for peer in (first, second):
                await peer.send(hello(5))
                numbers.append((await app.event()).channel)
                await peer.send(flood_of(0, 20))
                await keeper.keep()
            farewell = Message()  # which the pool has nothing to do with
            farewell.opcode = OpCode.BYE_SIGNAL
            farewell.channel_number = numbers[0]
            keeper.put(2)  # one for the second's, which was one too many, and one that is free
            app.chnls.post(Holder(farewell))
            events = [event for event in await keeper.keep() if event.channel == numbers[1]]
            assert events == numbered_events(numbers[1], 1, 2)


async def test_send_waits_for_a_receiver_that_does_not_read(
    address: ServerAddress, side: Side
) -> None:
    """From pool to pool: the sender is held back too, and in the end nothing is lost."""
    high_water = 100_000
    body = bytes(10_000)
    options = Options(initial_pool_msgs=POOL, max_pool_msgs=POOL, high_water=high_water)
    async with open_pair(address, client_options=options, server_options=options) as pair:
        near, far = pair.ends(side)
        sent: list[int] = []

        async def send() -> None:
            for i in range(2000):
                await near.app.chnls.send(
                    near.app.message(OpCode.REQUEST, near.number, 1000 + i, body=body)
                )
                sent.append(i)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked(0.02)
            held_back_at = len(sent)
            assert held_back_at < 2000
            statistics = near.app.chnls.statistics()
            queued = held_back_at * (len(body) + 16) - statistics.bytes_sent
            assert queued <= high_water + len(body) + 16
            received: list[Event] = []
            while len(received) < 2000:
                event = await far.app.event()
                if event != pool_empty(far.number):
                    received.append(event)
        assert received == [
            from_app(OpCode.REQUEST, far.number, 1000 + i, body=body) for i in range(2000)
        ]


# ---------------------------------------------------------------------- other things meanwhile


async def test_posting_goes_on_while_the_pool_is_dry(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address, options=SMALL_POOL) as pair:
        keeper = Keeper(pair.app)
        await pair.peer.send(flood_of(0, 20))
        await keeper.keep()
        pair.app.chnls.post(Holder(_answer(keeper.kept.popleft())))
        answer = await pair.peer.receive_frame()
        assert (answer.opcode, answer.message_id) == (OpCode.RESPONSE, 1000)
        # What is sent goes back to the pool, so that one more can be received.
        assert await keeper.keep() == numbered_events(pair.end.number, 8, 9)


def _answer(message: Message) -> Message:
    message.opcode = OpCode.RESPONSE
    return message


async def test_the_peer_goes_while_the_pool_is_dry(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address, options=SMALL_POOL) as pair:
        keeper = Keeper(pair.app)
        await pair.peer.send(flood_of(0, 20))
        pair.peer.close()
        assert len(await keeper.keep()) == POOL + 1
        events: list[Event] = []
        while keeper.kept:
            keeper.put(1)
            events += await keeper.keep()
        assert events == [
            *numbered_events(pair.end.number, 8, 20),
            pair.end.closed(AmpeStatus.PEER_DISCONNECTED),
        ]


async def test_aborting_while_the_pool_is_dry(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address, options=SMALL_POOL) as pair:
        keeper = Keeper(pair.app)
        await pair.peer.send(flood_of(0, 20))
        await keeper.keep()
        pair.end.post(OpCode.BYE_SIGNAL, 9)
        assert await pair.end.events_until_closed() == [
            from_engine(OpCode.BYE_SIGNAL, AmpeStatus.CHANNEL_CLOSED, pair.end.number, 9),
            pair.end.closed(AmpeStatus.CHANNEL_CLOSED),
        ]
        keeper.put(POOL)
        assert await pair.app.rest() == []


async def test_a_bye_behind_a_dry_pool(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address, options=SMALL_POOL) as pair:
        keeper = Keeper(pair.app)
        pair.end.post(OpCode.BYE_REQUEST, 9)
        assert (await pair.peer.receive_frame()).opcode is OpCode.BYE_REQUEST
        await pair.peer.send(flood_of(0, 8) + frame(OpCode.BYE_RESPONSE, 9))
        assert await keeper.keep() == [
            *numbered_events(pair.end.number, 0, 8),
            pool_empty(pair.end.number),
        ]
        keeper.put(1)
        assert await keeper.keep() == [
            from_app(OpCode.BYE_RESPONSE, pair.end.number, 9),
            pair.end.closed(AmpeStatus.SUCCESS),
        ]


async def test_a_violation_behind_a_dry_pool_does_not_wait(
    address: ServerAddress, side: Side
) -> None:
    async with open_raw_pair(side, address, options=SMALL_POOL) as pair:
        keeper = Keeper(pair.app)
        await pair.peer.send(flood_of(0, 8) + frame(15))
        assert await keeper.keep() == [
            *numbered_events(pair.end.number, 0, 8),
            pair.end.closed(AmpeStatus.INVALID_OP_CODE),
        ]


async def test_leaving_while_the_pool_is_dry(address: ServerAddress, side: Side) -> None:
    with trio.fail_after(PATIENCE):
        async with open_raw_pair(side, address, options=SMALL_POOL) as pair:
            await pair.peer.send(flood_of(0, 20))
            await Keeper(pair.app).keep()
            pair.peer.fin()
            pair.end.post(OpCode.REQUEST, 9, body=b"last words")
            await pair.app.ampe.destroy(pair.app.chnls)
            assert (await pair.peer.receive_frame()).body == b"last words"


async def test_no_timeout_runs_while_the_pool_is_dry(
    address: ServerAddress, clock: trio.testing.MockClock
) -> None:
    """It is our own application that is slow, not the peer."""
    short = 0.1
    options = attrs.evolve(SMALL_POOL, hello_timeout=short, frame_timeout=short)
    async with open_app(options) as app:
        listener = await app.listen(address)
        keeper = Keeper(app)
        with (
            await RawPeer.connect(listener.client_address) as first,
            await RawPeer.connect(listener.client_address) as second,
        ):
            await first.send(hello(5))
            number = (await app.event()).channel
            await first.send(flood_of(0, 9) + numbered(9)[:20])
            assert await keeper.keep() == [*numbered_events(number, 0, 8), pool_empty(number)]
            await second.send(hello(6) + numbered(0) + numbered(1)[:20])
            greeting, told = await keeper.keep()
            other = greeting.channel
            assert greeting == from_app(OpCode.HELLO_REQUEST, other, 6, headers=HELLO_HEADERS)
            assert told == pool_empty(other)
            await trio.sleep(3 * short)
            assert await keeper.keep() == []
            keeper.put(3)  # for one each: the second's hello was one too many
            events = await keeper.keep()
            assert sorted(events, key=lambda event: event.message_id) == [
                *numbered_events(other, 0, 1),
                *numbered_events(number, 8, 9),
            ]
            keeper.put(POOL)
            await first.send(numbered(9)[20:])
            await second.send(numbered(1)[20:])
            events = await keeper.keep()
            assert sorted(events, key=lambda event: event.message_id) == [
                *numbered_events(other, 1, 2),
                *numbered_events(number, 9, 10),
            ]
            first.close()
            assert await app.event() == closed(number, 5, AmpeStatus.PEER_DISCONNECTED)


async def test_another_engine_is_not_concerned(address: ServerAddress) -> None:
    async with (
        open_raw_pair("server", address, options=SMALL_POOL) as dry,
        open_app(SMALL_POOL) as other,
    ):
        await dry.peer.send(flood_of(0, 20))
        await Keeper(dry.app).keep()
        assert other.ampe.statistics().pool_free == POOL
        other.chnls.update_receiver(Holder())
        assert (await other.event()).status is AmpeStatus.RECEIVER_UPDATE
