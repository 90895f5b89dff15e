"""Items of several frames, for a reader that is slow: held back as any others, and none stuck."""

import trio
import trio.testing

from pytofu import Incoming, Peer, Topics
from tests.peers.pairs import connected

LONG = bytes(10 * 65_535 + 1)
"""Whose last frame is short: it is not that alone which has to wait."""


async def test_a_reader_that_is_slow_holds_up_the_sender_of_long_items() -> None:
    go = trio.Event()
    sent: list[int] = []

    async def count(peer: Peer, request: Incoming) -> bytes:
        await go.wait()
        assert request.stream is not None
        return str([len(item) async for item in request.stream]).encode()

    async with connected(count) as both, both.client.stream() as stream:
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def send() -> None:
                for number in range(20):
                    await stream.send(LONG)
                    sent.append(number)

            await trio.testing.wait_all_tasks_blocked(0.05)
            assert len(sent) <= 2
            go.set()
        with trio.fail_after(5):
            assert await stream.finish() == str([len(LONG)] * 20).encode()


async def test_so_does_one_that_opened_the_stream() -> None:
    sent: list[int] = []

    async def send(peer: Peer, request: Incoming) -> bytes:
        assert request.stream is not None
        for number in range(20):
            await request.stream.send(LONG)
            sent.append(number)
        return LONG  # in parts too, behind items that nobody has taken

    async with connected(send) as both, both.client.stream() as stream:
        await trio.testing.wait_all_tasks_blocked(0.05)
        assert len(sent) <= 2
        with trio.fail_after(5):
            assert await anext(stream) == LONG
            assert await stream.finish() == LONG
        assert len(sent) == 20


async def test_a_subscriber_that_is_slow_has_no_more_long_messages_than_its_window() -> None:
    topics = Topics(keep=2)
    async with connected(topics=topics) as both, both.client.subscribe("a") as messages:
        for _ in range(50):
            topics.publish("a", LONG)
            await trio.testing.wait_all_tasks_blocked()
        assert len(messages._items) <= 2
        with trio.fail_after(5):
            missed = 0
            while missed < 40:
                message = await anext(messages)
                assert message.body == LONG
                missed += message.missed
            while messages._items or messages._first:  # of an item that is on its way
                await anext(messages)
            topics.publish("a", b"short")
            while (await anext(messages)).body != b"short":
                pass
