"""Receiving: waiting, polling, running out of time, being cancelled (PROTOCOL 4)."""

import time

import pytest
import trio
import trio.testing

from pytofu import Holder, Message, OpCode, ShutdownException
from tests.support import App, open_app


def update(app: App, message_id: int) -> None:
    """Let something arrive."""
    app.chnls.update_receiver(app.message(OpCode.REQUEST, 0, message_id))


async def test_none_when_time_is_up() -> None:
    async with open_app() as app:
        started = time.monotonic()
        assert await app.chnls.wait_receive(timeout_ns=20_000_000) is None
        assert 0.015 < time.monotonic() - started < 1
        update(app, 5)
        message = await app.chnls.wait_receive(timeout_ns=20_000_000)
        assert message is not None
        assert message.message_id == 5


@pytest.mark.parametrize("timeout_ns", [0, -1])
async def test_zero_and_less_polls(timeout_ns: int) -> None:
    async with open_app() as app:
        assert await app.chnls.wait_receive(timeout_ns=timeout_ns) is None
        update(app, 5)
        message = await app.chnls.wait_receive(timeout_ns=timeout_ns)
        assert message is not None
        assert message.message_id == 5
        assert await app.chnls.wait_receive(timeout_ns=timeout_ns) is None


async def test_receive_nowait() -> None:
    async with open_app() as app:
        assert app.chnls.receive_nowait() is None
        update(app, 5)
        update(app, 6)
        for message_id in (5, 6):
            message = app.chnls.receive_nowait()
            assert message is not None
            assert message.message_id == message_id
        assert app.chnls.receive_nowait() is None


async def test_what_arrives_while_waiting_is_received() -> None:
    async with open_app() as app, trio.open_nursery() as nursery:

        async def wait(timeout_ns: int | None) -> None:
            message = await app.chnls.wait_receive(timeout_ns=timeout_ns)
            assert message is not None
            assert message.message_id == 5

        for timeout_ns in (None, 5_000_000_000):
            nursery.start_soon(wait, timeout_ns)
            await trio.testing.wait_all_tasks_blocked()
            update(app, 5)
            await trio.testing.wait_all_tasks_blocked()
        assert app.chnls.statistics().messages_waiting == 0


async def test_several_receivers_get_each_message_once() -> None:
    received: list[int] = []
    async with open_app() as app, trio.open_nursery() as nursery:

        async def receive() -> None:
            received.extend([(await app.receive()).message_id for _ in range(10)])

        for _ in range(3):
            nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        for message_id in range(30):
            update(app, message_id)
            if message_id % 7 == 0:
                await trio.testing.wait_all_tasks_blocked()
    assert sorted(received) == list(range(30))


@pytest.mark.parametrize("waiting", [False, True])
async def test_cancelling_loses_nothing(waiting: bool) -> None:
    async with open_app() as app:
        with trio.CancelScope() as scope:
            if waiting:
                scope.deadline = trio.current_time() + 0.01
            else:
                update(app, 5)
                scope.cancel()
            await app.chnls.wait_receive()
        assert scope.cancelled_caught
        if waiting:
            update(app, 5)
        assert (await app.receive()).message_id == 5


async def test_it_is_a_checkpoint_with_messages_waiting() -> None:
    """A loop over a full mailbox lets others run, and can be cancelled."""
    async with open_app() as app:
        for message_id in range(1000):
            update(app, message_id)
        turns = 0

        async def count_turns() -> None:
            nonlocal turns
            while True:
                await trio.lowlevel.checkpoint()
                turns += 1

        async with trio.open_nursery() as nursery:
            nursery.start_soon(count_turns)
            for message_id in range(1000):
                assert (await app.receive()).message_id == message_id
            nursery.cancel_scope.cancel()
        assert turns > 5  # one in 64 messages, give or take the scheduler's dice


async def test_async_for_puts_back_what_is_left_in_the_holder() -> None:
    async with open_app() as app:
        free = app.ampe.statistics().pool_free
        for message_id in range(3):
            update(app, message_id)
        kept: list[Message] = []
        seen: list[int] = []
        async for holder in app.chnls:
            assert holder.value is not None
            seen.append(holder.value.message_id)
            if len(seen) == 2:
                message = holder.take()
                assert message is not None
                kept.append(message)
            if len(seen) == 3:
                break
        assert seen == [0, 1, 2]
        assert kept[0].message_id == 1
        assert holder.value is not None  # the last one is the caller's
        assert app.ampe.statistics().pool_free == free - 2
        app.ampe.put(holder)
        app.ampe.put(Holder(kept[0]))
        assert app.ampe.statistics().pool_free == free


async def test_async_for_ends_with_the_group() -> None:
    async with open_app() as app, trio.open_nursery() as nursery:

        async def receive() -> None:
            async for _ in app.chnls:
                pass

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        await app.ampe.destroy(app.chnls)


@pytest.mark.parametrize("timeout_ns", [None, 0, 5_000_000_000])
async def test_a_closed_group_gives_shutdown(timeout_ns: int | None) -> None:
    async with open_app() as app:
        await app.ampe.destroy(app.chnls)
        with pytest.raises(ShutdownException):
            await app.chnls.wait_receive(timeout_ns=timeout_ns)
        with pytest.raises(ShutdownException):
            app.chnls.receive_nowait()


@pytest.mark.parametrize("timeout_ns", [None, 5_000_000_000])
async def test_closing_the_group_wakes_everybody_that_waits(timeout_ns: int | None) -> None:
    async with open_app() as app, trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises(ShutdownException):
                await app.chnls.wait_receive(timeout_ns=timeout_ns)

        for _ in range(3):
            nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        await app.ampe.destroy(app.chnls)
