"""Streams: items both ways, credit, half-close, cancelling (peers/streams.py)."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import trio
import trio.testing

from pytofu import BinaryHeader, Incoming, NotSent, OpCode, Peer, RemoteError, Reply, Unanswered
from pytofu.peers.flow import WINDOW
from pytofu.peers.outlet import Outlet
from pytofu.peers.streams import OpenedStream
from pytofu.peers.wire import MAX_BODY
from tests.peers.pairs import connected, scripted_client, scripted_server, serving
from tests.support import ServerAddress


async def echo_stream(peer: Peer, request: Incoming) -> Reply:
    assert request.stream is not None
    async for item in request.stream:
        await request.stream.send(item)
    return Reply(b"end of " + request.body)


async def test_items_go_both_ways(address: ServerAddress) -> None:
    items = [b"", b"a", bytes(65_535), bytes(65_536), bytes(200_000), b"z"]
    async with (
        connected(echo_stream, address) as both,
        both.client.stream(b"it", {"a": "b"}, method="m") as stream,
    ):
        for item in items:
            await stream.send(item)
            assert await anext(stream) == item
        assert await stream.finish() == b"end of it"
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_a_stream_that_has_ended_takes_no_call_of_those_at_a_time() -> None:
    async with (
        connected(echo_stream, calls_per_peer=1) as both,
        both.client.stream(b"one") as first,
    ):
        assert await first.finish() == b"end of one"
        async with both.client.stream(b"two") as second:
            assert await second.finish() == b"end of two"


async def test_nothing_comes_behind_the_end_of_a_stream() -> None:
    async with scripted_server() as (peer, script), peer.stream() as stream:
        request = await script.expect(OpCode.REQUEST)
        for body in (b"the end", b"once more"):
            await script.send(OpCode.RESPONSE, request.message_id, body=body)
        assert await stream.finish() == b"the end"
        await script.send(OpCode.SIGNAL, 1, body=b"x")
        assert (await anext(peer.messages)).body == b"x"
        assert await stream.finish() == b"the end"
        assert peer._link.asking.busy == 0


async def test_a_download_of_more_than_the_window() -> None:
    async def download(peer: Peer, request: Incoming) -> bytes:
        assert request.stream is not None
        for number in range(40):
            await request.stream.send(b"%d" % number + bytes(50_000))
        return b"x" * 300_000

    async with connected(download) as both, both.client.stream() as stream:
        numbers = [int(item[:2].rstrip(b"\0")) async for item in stream]
        assert numbers == list(range(40))
        assert await stream.finish() == b"x" * 300_000


async def test_finishing_drops_what_nobody_has_taken() -> None:
    async def download(peer: Peer, request: Incoming) -> bytes:
        assert request.stream is not None
        for _ in range(20):
            await request.stream.send(bytes(60_000))
        return b"all sent"

    async with connected(download) as both, both.client.stream() as stream:
        assert await stream.finish() == b"all sent"


async def test_an_upload_of_more_than_the_window() -> None:
    async def upload(peer: Peer, request: Incoming) -> bytes:
        assert request.stream is not None
        return b"%d" % sum([len(item) async for item in request.stream])

    async with connected(upload) as both, both.client.stream() as stream:
        for _ in range(40):
            await stream.send(bytes(50_000))
        assert await stream.finish() == b"2000000"
        with pytest.raises(trio.ClosedResourceError):
            await stream.send(b"")


async def test_a_slow_reader_holds_up_its_own_stream_only() -> None:
    go_on = trio.Event()
    sent = 0

    async def reader(peer: Peer, request: Incoming) -> bytes:
        if request.stream is None:
            return b"beside"
        await go_on.wait()
        return b"%d" % len([item async for item in request.stream])

    async with connected(reader) as both, both.client.stream() as stream:
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                nonlocal sent
                for _ in range(20):
                    await stream.send(bytes(60_000))
                    sent += 1

            nursery.start_soon(send)
            await trio.testing.wait_all_tasks_blocked(0.01)
            assert sent == WINDOW // 60_000 + 1
            for _ in range(10):
                assert (await both.client.call()).body == b"beside"
            assert sent < 20
            go_on.set()
        assert await stream.finish() == b"20"


async def test_credit_that_comes_while_a_frame_is_being_sent_is_not_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scripted_server() as (peer, _), peer.stream() as stream:
        link = peer._link
        send = Outlet.send

        async def granted_meanwhile(outlet: Outlet, *args: Any, **settings: Any) -> BinaryHeader:
            link.asking.granted(3, 1000)
            await trio.lowlevel.checkpoint()
            link.signalling.credit += 1000
            return await send(outlet, *args, **settings)

        monkeypatch.setattr(Outlet, "send", granted_meanwhile)
        await stream.send(bytes(84))
        assert stream._credit == WINDOW + 1000 - len(b"tofu-item:whole\r\n") - 100
        await peer.signal(bytes(84))
        assert link.signalling.credit == WINDOW + 2000 - 100


async def test_the_handler_ends_its_items_and_reads_on() -> None:
    async def handler(peer: Peer, request: Incoming) -> bytes:
        stream = request.stream
        assert stream is not None
        await stream.send(b"1")
        await stream.send_eof()
        await stream.send_eof()
        with pytest.raises(trio.ClosedResourceError):
            await stream.send(b"2")
        return b"".join([item async for item in stream]) + bytes(100_000)

    async with connected(handler) as both, both.client.stream() as stream:
        assert [item async for item in stream] == [b"1"]
        await stream.send(b"2")
        assert await stream.finish() == b"2" + bytes(100_000)


async def test_an_error_of_the_handler_ends_the_stream() -> None:
    async def handler(peer: Peer, request: Incoming) -> bytes:
        assert request.stream is not None
        await request.stream.send(b"1")
        raise RemoteError("ABORTED", "why")

    async with connected(handler) as both, both.client.stream() as stream:
        assert await anext(stream) == b"1"
        for use in (stream.__anext__, stream.finish, stream.send_eof):
            with pytest.raises(RemoteError, match="ABORTED: why"):
                await use()
        with pytest.raises(RemoteError, match="ABORTED: why"):
            await stream.send(b"")


async def test_a_stream_that_the_peer_has_ended_takes_no_more() -> None:
    async def handler(peer: Peer, request: Incoming) -> bytes:
        return b"no"

    async with connected(handler) as both, both.client.stream() as stream:
        assert [item async for item in stream] == []
        with pytest.raises(trio.BrokenResourceError):
            await stream.send(b"")
        assert await stream.finish() == b"no"


async def test_leaving_early_cancels_the_handler() -> None:
    cancelled = trio.Event()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        assert request.stream is not None
        try:
            while True:
                await request.stream.send(bytes(60_000))
        finally:
            cancelled.set()

    async with connected(handler) as both:
        async with both.client.stream() as stream:
            assert len(await anext(stream)) == 60_000
        with trio.fail_after(5):
            await cancelled.wait()
        with pytest.raises(RemoteError, match="CANCELLED"):
            await stream.send(b"")


async def test_an_exception_leaves_the_block_as_itself() -> None:
    async with connected(echo_stream) as both:
        with pytest.raises(KeyError):
            async with both.client.stream():
                raise KeyError


async def test_a_send_cancelled_within_an_item_fails_the_stream() -> None:
    async with scripted_server() as (peer, _), peer.stream() as stream:
        with trio.move_on_after(0.02):
            await stream.send(bytes(1_000_000))
        with pytest.raises(RemoteError, match="CANCELLED: cancelled in the middle"):
            await stream.send(b"")


async def test_a_send_cancelled_between_items_does_not() -> None:
    never = trio.Event()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        assert request.stream is not None
        await never.wait()
        return b"%d" % len([item async for item in request.stream])

    async with connected(handler) as both, both.client.stream() as stream:
        sent = 0
        with trio.move_on_after(0.02):
            while True:
                await stream.send(bytes(60_000))
                sent += 1
        never.set()
        assert await stream.finish() == b"%d" % sent


async def test_items_of_several_senders_stay_whole() -> None:
    items = [bytes([number]) * 300_000 for number in range(4)]

    async with connected(echo_stream) as both, both.client.stream() as stream:
        async with trio.open_nursery() as nursery:
            for item in items:
                nursery.start_soon(stream.send, item)
            received = [await anext(stream) for _ in items]
        assert sorted(received) == items


async def test_items_have_a_longest() -> None:
    async with connected(echo_stream) as both, both.client.stream() as stream:
        stream._longest = 10
        with pytest.raises(ValueError, match="11"):
            await stream.send(bytes(11))
    with pytest.raises(ValueError, match="65535"):
        async with both.client.stream(bytes(65_536)):
            raise AssertionError


async def test_the_end_of_the_connection_is_the_end_of_the_stream() -> None:
    async with scripted_server() as (peer, script), peer.stream() as stream:
        await script.expect(OpCode.REQUEST)
        await script.send(OpCode.RESPONSE, 3, body=b"1", more=True)
        await peer._link.asking._outlet.send(OpCode.SIGNAL)
        await script.expect(OpCode.SIGNAL)
        script.raw.close()
        assert await anext(stream) == b"1"
        with pytest.raises(Unanswered):
            await anext(stream)
        with pytest.raises(Unanswered):
            await stream.send(b"")
        with pytest.raises(Unanswered):
            await stream.finish()


async def test_an_item_that_cannot_be_sent() -> None:
    """The channel has ended, and the link has not heard of it yet."""
    async with connected(echo_stream) as both, both.client.stream() as stream:
        number, both.client._link.outlet.number = both.client._link.outlet.number, 65_534
        with pytest.raises(NotSent):
            await stream.send(b"x")
        both.client._link.outlet.number = number
        await stream.send(b"x")
        assert await anext(stream) == b"x"


async def test_an_opening_that_comes_back_was_not_sent() -> None:
    async with scripted_server(receive_buffer=4096) as (peer, script):
        outlet = peer._link.outlet
        for _ in range(100):
            outlet.post(OpCode.SIGNAL, 1, b"", bytes(60_000))
        with open_stream_failing(peer) as stream:
            outlet.post(OpCode.REQUEST, 3, b"tofu-stream:1\r\n", more=True)
            outlet.post(OpCode.REQUEST, 3, more=True)
            script.raw.close()
            with pytest.raises(NotSent):
                await anext(stream)


@contextmanager
def open_stream_failing(peer: Peer) -> Iterator[OpenedStream]:
    """A stream whose opening is posted by hand, behind more than the sockets take."""
    asking = peer._link.asking
    stream = OpenedStream(peer._link.outlet, 3, peer._link._budget, lambda: None)
    assert asking.register(stream) == 3
    yield stream
    asking.forget(3)


# ---------------------------------------------------------------------- peers made by hand


async def test_a_peer_that_knows_nothing_of_streams() -> None:
    async with scripted_server(b"") as (peer, _):
        with pytest.raises(RemoteError, match="UNIMPLEMENTED: the peer does not know streams"):
            async with peer.stream():
                raise AssertionError
        assert peer._link.asking.busy == 0


async def test_a_caller_that_sends_more_than_it_may_is_told() -> None:
    async def handler(peer: Peer, request: Incoming) -> bytes:
        assert request.stream is not None
        await full.wait()
        async for _ in request.stream:
            pass
        raise AssertionError

    full = trio.Event()
    async with serving(handler) as where, scripted_client(where) as script:
        await script.send(OpCode.REQUEST, 1, b"tofu-stream:1\r\n", more=True)
        for _ in range(8):
            await script.send(OpCode.REQUEST, 1, body=bytes(60_000), more=True)
        await trio.testing.wait_all_tasks_blocked(0.01)
        full.set()
        # Credit for what was taken may come first.
        while (answer := await script.raw.receive_frame()).opcode is not OpCode.RESPONSE:
            assert answer.opcode is OpCode.SIGNAL
        assert b"tofu-status:RESOURCE_EXHAUSTED\r\n" in answer.text


async def test_a_stream_whose_caller_has_half_closed_from_the_start() -> None:
    async with serving(echo_stream) as where, scripted_client(where) as script:
        await script.send(OpCode.REQUEST, 1, b"tofu-stream:1\r\n", body=b"it")
        assert (await script.expect(OpCode.RESPONSE)).body == b"end of it"


async def test_items_that_are_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted_server() as (peer, script), peer.stream() as stream:
        monkeypatch.setattr(peer._link._budget, "longest", 100_000)
        await script.expect(OpCode.REQUEST)
        for _ in range(3):
            part = b"tofu-item:part\r\n"
            await script.send(OpCode.RESPONSE, 3, part, body=bytes(50_000), more=True)
        with pytest.raises(RemoteError, match="RESOURCE_EXHAUSTED: an item is too long"):
            await anext(stream)


async def test_results_that_are_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted_server() as (peer, script), peer.stream() as stream:
        monkeypatch.setattr(peer._link._budget, "longest", 10)
        await script.expect(OpCode.REQUEST)
        await script.send(OpCode.RESPONSE, 3, body=bytes(11))
        with pytest.raises(RemoteError, match="RESOURCE_EXHAUSTED: the result is too long"):
            await stream.finish()


async def test_items_for_a_handler_that_has_ended_are_nothing() -> None:
    """They may be under way when its result is sent: neither a new request, nor kept."""
    asked: list[bytes] = []

    async def handler(peer: Peer, request: Incoming) -> bytes:
        asked.append(request.body)
        return b"early"

    async with connected(handler) as both, serving(handler) as where:
        async with scripted_client(where) as script:
            await script.send(OpCode.REQUEST, 1, b"tofu-stream:1\r\n", body=b"1", more=True)
            assert (await script.expect(OpCode.RESPONSE)).body == b"early"
            await script.send(OpCode.REQUEST, 1, b"tofu-item:whole\r\n", body=b"2", more=True)
            await script.send(OpCode.REQUEST, 1, b"tofu-item:end\r\n")
            await script.send(OpCode.REQUEST, 3, body=b"3")
            assert (await script.expect(OpCode.RESPONSE)).message_id == 3
        async with both.client.stream(b"4") as stream:
            with suppress(trio.BrokenResourceError):  # when it hears of the end
                while True:
                    await stream.send(b"5")
                    await trio.lowlevel.checkpoint()
        await both.client.call(b"6")
        answering = both.server._link.answering
        assert not answering._by_id
        assert answering._budget.left == 4 * MAX_BODY
    assert asked == [b"1", b"3", b"4", b"6"]


async def test_what_comes_after_the_end_is_dropped() -> None:
    async with scripted_server() as (peer, script), peer.stream() as stream:
        await script.expect(OpCode.REQUEST)
        await script.send(OpCode.RESPONSE, 3, b"tofu-item:end\r\n", more=True)
        await script.send(OpCode.RESPONSE, 3, body=b"late", more=True)
        await script.send(OpCode.SIGNAL, 2, body=b"heard")
        assert (await anext(peer.messages)).body == b"heard"
        assert [item async for item in stream] == []


async def test_finish_waits_for_the_result_and_hears_of_the_end() -> None:
    async with scripted_server() as (peer, script), peer.stream() as stream:
        await script.expect(OpCode.REQUEST)
        await script.send(OpCode.RESPONSE, 3, b"tofu-item:end\r\n", more=True)
        assert [item async for item in stream] == []
        async with trio.open_nursery() as nursery:

            async def finish() -> None:
                with pytest.raises(Unanswered):
                    await stream.finish()

            nursery.start_soon(finish)
            await script.expect(OpCode.REQUEST)
            await trio.testing.wait_all_tasks_blocked(0.01)
            script.raw.close()


async def test_a_long_result_for_nobody() -> None:
    """The caller goes while the result waits for credit."""
    started = trio.Event()

    async def handler(peer: Peer, request: Incoming) -> bytes:
        started.set()
        return bytes(1_000_000)

    async with serving(handler) as where, scripted_client(where) as script:
        await script.send(OpCode.REQUEST, 1, b"tofu-stream:1\r\n", more=True)
        await started.wait()
        await trio.testing.wait_all_tasks_blocked(0.01)
