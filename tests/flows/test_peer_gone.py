"""Peers that close, reset, half-close or die (PROTOCOL 4)."""

import signal
import socket
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from pytofu import (
    AmpeStatus,
    ChannelClosedException,
    OpCode,
    Options,
    TLSServerAddress,
    UDSServerAddress,
)
from tests.support import (
    FIN,
    HELLO_HEADERS,
    Event,
    RawListener,
    RawPeer,
    ServerAddress,
    Side,
    address_headers,
    clog,
    closed,
    cut_ending,
    frame,
    from_app,
    from_engine,
    hello,
    open_app,
    open_raw_pair,
)


async def test_fin_behind_whole_messages(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address) as pair:
        await pair.peer.send(b"".join(frame(OpCode.REQUEST, i) for i in range(100, 200)))
        pair.peer.close()
        assert await pair.end.events_until_closed() == [
            *(from_app(OpCode.REQUEST, pair.end.number, i) for i in range(100, 200)),
            pair.end.closed(AmpeStatus.PEER_DISCONNECTED),
        ]
        assert await pair.app.rest() == []


async def test_half_close_is_answered_by_a_close(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address) as pair:
        pair.end.post(OpCode.SIGNAL, 8)
        assert (await pair.peer.receive_frame()).opcode is OpCode.SIGNAL
        await pair.peer.send(frame(OpCode.REQUEST, 9))
        pair.peer.fin()
        assert await pair.end.events_until_closed() == [
            from_app(OpCode.REQUEST, pair.end.number, 9),
            pair.end.closed(AmpeStatus.PEER_DISCONNECTED),
        ]
        assert await pair.peer.ending() == (b"", FIN)


async def test_reset_behind_whole_messages(side: Side, address: ServerAddress) -> None:
    """Over UDS a reset is the close of a socket with something unread in it."""
    async with open_raw_pair(side, address) as pair:
        await pair.peer.send(frame(OpCode.REQUEST, 8) + frame(OpCode.REQUEST, 9))
        assert await pair.app.events(2) == [
            from_app(OpCode.REQUEST, pair.end.number, 8),
            from_app(OpCode.REQUEST, pair.end.number, 9),
        ]
        pair.end.post(OpCode.SIGNAL, 10)
        assert await pair.app.rest() == []  # it is written, and not read by the peer
        pair.peer.reset()
        assert await pair.end.events_until_closed() == [
            pair.end.closed(AmpeStatus.COMMUNICATION_FAILED)
        ]
        assert await pair.app.rest() == []


@pytest.mark.parametrize("reset", [False, True])
async def test_a_frame_cut_at_every_offset_is_dropped(
    address: ServerAddress, side: Side, reset: bool
) -> None:
    whole = frame(OpCode.REQUEST, 8, body=b"whole")
    cut = frame(OpCode.REQUEST, 9, text=b"a:b\r\n", body=b"body")
    for length in range(len(cut)):
        async with open_raw_pair(side, address) as pair:
            await pair.peer.send(whole + cut[:length])
            expected = from_app(OpCode.REQUEST, pair.end.number, 8, body=b"whole")
            assert await pair.app.event() == expected
            if reset:
                pair.end.post(OpCode.SIGNAL, 10)
                assert await pair.app.rest() == []
                pair.peer.reset()
                reason = AmpeStatus.COMMUNICATION_FAILED
            else:
                pair.peer.close()
                reason = AmpeStatus.PEER_DISCONNECTED
            assert await pair.end.events_until_closed() == [pair.end.closed(reason)]


async def test_a_hello_cut_at_every_offset(address: ServerAddress) -> None:
    whole = hello(5, body=b"abc")
    async with open_app() as app:
        listener = await app.listen(address)
        for length in range(len(whole)):
            with await RawPeer.connect(listener.client_address) as peer:
                await peer.send(whole[:length])
            event = await app.event()
            assert event == closed(event.channel, 0, AmpeStatus.PEER_DISCONNECTED)
        assert await app.rest() == []
        with await RawPeer.connect(listener.client_address) as peer:
            await peer.send(whole)
            event = await app.event()
            assert event == from_app(
                OpCode.HELLO_REQUEST, event.channel, 5, headers=HELLO_HEADERS, body=b"abc"
            )


async def test_the_answer_to_a_hello_cut_at_every_offset(address: ServerAddress) -> None:
    whole = frame(OpCode.HELLO_RESPONSE, 5, body=b"abc")
    with RawListener(address) as listener:
        async with open_app() as app:
            for length in range(len(whole)):
                end = app.connect(listener.client_address, 5)
                with await listener.accept() as peer:
                    await peer.receive_frame()
                    await peer.send(whole[:length])
                assert await end.events_until_closed() == [end.closed(AmpeStatus.PEER_DISCONNECTED)]
            assert await app.rest() == []


async def test_unsent_messages_come_back_after_a_fin(address: ServerAddress, side: Side) -> None:
    """In order, the one that was partly written whole, behind what the peer still sent."""
    async with open_raw_pair(side, address, receive_buffer=4096) as pair:
        clogged = await clog(pair)
        await pair.peer.send(frame(OpCode.REQUEST, 8))
        pair.peer.fin()
        assert await pair.end.events_until_closed() == [
            from_app(OpCode.REQUEST, pair.end.number, 8),
            *clogged.unsent(AmpeStatus.CHANNEL_CLOSED),
            pair.end.closed(AmpeStatus.PEER_DISCONNECTED),
        ]
        written = clogged.stream()[: clogged.bytes_written]
        assert await pair.peer.ending() == (written, cut_ending(address))


async def test_unsent_messages_come_back_after_a_reset(address: ServerAddress, side: Side) -> None:
    async with open_raw_pair(side, address, receive_buffer=4096) as pair:
        clogged = await clog(pair)
        await pair.peer.send(frame(OpCode.REQUEST, 8))
        assert await pair.app.event() == from_app(OpCode.REQUEST, pair.end.number, 8)
        pair.peer.reset()
        assert await pair.end.events_until_closed() == [
            *clogged.unsent(AmpeStatus.COMMUNICATION_FAILED),
            pair.end.closed(AmpeStatus.COMMUNICATION_FAILED),
        ]


async def test_posts_that_find_the_peer_gone(address: ServerAddress, side: Side) -> None:
    """Posted after the peer has closed and before the engine has noticed."""
    async with open_raw_pair(side, address) as pair:
        pair.peer.close()
        pair.end.post(OpCode.REQUEST, 8, body=b"abc")
        pair.end.post(OpCode.REQUEST, 9)
        *returned, last = await pair.end.events_until_closed()
        assert last == pair.end.closed(AmpeStatus.PEER_DISCONNECTED)
        status = AmpeStatus.CHANNEL_CLOSED
        posted = [
            from_engine(OpCode.REQUEST, status, pair.end.number, 8, body=b"abc"),
            from_engine(OpCode.REQUEST, status, pair.end.number, 9),
        ]
        # Over TCP the system takes what it is given, and only then finds out.
        assert returned == posted[len(posted) - len(returned) :]


async def test_the_peer_closes_before_the_hello_is_answered(address: ServerAddress) -> None:
    with RawListener(address) as listener:
        async with open_app() as app:
            end = app.connect(listener.client_address)
            with await listener.accept() as peer:
                await peer.receive_frame()
            assert await end.events_until_closed() == [end.closed(AmpeStatus.PEER_DISCONNECTED)]


async def test_the_peer_closes_without_reading_the_hello(address: ServerAddress) -> None:
    with RawListener(address) as listener:
        async with open_app() as app:
            end = app.connect(listener.client_address)
            with await listener.accept():
                assert await app.rest() == []  # the hello is on its way
            # Over TLS its close_notify is there before the reset.
            tls = isinstance(address, TLSServerAddress)
            reason = AmpeStatus.PEER_DISCONNECTED if tls else AmpeStatus.COMMUNICATION_FAILED
            assert await end.events_until_closed() == [end.closed(reason)]


@pytest.mark.parametrize("cause", ["close", "reset"])
async def test_a_connection_that_is_gone_before_its_hello(
    address: ServerAddress, cause: str
) -> None:
    async with open_app() as app:
        listener = await app.listen(address)
        peer = await RawPeer.connect(listener.client_address)
        if cause == "reset":
            peer.reset()
        else:
            peer.close()
        event = await app.event()
        assert event.reason is not None
        assert event == closed(event.channel, 0, event.reason)
        assert event.reason in (AmpeStatus.PEER_DISCONNECTED, AmpeStatus.COMMUNICATION_FAILED)
        with await RawPeer.connect(listener.client_address) as other:
            await other.send(hello(5))
            assert (await app.event()).opcode is OpCode.HELLO_REQUEST


_VICTIM = """
import sys, trio
from pytofu import *
async def main():
    async with open_ampe() as ampe, ampe.open_channel_group() as chnls:
        with borrowed_message(ampe) as holder:
            holder.value.opcode = OpCode.HELLO_REQUEST
            holder.value.text_headers.append("~connect_to", sys.argv[1])
            chnls.post(holder)
        await trio.sleep_forever()
trio.run(main)
"""


async def test_the_peers_process_is_killed(socket_address: ServerAddress) -> None:
    async with open_app() as app:
        listener = await app.listen(socket_address)
        ((_, where),) = address_headers(listener.client_address)
        process = await trio.lowlevel.open_process([sys.executable, "-c", _VICTIM, where])
        try:
            hello_request = await app.event()
        finally:
            process.send_signal(signal.SIGKILL)
            await process.wait()
        assert hello_request.opcode is OpCode.HELLO_REQUEST
        number, message_id = hello_request.channel, hello_request.message_id
        assert await app.events_until_closed(number) == [
            closed(number, message_id, AmpeStatus.PEER_DISCONNECTED)
        ]


@pytest.mark.parametrize("ending", ["fin", "reset", "bye signal"])
async def test_a_send_that_waits_while_the_connection_ends(
    address: ServerAddress, side: Side, ending: str
) -> None:
    """Its message is not lost: it comes back, or the caller still has it."""
    options = Options(high_water=1)
    async with open_raw_pair(side, address, options=options, receive_buffer=4096) as pair:
        clogged = await clog(pair)
        holder = pair.app.message(OpCode.REQUEST, pair.end.number, 9, body=b"abc")
        refused = False

        async def send() -> None:
            nonlocal refused
            try:
                await pair.app.chnls.send(holder)
            except ChannelClosedException:
                refused = True

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked()
            assert not holder.is_empty()
            status, reason = AmpeStatus.CHANNEL_CLOSED, AmpeStatus.CHANNEL_CLOSED
            expected: list[Event] = []
            if ending == "fin":
                pair.peer.fin()
                reason = AmpeStatus.PEER_DISCONNECTED
            elif ending == "reset":
                pair.peer.reset()
                status = reason = AmpeStatus.COMMUNICATION_FAILED
            else:
                pair.end.post(OpCode.BYE_SIGNAL, 10)
                expected.append(from_engine(OpCode.BYE_SIGNAL, status, pair.end.number, 10))
            expected.extend(clogged.unsent(status))
            events = await pair.end.events_until_closed()
        if not refused:
            expected.append(from_engine(OpCode.REQUEST, status, pair.end.number, 9, body=b"abc"))
        assert events == [*expected, pair.end.closed(reason)]
        assert holder.is_empty() is not refused


async def test_a_send_that_is_cancelled_has_sent_nothing(
    address: ServerAddress, side: Side
) -> None:
    options = Options(high_water=1)
    async with open_raw_pair(side, address, options=options, receive_buffer=65536) as pair:
        clogged = await clog(pair)
        holder = pair.app.message(OpCode.REQUEST, pair.end.number, 9, body=b"abc")
        with trio.move_on_after(0.01) as cancelled:
            await pair.app.chnls.send(holder)
        assert cancelled.cancelled_caught
        assert holder.value is not None
        assert holder.value.message_id == 9
        stream = clogged.stream()
        assert await pair.peer.receive_bytes(len(stream)) == stream
        await pair.app.chnls.send(holder)  # there is room again
        received = await pair.peer.receive_frame()
        assert (received.message_id, received.body) == (9, b"abc")


async def test_a_peer_that_will_not_read_any_more(tmp_path: Path, side: Side) -> None:
    """Unix sockets can say so; what it sent before is delivered all the same."""
    async with open_raw_pair(side, UDSServerAddress(tmp_path / "s")) as pair:
        await pair.peer.send(frame(OpCode.REQUEST, 8))
        assert await pair.app.event() == from_app(OpCode.REQUEST, pair.end.number, 8)
        pair.peer.sock.shutdown(socket.SHUT_RD)
        await pair.peer.send(frame(OpCode.REQUEST, 9))
        pair.end.post(OpCode.SIGNAL, 10, body=b"abc")
        received, returned, last = await pair.end.events_until_closed()
        assert received == from_app(OpCode.REQUEST, pair.end.number, 9)
        status = AmpeStatus.CHANNEL_CLOSED
        assert returned == from_engine(OpCode.SIGNAL, status, pair.end.number, 10, body=b"abc")
        assert last == pair.end.closed(AmpeStatus.PEER_DISCONNECTED)
