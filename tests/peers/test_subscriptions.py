"""The side that hears what is published, against a publisher made by hand."""

import pytest
import trio
import trio.testing

from pytofu import AllocationFailedException, NotSent, OpCode, RemoteError, Unanswered
from pytofu.peers.wire import MAX_BODY
from tests.peers.faults import Full
from tests.peers.pairs import Script, scripted_server


async def confirm(script: Script) -> None:
    request = await script.expect(OpCode.REQUEST)
    assert request.text == b"tofu-subscribe:a\r\ntofu-credit:1000\r\n"
    await script.send(OpCode.RESPONSE, request.message_id, more=True)


async def test_credit_is_given_back_as_messages_are_taken() -> None:
    async with scripted_server() as (peer, script), trio.open_nursery() as nursery:
        nursery.start_soon(confirm, script)
        async with peer.subscribe("a", window=1000) as messages:
            for _ in range(2):
                await script.send(
                    OpCode.RESPONSE, 3, b"tofu-topic:a\r\n", body=bytes(400), more=True
                )
            assert (await anext(messages)).body == bytes(400)
            assert (await anext(messages)).body == bytes(400)
            signal = await script.expect(OpCode.SIGNAL)
            assert (signal.message_id, signal.text) == (3, b"tofu-credit:860\r\n")
        signal = await script.expect(OpCode.SIGNAL)
        assert (signal.message_id, signal.text) == (3, b"tofu-cancel:1\r\n")


async def test_the_end_of_a_subscription() -> None:
    async with scripted_server() as (peer, script), trio.open_nursery() as nursery:
        nursery.start_soon(confirm, script)
        async with peer.subscribe("a", window=1000) as messages:
            await script.send(OpCode.RESPONSE, 3, b"tofu-topic:a\r\n", body=b"1", more=True)
            await script.send(OpCode.RESPONSE, 3)
            async for message in messages:
                assert message.body == b"1"
                break
            for _ in range(2):
                with pytest.raises(RemoteError, match="UNAVAILABLE: the publisher has ended it"):
                    await anext(messages)
                script.raw.close()
                await peer.closed.wait()


async def test_the_end_of_the_connection() -> None:
    async with scripted_server() as (peer, script), trio.open_nursery() as nursery:
        nursery.start_soon(confirm, script)
        async with peer.subscribe("a", window=1000) as messages, trio.open_nursery() as readers:

            async def read() -> None:
                with pytest.raises(Unanswered):
                    await anext(messages)

            readers.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            script.raw.close()


async def test_a_publisher_that_sends_more_than_it_may() -> None:
    async with scripted_server() as (peer, script), trio.open_nursery() as nursery:
        nursery.start_soon(confirm, script)
        async with peer.subscribe("a", window=1000) as messages:
            for _ in range(3):
                await script.send(
                    OpCode.RESPONSE, 3, b"tofu-topic:a\r\n", body=bytes(600), more=True
                )
            for _ in range(2):
                await trio.testing.wait_all_tasks_blocked(0.01)
                assert len((await anext(messages)).body) == 600
            with pytest.raises(RemoteError, match="RESOURCE_EXHAUSTED"):
                await anext(messages)


async def test_a_message_that_is_too_long(monkeypatch: pytest.MonkeyPatch) -> None:
    async with scripted_server() as (peer, script), trio.open_nursery() as nursery:
        monkeypatch.setattr(peer._link._budget, "longest", 1000)
        nursery.start_soon(confirm, script)
        async with peer.subscribe("a", window=1000) as messages:
            text = b"tofu-topic:a\r\ntofu-item:part\r\n"
            await script.send(OpCode.RESPONSE, 3, text, body=bytes(600), more=True)
            await script.send(OpCode.RESPONSE, 3, body=bytes(600), more=True)
            with pytest.raises(RemoteError, match="too long"):
                await anext(messages)


async def test_frames_without_a_topic_are_nothing() -> None:
    async with scripted_server() as (peer, script), trio.open_nursery() as nursery:
        nursery.start_soon(confirm, script)
        async with peer.subscribe("a", window=1000) as messages:
            await script.send(OpCode.RESPONSE, 3, body=b"?", more=True)
            await script.send(OpCode.RESPONSE, 3, b"tofu-topic:a\r\n", body=b"!", more=True)
            assert (await anext(messages)).body == b"!"


async def test_a_request_that_cannot_be_sent() -> None:
    """The channel has ended, and the link has not heard of it yet."""
    async with scripted_server() as (peer, _):
        number, peer._link.outlet.number = peer._link.outlet.number, 65_534
        with pytest.raises(NotSent):
            async with peer.subscribe("a"):
                raise AssertionError
        assert not peer._link.asking._open
        peer._link.outlet.number = number


async def test_a_request_for_which_there_is_no_room() -> None:
    async with scripted_server() as (peer, _):
        outlet = peer._link.outlet
        chnls, outlet._chnls = outlet._chnls, Full(outlet._chnls)
        with pytest.raises(AllocationFailedException):
            async with peer.subscribe("a"):
                raise AssertionError
        outlet._chnls = chnls
        assert not peer._link.asking._open


async def test_leaving_within_a_message_gives_back_what_that_held() -> None:
    """Or so many such subscriptions would end the connection."""
    async with scripted_server() as (peer, script), trio.open_nursery() as nursery:
        nursery.start_soon(confirm, script)
        async with peer.subscribe("a", window=1000) as messages:
            part = b"tofu-topic:a\r\ntofu-item:part\r\n"
            await script.send(OpCode.RESPONSE, 3, part, body=bytes(9), more=True)
            await script.send(OpCode.SIGNAL, 1, body=b"behind it")
            await anext(peer.messages)
            assert peer._link._budget.left < 4 * MAX_BODY
        assert peer._link._budget.left == 4 * MAX_BODY
        with pytest.raises(RemoteError, match="CANCELLED: the subscription's block was left"):
            await anext(messages)
