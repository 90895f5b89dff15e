"""What peers together may take: channels, hosts, memory; and who is let in."""

import logging

import pytest
import trio
import trio.testing

from pytofu import (
    AmpeException,
    AmpeStatus,
    OpCode,
    Options,
    TCPServerAddress,
    TLSClientAddress,
    TLSServerAddress,
)
from pytofu.engine import channel_numbers
from pytofu.values.peer_info import PeerInfo
from tests import tls_sockets
from tests.support import (
    App,
    ClientAddress,
    ListenerEnd,
    RawPeer,
    ServerAddress,
    abort_ending,
    closed,
    frame,
    from_engine,
    hello,
    open_app,
    open_pair,
)

ALLOCATION_FAILED = AmpeStatus.ALLOCATION_FAILED


async def greeted(app: App, listener: ListenerEnd, message_id: int) -> tuple[RawPeer, int]:
    """A raw peer whose Hello has been answered, and the number of its channel."""
    peer = await RawPeer.connect(listener.client_address, receive_buffer=4096)
    await peer.send(hello(message_id))
    number = (await app.event()).channel
    app.post(OpCode.HELLO_RESPONSE, number, message_id)
    await peer.receive_frame()
    return peer, number


async def knock(address: ClientAddress) -> RawPeer:
    """Somebody who connects; over TLS without waiting for his hand to be taken."""
    if isinstance(address, TLSClientAddress):
        return RawPeer(tls_sockets.knock(address))
    return await RawPeer.connect(address)


async def say(peer: RawPeer, data: bytes) -> None:
    """As soon as it is let in."""
    if isinstance(peer.sock, tls_sockets.TLSSocket):
        await peer.sock.open()
    await peer.send(data)


async def answered(peer: RawPeer) -> bytes:
    """The first byte that it is told."""
    await say(peer, b"x")
    return await peer.receive_bytes(1)


async def test_no_more_channels_than_allowed_and_one_event_says_so(address: ServerAddress) -> None:
    async with open_app(Options(max_channels=2)) as app, trio.open_nursery() as nursery:
        listener = await app.listen(address)
        first, number = await greeted(app, listener, 5)
        with first:
            second = await knock(listener.client_address)
            third = await knock(listener.client_address)
            with second, third:
                nursery.start_soon(say, second, hello(6))
                event = await app.event()
                assert event == from_engine(OpCode.SIGNAL, ALLOCATION_FAILED, listener.number, 0)
                assert event.detail == "max_channels"
                assert await app.rest() == []
                first.close()
                assert await app.event() == closed(number, 5, AmpeStatus.PEER_DISCONNECTED)
                assert (await app.event()).message_id == 6  # the one that waited is let in
                assert await app.rest() == []
                assert app.ampe.statistics().limits_reached["max_channels"] >= 1


async def test_events_that_nobody_receives_stop_accepting(
    address: ServerAddress, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_app(Options(max_channels=2)) as app:
        listener = await app.listen(address)
        for _ in range(8):
            with await knock(listener.client_address):
                await trio.sleep(0.01)
        waiting = app.chnls.statistics().messages_waiting
        assert waiting <= 5
        events = [await app.event() for _ in range(7)]  # accepting goes on as they are received
        assert len(events) == 7


@pytest.mark.parametrize("over", [TCPServerAddress, TLSServerAddress])
async def test_channels_of_one_host(
    over: type[TCPServerAddress] | type[TLSServerAddress],
) -> None:
    async with open_app(Options(max_channels_per_host=1)) as app:
        listener = await app.listen(over("127.0.0.1", 0))
        first, number = await greeted(app, listener, 5)
        with first:
            with await knock(listener.client_address) as second:
                await trio.testing.wait_all_tasks_blocked()
                with pytest.raises(ConnectionResetError):
                    await answered(second)
            assert app.ampe.statistics().limits_reached == {"max_channels_per_host": 1}
            first.close()
            assert await app.event() == closed(number, 5, AmpeStatus.PEER_DISCONNECTED)
        third, _ = await greeted(app, listener, 7)
        third.close()


@pytest.mark.parametrize("answer", [True, False, None])
async def test_the_program_says_who_is_let_in(
    address: ServerAddress, answer: bool | None, caplog: pytest.LogCaptureFixture
) -> None:
    asked: list[PeerInfo] = []

    def accept_filter(peer: PeerInfo) -> bool:
        asked.append(peer)
        if answer is None:
            raise ValueError("not today")
        return answer

    async with open_app(Options(accept_filter=accept_filter)) as app:
        listener = await app.listen(address)
        with await RawPeer.connect(listener.client_address) as peer:
            with caplog.at_level(logging.ERROR, "pytofu"):
                await peer.send(hello(5)) if answer else None
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert len(asked) == 1
            events = await app.rest()
            if answer:
                assert [event.opcode for event in events] == [OpCode.HELLO_REQUEST]
            elif isinstance(address, TLSServerAddress):  # it has a channel, to shake hands
                assert [(event.reason, event.detail) for event in events] == [
                    (AmpeStatus.NOT_ALLOWED, "accept_filter")
                ]
            else:
                assert events == []
            assert ("accept_filter failed" in caplog.text) is (answer is None)


async def test_messages_that_are_begun_and_not_finished(address: ServerAddress) -> None:
    """The one that has been incomplete longest goes; the others may finish theirs."""
    part = frame(OpCode.REQUEST, 9, body=bytes(60_000))
    async with open_app(Options(max_received_bytes=150_000)) as app:
        listener = await app.listen(address)
        peers = [await greeted(app, listener, 5 + i) for i in range(3)]
        for peer, _ in peers:
            await peer.send(part[:-1])
            await trio.testing.wait_all_tasks_blocked(0.01)
        gone = await app.event()
        assert gone == closed(peers[0][1], 5, AmpeStatus.RECV_FAILED)
        assert gone.detail == "max_received_bytes"
        await peers[2][0].send(part[-1:])
        event = await app.event()
        assert (event.channel, event.message_id) == (peers[2][1], 9)
        for peer, _ in peers:
            peer.close()


async def test_all_queues_together(address: ServerAddress) -> None:
    """A channel may queue little more once all have much, and the longest queue goes in the end."""
    options = Options(max_total_queued_bytes=8_000_000, high_water=1)
    async with open_app(options) as app:
        listener = await app.listen(address)
        peers = [await greeted(app, listener, 5 + i) for i in range(2)]
        refused = 0
        for _, number in peers:
            for _ in range(200):
                holder = app.message(OpCode.SIGNAL, number, 9, body=bytes(60_000))
                try:
                    app.chnls.post(holder)
                except AmpeException as error:
                    assert error.error_code.to_status() is ALLOCATION_FAILED  # noqa: PT017
                    refused += 1
                    app.ampe.put(holder)
        assert refused
        assert "max_total_queued_bytes" in app.ampe.statistics().limits_reached
        assert app.ampe.statistics().bytes_queued <= 8_000_000 * 5 // 4 + 200_000
        for peer, _ in peers:
            peer.close()


async def test_the_longest_queue_goes_when_the_total_grows_all_the_same(
    address: ServerAddress,
) -> None:
    """Many short queues: none is at its limit, and together they are too much."""
    async with open_app(Options(max_total_queued_bytes=400_000)) as app:
        listener = await app.listen(address)
        peers = [await greeted(app, listener, 5 + i) for i in range(2)]
        numbers = [number for _, number in peers]
        for _ in range(200):
            for number in numbers:
                holder = app.message(OpCode.SIGNAL, number, 9, body=bytes(60_000))
                try:
                    app.chnls.post(holder)
                except AmpeException:
                    app.ampe.put(holder)
        events = await app.rest()
        reasons = {event.reason for event in events if event.reason is not None}
        assert reasons <= {AmpeStatus.SEND_FAILED}
        assert app.ampe.statistics().bytes_queued <= 500_000 + 200_000
        for peer, _ in peers:
            peer.close()


async def test_no_number_is_left(address: ServerAddress, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(channel_numbers, "LAST", 2)
    async with open_app() as app:
        listener = await app.listen(address)
        peer, _ = await greeted(app, listener, 5)
        with peer, await knock(listener.client_address) as other:
            await trio.testing.wait_all_tasks_blocked(0.01)
            with pytest.raises(AmpeException) as raised:
                app.connect(listener.client_address)
            assert raised.value.error_code.to_status() is ALLOCATION_FAILED
            if isinstance(other.sock, tls_sockets.TLSSocket):
                with pytest.raises(ConnectionResetError):
                    await other.sock.open()
            else:
                assert await other.ending() == (b"", abort_ending(address))


async def test_a_filter_that_closes_the_listener(address: ServerAddress) -> None:
    def accept_filter(peer: PeerInfo) -> bool:
        app.post(OpCode.BYE_SIGNAL, listener.number, 9)
        return False

    async with open_app(Options(accept_filter=accept_filter)) as app:
        listener = await app.listen(address)
        with await RawPeer.connect(listener.client_address):
            events = await app.events_until_closed(listener.number)
            ids = [event.message_id for event in events if event.channel == listener.number]
            assert ids == [9, events[-1].message_id]
            refused = [event.detail for event in events if event.channel != listener.number]
            over_tls = isinstance(address, TLSServerAddress)
            assert refused == (["accept_filter"] if over_tls else [])


async def test_an_answered_hello_is_queued_no_longer(address: ServerAddress) -> None:
    async with open_pair(address) as pair:
        for end in (pair.client, pair.server):
            await end.app.rest()
            assert end.app.ampe.statistics().bytes_queued == 0
            assert end.app.chnls.queued_bytes(end.number) == 0
