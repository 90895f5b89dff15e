"""Peers that say that they leave, and do not, or say so in ways that nobody can answer."""

import pytest
import trio
import trio.testing

from pytofu import Backoff, Incoming, NotSent, OpCode, Peer, connect
from pytofu.peers.reconnect import LastingPeer
from pytofu.values.address_text import address_text
from tests.leaks import live_tasks
from tests.peers.pairs import TCP, Script, scripted_client, scripted_server, serving
from tests.support import RESET, RawListener

FEATURES = b"tofu-features:server calls=64\r\n"
REFUSED = b"tofu-status:UNAVAILABLE\r\ntofu-refused:1\r\n"


async def _accepted(listener: RawListener) -> Script:
    script = Script(await listener.accept())
    greeting = await script.expect(OpCode.HELLO_REQUEST)
    await script.send(OpCode.HELLO_RESPONSE, greeting.message_id, FEATURES)
    return script


async def test_a_bye_that_nobody_can_answer_ends_the_channel() -> None:
    """Its id is 0: the peer would wait for ever, and the channel with it."""
    async with serving() as where, scripted_client(where) as script:
        await script.send(OpCode.BYE_REQUEST, 0)
        assert await script.raw.ending() == (b"", RESET)
    async with scripted_server() as (peer, script):
        await script.send(OpCode.BYE_REQUEST, 0)
        with trio.fail_after(5):
            await peer.closed.wait()


async def test_a_bye_said_often_is_answered_once() -> None:
    """And one task waits for that, not one for each."""
    began = trio.Event()
    end = trio.Event()

    async def wait(peer: Peer, request: Incoming) -> bytes:
        began.set()
        await end.wait()
        return b"done"

    async with serving(wait) as where, scripted_client(where) as script:
        await script.send(OpCode.REQUEST, 3)
        await began.wait()
        await trio.testing.wait_all_tasks_blocked()
        before = live_tasks()
        for _ in range(100):
            await script.send(OpCode.BYE_REQUEST, 5)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert live_tasks() <= before + 1
        end.set()
        assert (await script.expect(OpCode.RESPONSE)).body == b"done"
        assert (await script.expect(OpCode.BYE_RESPONSE)).message_id == 5


async def test_a_server_that_refuses_and_stays_is_left(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Else each connection behind it would be one more."""
    with RawListener(TCP) as listener:
        where = address_text(listener.client_address)
        async with trio.open_nursery() as nursery:

            async def refuse_and_serve() -> None:
                first = await _accepted(listener)
                with first.raw:
                    refused = await first.expect(OpCode.REQUEST)
                    await first.send(OpCode.RESPONSE, refused.message_id, REFUSED)
                    second = await _accepted(listener)
                    with second.raw:
                        asked = await second.expect(OpCode.REQUEST)
                        await second.send(OpCode.RESPONSE, asked.message_id)
                        await trio.sleep(4)
                        await first.expect(OpCode.BYE_REQUEST)  # and is not answered
                        await trio.sleep(4)
                        await first.raw.ending()
                        await second.expect(OpCode.BYE_REQUEST)
                        await second.send(OpCode.BYE_RESPONSE, 1)

            nursery.start_soon(refuse_and_serve)
            async with connect(where, reconnect=Backoff(0.001, 0.01)) as peer:
                await peer.call()
                assert isinstance(peer, LastingPeer)
                await trio.sleep(12)


async def test_a_subscription_that_is_refused_is_one_of_the_next_connection() -> None:
    """As a call is, which is repeated there."""
    with RawListener(TCP) as listener:
        where = address_text(listener.client_address)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def refuse_and_publish() -> None:
                first = await _accepted(listener)
                with first.raw:
                    refused = await first.expect(OpCode.REQUEST)
                    await first.send(OpCode.RESPONSE, refused.message_id, REFUSED)
                second = await _accepted(listener)
                with second.raw:
                    asked = await second.expect(OpCode.REQUEST)
                    await second.send(OpCode.RESPONSE, asked.message_id, more=1)
                    topic = b"tofu-topic:a\r\n"
                    await second.send(OpCode.RESPONSE, asked.message_id, topic, more=1)
                    await second.expect(OpCode.SIGNAL)
                    await second.expect(OpCode.BYE_REQUEST)
                    await second.send(OpCode.BYE_RESPONSE, 1)

            async with (
                connect(where, reconnect=Backoff(0.001, 0.01)) as peer,
                peer.subscribe("a") as messages,
            ):
                assert (await anext(messages)).topic == "a"
                assert messages.interruptions == 1


async def test_without_reconnect_the_connection_is_the_programs() -> None:
    """Who has refused may still ask."""
    async with scripted_server() as (peer, script), trio.open_nursery() as nursery:

        @nursery.start_soon
        async def ask() -> None:
            with pytest.raises(NotSent):
                await peer.call()

        asked = await script.expect(OpCode.REQUEST)
        await script.send(OpCode.RESPONSE, asked.message_id, REFUSED)
        await trio.testing.wait_all_tasks_blocked(0.01)
        assert not peer.connected
        assert not peer.closed.is_set()
