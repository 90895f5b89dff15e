"""What belongs to no call: `peer.messages` (peers/inbox.py), and signals both ways."""

import pytest
import trio
import trio.testing

from pytofu import OpCode, Peer
from pytofu.peers.outlet import Outlet
from tests.peers.pairs import connected, counted, scripted_client, scripted_server, serving


async def test_signals_arrive_in_order() -> None:
    async with connected() as both:
        for number in range(10):
            await both.client.signal(b"%d" % number, {"n": str(number)})
        for number in range(10):
            message = await anext(both.server.messages)
            assert (message.body, message.headers) == (b"%d" % number, {"n": str(number)})
            assert message.missed == 0


async def test_a_sender_waits_while_nobody_takes_them_and_calls_go_on() -> None:
    async with connected() as both:
        sent = 0

        async def send() -> None:
            nonlocal sent
            for number in range(30):
                await both.server.signal(number.to_bytes() + bytes(60_000))
                sent += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert sent == 5
            assert (await both.client.call(b"x")).body == b"x"
            for number in range(30):
                message = await anext(both.client.messages)
                assert (message.body[0], message.missed) == (number, 0)


async def test_many_senders_together_have_no_more_credit_than_one() -> None:
    """All wait in front of a channel that is behind, and go on in the same moment."""
    async with (
        counted(high_water=0) as ampe,
        connected(client={"ampe": ampe}) as both,
        trio.open_nursery() as nursery,
    ):
        for _ in range(30):
            nursery.start_soon(both.client.signal, bytes(60_000))
        await trio.testing.wait_all_tasks_blocked(0.01)
        for _ in range(30):
            assert (await anext(both.server.messages)).missed == 0


async def test_a_signal_that_is_not_sent_costs_no_credit(monkeypatch: pytest.MonkeyPatch) -> None:
    async def wait(*_: object) -> None:
        await trio.sleep_forever()

    async with connected() as both, trio.open_nursery() as others:
        credit = both.client._link.signalling.credit
        with monkeypatch.context() as patch:
            patch.setattr(Outlet, "send", wait)
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(both.client.signal, bytes(60_000))
                await trio.testing.wait_all_tasks_blocked()
                others.start_soon(both.client.signal, b"behind them")
                await trio.testing.wait_all_tasks_blocked()
                patch.undo()
                nursery.cancel_scope.cancel()
        assert (await anext(both.server.messages)).body == b"behind them"
        assert both.client._link.signalling.credit == credit - 16 - len(b"behind them")


async def test_each_of_many_senders_that_wait_hears_of_the_end() -> None:
    failed = 0

    async def send(peer: Peer) -> None:
        nonlocal failed
        with pytest.raises(ConnectionError):
            await peer.signal(bytes(60_000))
        failed += 1

    async with scripted_server() as (peer, script), trio.open_nursery() as nursery:
        for _ in range(5):
            await peer.signal(bytes(60_000))
        for _ in range(10):
            nursery.start_soon(send, peer)
        await trio.testing.wait_all_tasks_blocked(0.01)
        script.raw.close()
    assert failed == 10


async def test_a_sender_that_waits_hears_of_the_end() -> None:
    async with scripted_server() as (peer, script), trio.open_nursery() as nursery:

        async def send() -> None:
            for _ in range(5):
                await peer.signal(bytes(60_000))
            with pytest.raises(ConnectionError):
                await peer.signal()

        nursery.start_soon(send)
        for _ in range(5):
            await script.expect(OpCode.SIGNAL)
        await trio.testing.wait_all_tasks_blocked(0.01)
        script.raw.close()


async def test_of_a_peer_without_credit_the_oldest_are_dropped() -> None:
    async with scripted_server(b"") as (peer, script):
        for number in range(30):
            await script.send(OpCode.SIGNAL, 1, body=number.to_bytes() + bytes(60_000))
        await script.send(OpCode.RESPONSE, 1000, b"tofu-method:m\r\n", body=b"to nothing")
        await trio.testing.wait_all_tasks_blocked(0.01)
        first = await anext(peer.messages)
        assert first.missed == first.body[0] == 24
        assert (await anext(peer.messages)).missed == 0
        script.raw.close()
        *_, last = [message async for message in peer.messages]
        assert (last.body, last.method) == (b"to nothing", "m")
        with pytest.raises(StopAsyncIteration):
            await anext(peer.messages)


async def test_who_waits_for_a_message_hears_of_the_end() -> None:
    async with scripted_server() as (peer, script), trio.open_nursery() as nursery:

        async def read() -> None:
            assert [message async for message in peer.messages] == []

        nursery.start_soon(read)
        await trio.testing.wait_all_tasks_blocked()
        script.raw.close()


async def test_a_signal_has_a_longest() -> None:
    async with connected() as both:
        with pytest.raises(ValueError, match="65535"):
            await both.client.signal(bytes(65_536))


async def test_credit_is_for_the_stream_or_the_signals_that_it_names() -> None:
    """Of any number, at any time, from anybody."""
    async with serving() as where, scripted_client(where) as script:
        for ident in (1, 2, 3, 4, 5):
            await script.send(OpCode.SIGNAL, ident, b"tofu-credit:5\r\n")
            await script.send(OpCode.SIGNAL, ident, b"tofu-cancel:1\r\n")
        await script.send(OpCode.REQUEST, 1, body=b"x")
        assert (await script.expect(OpCode.RESPONSE)).body == b"x"
