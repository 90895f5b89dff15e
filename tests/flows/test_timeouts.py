"""Peers that are silent, or too slow (PROTOCOL 4 and 5)."""

import pytest
import trio
from trio.testing import MockClock

from pytofu import AmpeStatus, OpCode, Options
from tests.support import (
    FIN,
    HELLO_HEADERS,
    RawListener,
    RawPeer,
    ServerAddress,
    Side,
    abort_ending,
    address_headers,
    clog,
    closed,
    frame,
    from_app,
    from_engine,
    hello,
    open_app,
    open_raw_pair,
)

SHORT = 0.05
"""Seconds of the timeout under test."""
LONGER_NS = 150_000_000
"""Nanoseconds in which it has surely passed."""


async def drip(peer: RawPeer, data: bytes) -> None:
    """Send a byte every now and then, until the other side has had enough."""
    try:
        for byte in data:
            await peer.send(bytes([byte]))
            await trio.sleep(SHORT / 5)
    except OSError:
        return


@pytest.mark.parametrize("sent", [0, 1, 16, -1])
async def test_no_whole_hello_in_time(address: ServerAddress, sent: int, clock: MockClock) -> None:
    async with open_app(Options(hello_timeout=SHORT, frame_timeout=60)) as app:
        listener = await app.listen(address)
        with await RawPeer.connect(listener.client_address) as peer:
            await peer.send(hello(5, body=b"abc")[:sent])
            event = await app.event()
            assert event == closed(event.channel, 0, AmpeStatus.NOT_ALLOWED)
            assert event.detail == "hello_timeout"
            assert await peer.ending() == (b"", abort_ending(address))
        assert await app.rest() == []


async def test_a_hello_that_drips_in(address: ServerAddress, clock: MockClock) -> None:
    async with open_app(Options(hello_timeout=SHORT, frame_timeout=60)) as app:
        listener = await app.listen(address)
        with await RawPeer.connect(listener.client_address) as peer:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(drip, peer, hello(5))
                event = await app.event()
                assert event == closed(event.channel, 0, AmpeStatus.NOT_ALLOWED)


async def test_the_hello_timeout_ends_with_the_hello(
    address: ServerAddress, clock: MockClock
) -> None:
    async with open_app(Options(hello_timeout=SHORT, frame_timeout=60)) as app:
        listener = await app.listen(address)
        with await RawPeer.connect(listener.client_address) as peer:
            await peer.send(hello(5) + frame(OpCode.REQUEST, 6)[:3])
            event = await app.event()
            assert event == from_app(OpCode.HELLO_REQUEST, event.channel, 5, headers=HELLO_HEADERS)
            assert await app.chnls.wait_receive(timeout_ns=LONGER_NS) is None
            await peer.send(frame(OpCode.REQUEST, 6)[3:])
            assert await app.event() == from_app(OpCode.REQUEST, event.channel, 6)


async def test_a_hello_that_nobody_answers(address: ServerAddress, clock: MockClock) -> None:
    """It comes back, and so does what was sent behind it: nobody has cared for it."""
    with RawListener(address) as listener:
        async with open_app(Options(hello_timeout=SHORT)) as app:
            end = app.connect(listener.client_address, body=b"abc")
            end.post(OpCode.REQUEST, 6, body=b"behind")
            with await listener.accept() as peer:
                assert (await peer.receive_frame()).opcode is OpCode.HELLO_REQUEST
                assert (await peer.receive_frame()).opcode is OpCode.REQUEST
                status = AmpeStatus.CONNECT_FAILED
                events = await end.events_until_closed()
                headers = address_headers(listener.client_address)
                assert events == [
                    from_engine(
                        OpCode.HELLO_REQUEST,
                        status,
                        end.number,
                        end.message_id,
                        headers=headers,
                        body=b"abc",
                    ),
                    from_engine(OpCode.REQUEST, status, end.number, 6, body=b"behind"),
                    end.closed(status),
                ]
                assert events[-1].detail == "hello_timeout"
                assert await peer.ending() == (b"", abort_ending(address))


@pytest.mark.parametrize("sent", [1, 15, 16, 20, -1])
async def test_a_frame_begun_and_not_finished(
    address: ServerAddress, side: Side, sent: int, clock: MockClock
) -> None:
    whole = frame(OpCode.REQUEST, 8)
    begun = frame(OpCode.REQUEST, 9, text=b"a:b\r\n", body=b"body")[:sent]
    async with open_raw_pair(side, address, options=Options(frame_timeout=SHORT)) as pair:
        await pair.peer.send(whole + begun)
        events = await pair.end.events_until_closed()
        assert events == [
            from_app(OpCode.REQUEST, pair.end.number, 8),
            pair.end.closed(AmpeStatus.RECV_FAILED),
        ]
        assert events[-1].detail == "frame_timeout"
        assert await pair.peer.ending() == (b"", abort_ending(address))


async def test_a_frame_that_drips_in(address: ServerAddress, side: Side, clock: MockClock) -> None:
    """The time runs from its first byte, not from its latest."""
    options = Options(frame_timeout=SHORT)
    async with (
        open_raw_pair(side, address, options=options) as pair,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(drip, pair.peer, frame(OpCode.REQUEST, 9, body=b"x" * 50))
        assert await pair.end.events_until_closed() == [pair.end.closed(AmpeStatus.RECV_FAILED)]


async def test_the_first_frame_of_a_server_that_stops_in_the_middle(
    address: ServerAddress, clock: MockClock
) -> None:
    async with open_app(Options(frame_timeout=SHORT)) as app:
        listener = await app.listen(address)
        with await RawPeer.connect(listener.client_address) as peer:
            await peer.send(hello(5)[:10])
            # The hello has hello_timeout, the default, which is longer.
            assert await app.chnls.wait_receive(timeout_ns=LONGER_NS) is None
            await peer.send(hello(5)[10:])
            assert (await app.event()).opcode is OpCode.HELLO_REQUEST


async def test_an_answer_to_a_hello_begun_and_not_finished(
    address: ServerAddress, clock: MockClock
) -> None:
    with RawListener(address) as listener:
        async with open_app(Options(frame_timeout=SHORT)) as app:
            end = app.connect(listener.client_address)
            with await listener.accept() as peer:
                await peer.receive_frame()
                # Silence is no offence.
                assert await app.chnls.wait_receive(timeout_ns=LONGER_NS) is None
                await peer.send(frame(OpCode.HELLO_RESPONSE, 5)[:10])
                assert await end.events_until_closed() == [end.closed(AmpeStatus.RECV_FAILED)]


async def test_each_frame_has_its_own_time(
    address: ServerAddress, side: Side, clock: MockClock
) -> None:
    """Frames that begin in one piece and end in the next, for longer than the timeout."""
    data = frame(OpCode.REQUEST, 9, body=b"body")
    async with open_raw_pair(side, address, options=Options(frame_timeout=4 * SHORT)) as pair:
        await pair.peer.send(data[:5])
        for _ in range(6):
            await trio.sleep(SHORT)
            await pair.peer.send(data[5:] + data[:5])
            assert await pair.app.event() == from_app(
                OpCode.REQUEST, pair.end.number, 9, body=b"body"
            )


async def test_a_silent_peer_may_be_silent(
    address: ServerAddress, side: Side, clock: MockClock
) -> None:
    options = Options(
        connect_timeout=SHORT,
        hello_timeout=SHORT,
        frame_timeout=SHORT,
        send_timeout=SHORT,
        bye_timeout=SHORT,
        close_timeout=SHORT,
    )
    async with open_raw_pair(side, address, options=options) as pair:
        assert await pair.app.chnls.wait_receive(timeout_ns=LONGER_NS) is None
        await pair.peer.send(frame(OpCode.REQUEST, 9))
        assert await pair.app.event() == from_app(OpCode.REQUEST, pair.end.number, 9)


async def test_a_peer_that_does_not_read_is_waited_for(
    address: ServerAddress, side: Side, clock: MockClock
) -> None:
    """No other timeout bounds how long unsent messages wait while the channel is open."""
    options = Options(hello_timeout=SHORT, frame_timeout=SHORT, close_timeout=SHORT)
    async with open_raw_pair(side, address, options=options, receive_buffer=65536) as pair:
        clogged = await clog(pair)
        assert await pair.app.chnls.wait_receive(timeout_ns=LONGER_NS) is None
        stream = clogged.stream()
        assert await pair.peer.receive_bytes(len(stream)) == stream
        assert await pair.app.rest() == []


async def test_a_peer_that_takes_nothing(
    address: ServerAddress, side: Side, clock: MockClock
) -> None:
    options = Options(send_timeout=SHORT)
    async with open_raw_pair(side, address, options=options, receive_buffer=4096) as pair:
        clogged = await clog(pair)
        events = await pair.end.events_until_closed()
        assert events == [
            *clogged.unsent(AmpeStatus.COMMUNICATION_FAILED),
            pair.end.closed(AmpeStatus.SEND_FAILED),
        ]
        assert events[-1].detail == "send_timeout"
        received, ending = await pair.peer.ending()
        assert clogged.stream().startswith(received)
        assert ending == abort_ending(address)


async def test_a_peer_that_takes_little_by_little(
    address: ServerAddress, side: Side, clock: MockClock
) -> None:
    """The time runs from what it took last."""
    options = Options(send_timeout=4 * SHORT)
    async with open_raw_pair(side, address, options=options, receive_buffer=65536) as pair:
        clogged = await clog(pair)
        stream = clogged.stream()
        piece = len(stream) // 10 + 1
        for begin in range(0, len(stream), piece):
            await trio.sleep(SHORT)
            part = stream[begin : begin + piece]
            assert await pair.peer.receive_bytes(len(part)) == part
        assert await pair.app.rest() == []


async def test_a_bye_request_that_nobody_answers_in_time(
    address: ServerAddress, side: Side, clock: MockClock
) -> None:
    async with open_raw_pair(side, address, options=Options(bye_timeout=SHORT)) as pair:
        pair.end.post(OpCode.BYE_REQUEST, 8)
        assert (await pair.peer.receive_frame()).opcode is OpCode.BYE_REQUEST
        await pair.peer.send(frame(OpCode.REQUEST, 9))
        events = await pair.end.events_until_closed()
        assert events == [
            from_app(OpCode.REQUEST, pair.end.number, 9),
            pair.end.closed(AmpeStatus.CHANNEL_CLOSED),
        ]
        assert events[-1].detail == "bye_timeout"
        assert await pair.peer.ending() == (b"", abort_ending(address))


async def test_the_time_for_the_answer_to_a_bye_runs_from_when_the_peer_has_it(
    address: ServerAddress, side: Side, clock: MockClock
) -> None:
    options = Options(bye_timeout=10 * SHORT)
    async with open_raw_pair(side, address, options=options, receive_buffer=65536) as pair:
        clogged = await clog(pair)
        pair.end.post(OpCode.BYE_REQUEST, 8)
        assert await pair.app.chnls.wait_receive(timeout_ns=4 * LONGER_NS) is None
        await pair.peer.receive_bytes(len(clogged.stream()))
        assert (await pair.peer.receive_frame()).opcode is OpCode.BYE_REQUEST
        await pair.peer.send(frame(OpCode.BYE_RESPONSE, 8))
        assert await pair.end.events_until_closed() == [
            from_app(OpCode.BYE_RESPONSE, pair.end.number, 8),
            pair.end.closed(AmpeStatus.SUCCESS),
        ]


async def test_closing_waits_for_a_peer_that_does_not_read_only_so_long(
    address: ServerAddress, side: Side, clock: MockClock
) -> None:
    options = Options(close_timeout=SHORT)
    async with open_raw_pair(side, address, options=options, receive_buffer=4096) as pair:
        clogged = await clog(pair)
        with trio.fail_after(10 * SHORT):
            await pair.app.ampe.destroy(pair.app.chnls)
        received, _ = await pair.peer.ending()
        assert clogged.stream().startswith(received)
        assert len(received) < len(clogged.stream())


async def test_closing_waits_for_a_peer_that_never_closes_only_so_long(
    address: ServerAddress, side: Side, clock: MockClock
) -> None:
    options = Options(close_timeout=SHORT)
    async with open_raw_pair(side, address, options=options) as pair:
        with trio.fail_after(10 * SHORT):
            await pair.app.ampe.destroy(pair.app.chnls)
        assert await pair.peer.ending() == (b"", FIN)


async def test_a_bye_answered_by_a_peer_that_does_not_read(
    address: ServerAddress, side: Side, clock: MockClock
) -> None:
    """The answer is behind what cannot be sent: it comes back, and so does all the rest."""
    options = Options(close_timeout=SHORT)
    async with open_raw_pair(side, address, options=options, receive_buffer=4096) as pair:
        clogged = await clog(pair)
        await pair.peer.send(frame(OpCode.BYE_REQUEST, 8))
        assert await pair.app.event() == from_app(OpCode.BYE_REQUEST, pair.end.number, 8)
        pair.end.post(OpCode.BYE_RESPONSE, 8)
        *returned, answer, last = await pair.end.events_until_closed()
        assert returned == clogged.unsent(AmpeStatus.CHANNEL_CLOSED)
        assert (answer.opcode, answer.status) == (OpCode.BYE_RESPONSE, AmpeStatus.CHANNEL_CLOSED)
        assert answer.message_id == 8
        assert last == pair.end.closed(AmpeStatus.CHANNEL_CLOSED)
