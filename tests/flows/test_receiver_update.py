"""`update_receiver`: the application's own messages to itself (PROTOCOL 4)."""

import pytest
import trio

from pytofu import (
    AmpeStatus,
    Holder,
    Message,
    MessageReleasedError,
    OpCode,
    ShutdownException,
)
from tests.support import (
    App,
    ServerAddress,
    Side,
    from_app,
    from_engine,
    open_app,
    open_pair,
)

UPDATE = AmpeStatus.RECEIVER_UPDATE
SIGNAL = from_engine(OpCode.SIGNAL, UPDATE, 0, 0)


async def test_without_a_message() -> None:
    async with open_app() as app:
        holder = Holder[Message]()
        app.chnls.update_receiver(holder)
        assert holder.is_empty()
        assert await app.event() == SIGNAL
        assert await app.rest() == []


@pytest.mark.parametrize("opcode", OpCode)
@pytest.mark.parametrize("more", [False, True])
async def test_with_a_message(opcode: OpCode, more: bool) -> None:
    """Any message at all: it is not sent, so it is not validated."""
    async with open_app() as app:
        holder = app.message(opcode, 99, 5, headers=(("a", "b"),), body=b"body", more=more)
        message = holder.value
        assert message is not None
        message.status = AmpeStatus.POOL_EMPTY
        message.header.proto_byte |= 0b0001_0000  # from an engine, it says
        app.chnls.update_receiver(holder)
        assert holder.is_empty()
        with pytest.raises(MessageReleasedError):
            _ = message.opcode
        assert await app.event() == from_app(
            opcode, 99, 5, status=UPDATE, headers=(("a", "b"),), body=b"body", more=more
        )
        assert await app.rest() == []


async def test_an_empty_message() -> None:
    """Nothing is assigned: neither a channel nor an id."""
    async with open_app() as app:
        app.chnls.update_receiver(app.message(OpCode.REQUEST))
        assert await app.event() == from_app(OpCode.REQUEST, 0, 0, status=UPDATE)


async def test_in_order_with_all_the_rest(address: ServerAddress, side: Side) -> None:
    async with open_pair(address) as pair:
        near, far = pair.ends(side)
        far.post(OpCode.REQUEST, 5)
        await trio.testing.wait_all_tasks_blocked(0.002)
        near.app.chnls.update_receiver(Holder())
        near.app.chnls.update_receiver(near.app.message(OpCode.SIGNAL, 0, 6))
        far.post(OpCode.REQUEST, 7)
        await trio.testing.wait_all_tasks_blocked(0.002)
        near.app.chnls.update_receiver(Holder())
        assert await near.app.events(5) == [
            from_app(OpCode.REQUEST, near.number, 5),
            SIGNAL,
            from_app(OpCode.SIGNAL, 0, 6, status=UPDATE),
            from_app(OpCode.REQUEST, near.number, 7),
            SIGNAL,
        ]
        assert await far.app.rest() == []


async def test_it_wakes_the_one_that_waits() -> None:
    async with open_app() as app, trio.open_nursery() as nursery:

        async def wait() -> None:
            assert await app.event() == SIGNAL

        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        app.chnls.update_receiver(Holder())


async def test_each_one_is_delivered_once() -> None:
    async with open_app() as app:
        for _ in range(3):
            app.chnls.update_receiver(Holder())
        assert await app.events(3) == [SIGNAL] * 3
        assert await app.rest() == []


async def test_another_group_sees_nothing_of_it() -> None:
    async with open_app() as app, app.ampe.open_channel_group() as chnls:
        other = App(app.ampe, chnls)
        app.chnls.update_receiver(Holder())
        assert await app.event() == SIGNAL
        assert await other.rest() == []


async def test_from_another_thread() -> None:
    async with open_app() as app:

        def work() -> None:
            trio.from_thread.run_sync(app.chnls.update_receiver, Holder[Message]())
            holder = trio.from_thread.run_sync(app.message, OpCode.SIGNAL, 0, 6)
            trio.from_thread.run_sync(app.chnls.update_receiver, holder)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(trio.to_thread.run_sync, work)
            assert await app.events(2) == [
                SIGNAL,
                from_app(OpCode.SIGNAL, 0, 6, status=UPDATE),
            ]


async def test_a_closed_group_leaves_the_message_with_the_caller() -> None:
    async with open_app() as app:
        async with app.ampe.open_channel_group() as chnls:
            pass
        holder = app.message(OpCode.REQUEST, 0, 5)
        with pytest.raises(ShutdownException):
            chnls.update_receiver(holder)
        assert holder.value is not None
        assert holder.value.message_id == 5
        with pytest.raises(ShutdownException):
            chnls.update_receiver(Holder())
        app.chnls.update_receiver(holder)
        assert await app.event() == from_app(OpCode.REQUEST, 0, 5, status=UPDATE)
