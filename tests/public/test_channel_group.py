"""`ChannelGroup`: posting, sending, receiving (PROTOCOL 3 and 4)."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

import attrs
import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from pytofu import (
    AmpeException,
    AmpeStatus,
    BinaryHeader,
    ChannelClosedException,
    ChannelGroupStatistics,
    Holder,
    InvalidChannelNumberException,
    InvalidMessageChannelGroupException,
    Message,
    MessageReleasedError,
    NotAllowedException,
    NullMessageException,
    OpCode,
    Options,
    ShutdownException,
    TCPServerAddress,
    open_ampe,
)
from pytofu.engine.io_channel import IoChannel
from tests.resources import nothing_left as nothing_left
from tests.support import (
    PATIENCE,
    App,
    Clog,
    RawPair,
    ServerAddress,
    Side,
    clog,
    connect_apps,
    frame,
    open_app,
    open_pair,
    open_raw_pair,
)

pytestmark = pytest.mark.usefixtures("nothing_left")

LOCALHOST: Final = TCPServerAddress("127.0.0.1", 0)
LATE_ID: Final = 5


def queue_len(pair: RawPair) -> int:
    """Bytes queued on the application's channel."""
    channel = pair.app.ampe._engine.numbers.open[pair.end.number]
    assert isinstance(channel, IoChannel)
    return channel.conversation.writer.held


def spend_time(counter: list[int], nursery: trio.Nursery) -> None:
    """Count in the background how often the scheduler gets a turn."""

    async def spin() -> None:
        while True:
            counter.append(1)
            await trio.lowlevel.checkpoint()

    nursery.start_soon(spin)


# ---------------------------------------------------------------------- post


async def test_what_is_posted_is_given_away() -> None:
    async with open_pair(LOCALHOST) as pair:
        holder = pair.client.app.message(OpCode.REQUEST, pair.client.number)
        message = holder.unwrap()
        header = pair.client.app.chnls.post(holder)
        assert holder.is_empty()
        assert header.channel_number == pair.client.number
        assert header.message_id
        with pytest.raises(MessageReleasedError):
            _ = message.opcode
        assert (await pair.server.app.event()).message_id == header.message_id


async def test_what_is_refused_stays_and_says_why() -> None:
    async with open_app() as app:
        holder = app.message(OpCode.REQUEST, 77)
        message = holder.value
        with pytest.raises(InvalidChannelNumberException) as caught:
            app.chnls.post(holder)
        assert holder.value is message
        assert holder.unwrap().status is caught.value.error_code.to_status()
        app.ampe.put(holder)


# ---------------------------------------------------------------------- send


class Sender:
    """A task that sends one message."""

    def __init__(self, pair: RawPair, message_id: int = LATE_ID) -> None:
        self.pair = pair
        self.holder = pair.app.message(OpCode.SIGNAL, pair.end.number, message_id)
        self.scope = trio.CancelScope()
        self.header: BinaryHeader | None = None
        self.error: AmpeException | None = None
        self.queued_at_the_end = -1

    async def run(self) -> None:
        with self.scope:
            try:
                self.header = await self.pair.app.chnls.send(self.holder)
                self.queued_at_the_end = queue_len(self.pair)
            except AmpeException as error:
                self.error = error

    @property
    def is_waiting(self) -> bool:
        return self.header is None and self.error is None and not self.scope.cancelled_caught


@asynccontextmanager
async def open_waiting(
    side: Side, address: ServerAddress
) -> AsyncIterator[tuple[RawPair, Clog, Sender]]:
    """A sender that waits because the peer does not read."""
    async with (
        open_raw_pair(side, address) as pair,
        trio.open_nursery() as nursery,
    ):
        full = await clog(pair)
        assert queue_len(pair) > Options().high_water
        sender = Sender(pair)
        nursery.start_soon(sender.run)
        await wait_all_tasks_blocked()
        assert sender.is_waiting
        yield pair, full, sender


async def test_send_posts_when_there_is_room(address: ServerAddress, side: Side) -> None:
    async with open_pair(address) as pair:
        near, far = pair.ends(side)
        holder = near.app.message(OpCode.SIGNAL, near.number)
        header = await near.app.chnls.send(holder)
        assert holder.is_empty()
        event = await far.app.event()
        assert (event.message_id, event.channel) == (header.message_id, far.number)


async def test_send_waits_until_half_of_what_is_queued_has_gone(
    address: ServerAddress, side: Side
) -> None:
    async with open_waiting(side, address) as (pair, full, sender):
        everything = full.stream() + frame(OpCode.SIGNAL, LATE_ID, channel=pair.end.number)
        assert await pair.peer.receive_bytes(len(everything)) == everything
        assert sender.header is not None
        assert sender.header.message_id == LATE_ID
        assert sender.holder.is_empty()
        assert 0 <= sender.queued_at_the_end <= Options().high_water // 2 + 16


async def test_a_little_room_is_not_enough() -> None:
    async with open_waiting("client", LOCALHOST) as (pair, _, sender):
        while queue_len(pair) > Options().high_water:
            assert sender.is_waiting
            await pair.peer.receive_bytes(50_000)
            await wait_all_tasks_blocked()
        if queue_len(pair) > Options().high_water // 2:
            assert sender.is_waiting
        sender.scope.cancel()
    pair.app.ampe.put(sender.holder)


async def test_many_senders_may_wait_and_each_sends_once() -> None:
    async with open_raw_pair("client", LOCALHOST) as pair, trio.open_nursery() as nursery:
        full = await clog(pair)
        senders = [Sender(pair, message_id) for message_id in range(1, 11)]
        for sender in senders:
            nursery.start_soon(sender.run)
        await wait_all_tasks_blocked()
        assert all(sender.is_waiting for sender in senders)
        await pair.peer.receive_bytes(len(full.stream()))
        ids = [(await pair.peer.receive_frame()).message_id for _ in senders]
        assert sorted(ids) == list(range(1, 11))


async def test_only_the_messages_own_channel_is_waited_for() -> None:
    async with open_waiting("client", LOCALHOST) as (pair, _, sender):
        listener = await pair.app.listen(LOCALHOST)
        async with open_app() as other:
            client, far = await connect_apps(other, listener)
            holder = pair.app.message(OpCode.SIGNAL, far.number)
            with trio.fail_after(PATIENCE):
                await pair.app.chnls.send(holder)
            await client.app.event()
        await far.events_until_closed()
        sender.scope.cancel()
    pair.app.ampe.put(sender.holder)


async def test_a_channel_of_another_group_is_not_waited_for() -> None:
    async with open_waiting("client", LOCALHOST) as (pair, _, sender):
        async with pair.app.ampe.open_channel_group() as other:
            holder = pair.app.message(OpCode.SIGNAL, pair.end.number)
            with pytest.raises(InvalidMessageChannelGroupException):
                await other.send(holder)
            pair.app.ampe.put(holder)
        sender.scope.cancel()
    pair.app.ampe.put(sender.holder)


async def test_a_sender_that_is_cancelled_keeps_its_message() -> None:
    async with open_waiting("client", LOCALHOST) as (pair, full, sender):
        queued = queue_len(pair)
        sender.scope.cancel()
        await wait_all_tasks_blocked()
        assert sender.scope.cancelled_caught
        assert queue_len(pair) == queued
        assert sender.holder.unwrap().message_id == LATE_ID
        with trio.fail_after(PATIENCE):
            assert await pair.peer.receive_bytes(len(full.stream())) == full.stream()
            await pair.app.chnls.send(sender.holder)
        assert (await pair.peer.receive_frame()).message_id == LATE_ID


@pytest.mark.parametrize("how", ["aborted here", "reset by the peer", "closed by the peer"])
async def test_a_sender_hears_that_its_channel_has_closed(how: str) -> None:
    async with open_waiting("client", LOCALHOST) as (pair, full, sender):
        match how:
            case "aborted here":
                pair.end.post(OpCode.BYE_SIGNAL, 9)
            case "reset by the peer":
                pair.peer.reset()
            case _:
                pair.peer.fin()
        events = await pair.end.events_until_closed()
        await wait_all_tasks_blocked()
        assert not sender.is_waiting
        unsent = [event for event in events if event.opcode is OpCode.SIGNAL and event.message_id]
        if sender.header is None:
            assert isinstance(sender.error, ChannelClosedException)
            assert sender.holder.unwrap().status is AmpeStatus.CHANNEL_CLOSED
            assert all(event.message_id != LATE_ID for event in events)
            pair.app.ampe.put(sender.holder)
        else:  # posted in time, and returned
            assert sender.holder.is_empty()
            assert [event.message_id for event in unsent].count(LATE_ID) == 1
        assert len(full.unsent(AmpeStatus.CHANNEL_CLOSED)) <= len(unsent)


async def test_a_sender_hears_that_its_group_is_destroyed() -> None:
    options = Options(close_timeout=0.05)
    async with (
        open_raw_pair("client", LOCALHOST, options=options) as pair,
        trio.open_nursery() as nursery,
    ):
        await clog(pair)
        sender = Sender(pair)
        nursery.start_soon(sender.run)
        await wait_all_tasks_blocked()
        await pair.app.ampe.destroy(pair.app.chnls)
        await wait_all_tasks_blocked()
        assert isinstance(sender.error, ShutdownException)
        pair.app.ampe.put(sender.holder)
        assert sender.holder.is_empty()


async def test_a_message_taken_back_while_its_sender_waits_is_not_sent() -> None:
    async with open_waiting("client", LOCALHOST) as (pair, full, sender):
        pair.app.ampe.put(sender.holder)
        await pair.peer.receive_bytes(len(full.stream()))
        await wait_all_tasks_blocked()
        assert isinstance(sender.error, NullMessageException)


async def test_send_refuses_what_post_refuses() -> None:
    async with open_app() as app:
        listener = await app.listen(LOCALHOST)
        with pytest.raises(NullMessageException):
            await app.chnls.send(Holder())
        for number, error in ((listener.number, NotAllowedException), (0, AmpeException)):
            holder = app.message(OpCode.SIGNAL, number)
            with pytest.raises(error):
                await app.chnls.send(holder)
            assert not holder.is_empty()
            app.ampe.put(holder)
        released = Message()
        holder = Holder(released)
        released.release()
        with pytest.raises(MessageReleasedError):
            await app.chnls.send(holder)


async def test_a_channel_can_be_opened_with_send() -> None:
    async with open_app() as app, open_app() as other:
        listener = await app.listen(LOCALHOST)
        message = other.ampe.get()
        listener.client_address.format(message)
        header = await other.chnls.send(Holder(message))
        assert header.channel_number
        assert (await app.event()).message_id == header.message_id


async def test_send_is_a_point_of_cancellation_and_gives_others_a_turn() -> None:
    options = Options(channel_share=1)  # so that the server has room for all
    async with (
        open_pair(LOCALHOST, server_options=options) as pair,
        trio.open_nursery() as nursery,
    ):
        app = pair.client.app
        holder = app.message(OpCode.SIGNAL, pair.client.number)
        with trio.CancelScope() as scope:
            scope.cancel()
            await app.chnls.send(holder)
        assert scope.cancelled_caught
        app.ampe.put(holder)
        turns: list[int] = []
        spend_time(turns, nursery)
        for _ in range(256):
            await app.chnls.send(app.message(OpCode.SIGNAL, pair.client.number))
        assert len(turns) >= 3
        nursery.cancel_scope.cancel()


# ---------------------------------------------------------------------- wait_receive


async def test_messages_are_received_in_order_and_belong_to_the_receiver() -> None:
    async with open_pair(LOCALHOST) as pair:
        ids = [pair.client.post(OpCode.SIGNAL).message_id for _ in range(3)]
        app = pair.server.app
        free = app.ampe.statistics().pool_free
        messages = [await app.receive() for _ in ids]
        assert [message.message_id for message in messages] == ids
        assert app.ampe.statistics().pool_free == free - 3
        for message in messages:
            app.ampe.put(Holder(message))


async def test_time_outs(autojump_clock: trio.testing.MockClock) -> None:
    async with open_app() as app:
        for timeout_ns, seconds in ((0, 0.0), (1_500_000_000, 1.5), (10**12, 1000.0)):
            start = trio.current_time()
            assert await app.chnls.wait_receive(timeout_ns=timeout_ns) is None
            assert trio.current_time() - start == pytest.approx(seconds)
        with trio.move_on_after(10**6) as scope:
            await app.chnls.wait_receive(timeout_ns=None)
        assert scope.cancelled_caught


@pytest.mark.parametrize("timeout_ns", [None, 0, 10**9])
async def test_what_is_there_is_received_whatever_the_timeout(timeout_ns: int | None) -> None:
    async with open_app() as app:
        app.chnls.update_receiver(Holder())
        message = await app.chnls.wait_receive(timeout_ns=timeout_ns)
        assert message is not None
        assert message.status is AmpeStatus.RECEIVER_UPDATE
        app.ampe.put(Holder(message))


async def test_what_comes_while_the_time_runs_is_received(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_app() as app, trio.open_nursery() as nursery:

        async def update_later() -> None:
            await trio.sleep(1)
            app.chnls.update_receiver(Holder())

        nursery.start_soon(update_later)
        message = await app.chnls.wait_receive(timeout_ns=2 * 10**9)
        assert trio.current_time() == pytest.approx(1)
        assert message is not None
        assert message.status is AmpeStatus.RECEIVER_UPDATE
        app.ampe.put(Holder(message))


class Thief(trio.abc.Instrument):
    """Receives everything in the moment before a task goes on behind a checkpoint."""

    def __init__(self, app: App) -> None:
        self.stolen: list[Message] = []
        self._app = app
        self._task = trio.lowlevel.current_task()

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        while task is self._task and (message := self._app.chnls.receive_nowait()) is not None:
            self.stolen.append(message)


async def test_others_may_receive_in_the_turn_that_they_are_given() -> None:
    async with open_app() as app:
        for _ in range(63):
            app.chnls.update_receiver(Holder())
            app.ampe.put(Holder(await app.chnls.wait_receive()))
        app.chnls.update_receiver(Holder())
        thief = Thief(app)
        trio.lowlevel.add_instrument(thief)
        try:
            # The 64th gives others a turn.
            assert await app.chnls.wait_receive(timeout_ns=0) is None
        finally:
            trio.lowlevel.remove_instrument(thief)
        (message,) = thief.stolen
        app.ampe.put(Holder(message))


async def test_receiving_is_always_a_point_of_cancellation_and_loses_nothing() -> None:
    async with open_app() as app:
        for _ in range(130):
            app.chnls.update_receiver(Holder())
        for waiting in range(130, 0, -1):
            with trio.CancelScope() as scope:
                scope.cancel()
                await app.chnls.wait_receive()
            assert scope.cancelled_caught
            assert app.chnls.statistics().messages_waiting == waiting
            app.ampe.put(Holder(await app.chnls.wait_receive()))
        with trio.CancelScope() as scope:
            scope.cancel()
            await app.chnls.wait_receive(timeout_ns=0)
        assert scope.cancelled_caught


async def test_receiving_gives_others_a_turn_once_in_64_messages() -> None:
    async with open_app() as app, trio.open_nursery() as nursery:
        turns: list[int] = []
        for _ in range(256):
            app.chnls.update_receiver(Holder())
        spend_time(turns, nursery)
        for _ in range(256):
            app.ampe.put(Holder(await app.chnls.wait_receive()))
        assert len(turns) >= 3
        nursery.cancel_scope.cancel()


async def test_receiving_nothing_is_a_checkpoint() -> None:
    async with open_app() as app:
        for timeout_ns in (0, 1):
            with assert_checkpoints():
                assert await app.chnls.wait_receive(timeout_ns=timeout_ns) is None


async def test_a_receiver_that_is_cancelled_while_it_waits_loses_nothing() -> None:
    async with open_app() as app, trio.open_nursery() as nursery:
        received: list[Message] = []

        async def receive(scope: trio.CancelScope) -> None:
            with scope:
                received.append(await app.chnls.wait_receive())

        scope = trio.CancelScope()
        nursery.start_soon(receive, scope)
        await wait_all_tasks_blocked()
        app.chnls.update_receiver(Holder())
        scope.cancel()
        await wait_all_tasks_blocked()
        left = app.chnls.receive_nowait()
        assert len(received) + (left is not None) == 1


async def test_everybody_who_waits_hears_of_the_shutdown() -> None:
    async with trio.open_nursery() as nursery, open_ampe() as ampe:
        chnls = ampe.create()
        heard: list[int | None] = []

        async def receive(timeout_ns: int | None) -> None:
            with pytest.raises(ShutdownException):
                await chnls.wait_receive(timeout_ns=timeout_ns)
            heard.append(timeout_ns)

        for timeout_ns in (None, None, 10**12):
            nursery.start_soon(receive, timeout_ns)
        await wait_all_tasks_blocked()
        await ampe.destroy(chnls)
        await wait_all_tasks_blocked()
        assert len(heard) == 3


# ---------------------------------------------------------------------- receive_nowait


async def test_receive_nowait() -> None:
    async with open_ampe() as ampe:
        async with ampe.open_channel_group() as chnls:
            assert chnls.receive_nowait() is None
            chnls.update_receiver(Holder())
            message = chnls.receive_nowait()
            assert message is not None
            ampe.put(Holder(message))
            assert chnls.receive_nowait() is None
        with pytest.raises(ShutdownException):
            chnls.receive_nowait()


async def test_receive_nowait_in_the_moment_in_which_another_receiver_is_woken() -> None:
    async with open_app() as app, trio.open_nursery() as nursery:
        received: list[Message | None] = []

        async def receive() -> None:
            received.append(await app.chnls.wait_receive(timeout_ns=10**8))

        nursery.start_soon(receive)
        await wait_all_tasks_blocked()
        app.chnls.update_receiver(Holder())
        received.append(app.chnls.receive_nowait())
        with trio.fail_after(PATIENCE):
            while len(received) < 2:
                await trio.lowlevel.checkpoint()
        assert [message is None for message in received].count(False) == 1


# ---------------------------------------------------------------------- async for


async def test_each_message_is_put_back_when_the_loop_moves_on() -> None:
    async with open_app(Options(initial_pool_msgs=3)) as app:
        for _ in range(3):
            app.chnls.update_receiver(app.message(OpCode.SIGNAL))
        assert app.ampe.statistics().pool_free == 0
        seen = 0
        async for holder in app.chnls:
            assert holder.unwrap().status is AmpeStatus.RECEIVER_UPDATE
            assert app.ampe.statistics().pool_free == seen
            seen += 1
            if seen == 3:
                break
        assert app.ampe.statistics().pool_free == 2
        assert not holder.is_empty()  # the loop was left: the last message is ours
        app.ampe.put(holder)
        assert app.ampe.statistics().pool_free == 3


async def test_a_message_posted_in_the_loop_is_not_put_back() -> None:
    async with open_pair(LOCALHOST) as pair:
        app = pair.server.app
        for body in (b"1", b"2", b"3"):
            pair.client.post(OpCode.REQUEST, body=body)
        async for holder in app.chnls:
            message = holder.unwrap()
            message.opcode = OpCode.RESPONSE
            last = message.payload == b"3"
            app.chnls.post(holder)
            if last:
                break
        assert holder.is_empty()
        assert [(await pair.client.app.event()).body for _ in range(3)] == [b"1", b"2", b"3"]
        assert app.ampe.statistics().pool_free == Options().initial_pool_msgs


async def test_a_message_taken_from_its_holder_is_the_takers() -> None:
    async with open_app() as app:
        taken: list[Message | None] = []
        for _ in range(2):
            app.chnls.update_receiver(Holder())
        async for holder in app.chnls:
            taken.append(holder.take())
            if len(taken) == 2:
                break
        assert [message is not None and message.message_id for message in taken] == [0, 0]


@pytest.mark.parametrize("waiting", [False, True])
async def test_the_loop_ends_when_the_group_is_destroyed(waiting: bool) -> None:
    async with open_ampe() as ampe, trio.open_nursery() as nursery:
        chnls = ampe.create()
        chnls.update_receiver(Holder())
        finished: list[int] = []

        async def loop() -> None:
            count = 0
            async for holder in chnls:
                assert not holder.is_empty()
                count += 1
                if not waiting:
                    await ampe.destroy(chnls)
            finished.append(count)

        nursery.start_soon(loop)
        if waiting:
            await wait_all_tasks_blocked()
            await ampe.destroy(chnls)
        await wait_all_tasks_blocked()
        assert finished == [1]
        assert ampe.statistics().pool_free == Options().initial_pool_msgs


async def test_cancelling_the_loop_puts_the_last_message_back_and_loses_none() -> None:
    async with open_app() as app:
        app.chnls.update_receiver(app.message(OpCode.SIGNAL))
        with trio.CancelScope() as scope:
            async for holder in app.chnls:
                assert not holder.is_empty()
                app.chnls.update_receiver(app.message(OpCode.SIGNAL))
                scope.cancel()
        assert scope.cancelled_caught
        assert app.chnls.statistics().messages_waiting == 1
        assert app.ampe.statistics().pool_free == Options().initial_pool_msgs - 1


async def test_loops_may_follow_each_other() -> None:
    async with open_app() as app:
        for _ in range(3):
            app.chnls.update_receiver(Holder())
            async for holder in app.chnls:
                app.ampe.put(holder)
                break
        iterator = aiter(app.chnls)
        assert aiter(iterator) is iterator


# ---------------------------------------------------------------------- what there is to see


async def test_statistics() -> None:
    async with open_pair(LOCALHOST) as pair:
        chnls = pair.server.app.chnls
        before = chnls.statistics()
        assert before == ChannelGroupStatistics(
            channels=2,
            messages_waiting=0,
            messages_sent=1,
            messages_received=1,
            bytes_sent=16,
            bytes_received=before.bytes_received,
        )
        pair.client.post(OpCode.SIGNAL, body=b"1234")
        await wait_all_tasks_blocked(0.01)
        assert chnls.statistics() == attrs.evolve(
            before,
            messages_waiting=1,
            messages_received=2,
            bytes_received=before.bytes_received + 20,
        )
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            before.channels = 1  # type: ignore[misc]


async def test_repr_says_what_state_the_group_is_in() -> None:
    async with open_ampe() as ampe:
        chnls = ampe.create()
        await App(ampe, chnls).listen(LOCALHOST)
        assert repr(chnls) == "<ChannelGroup 1 channels>"
        await ampe.destroy(chnls)
        assert repr(chnls) == "<ChannelGroup closed>"
