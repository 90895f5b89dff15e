"""A channel group: its dispatcher, its channels' numbers, and how it closes (PROTOCOL 2 to 4)."""

import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Final

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from pytofu import (
    AllocationFailedException,
    AmpeStatus,
    Holder,
    InvalidChannelNumberException,
    Message,
    OpCode,
    Options,
    ShutdownException,
    TCPClientAddress,
    TCPServerAddress,
    open_ampe,
)
from pytofu.engine.channel import Channel
from tests.support import (
    FIN,
    PATIENCE,
    App,
    ClientAddress,
    Event,
    RawPeer,
    ServerAddress,
    Side,
    abort_ending,
    address_headers,
    clog,
    connect_apps,
    frame,
    from_app,
    from_engine,
    hello,
    open_app,
    open_pair,
    open_raw_pair,
    pool_empty,
)

CLOSED: Final = AmpeStatus.CHANNEL_CLOSED
LOCALHOST: Final = TCPServerAddress("127.0.0.1", 0)
ALL_NUMBERS: Final = range(1, 65535)


@asynccontextmanager
async def open_bare_app(options: Options | None = None) -> AsyncIterator[App]:
    """An application whose group the test destroys."""
    async with open_ampe(options) as ampe:
        yield App(ampe, ampe.create())


def dial(address: ClientAddress) -> RawPeer:
    """Connect without giving the listener a turn."""
    if isinstance(address, TCPClientAddress):
        sock = socket.create_connection((address.host, address.port))
    else:
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(address.path)
    return RawPeer(trio.socket.from_stdlib_socket(sock))


class Upon(trio.abc.Instrument):
    """Does something, once, in the very moment in which a channel's task is woken."""

    def __init__(self, action: Callable[[], None]) -> None:
        self._action: Callable[[], None] | None = action

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        if task.name.endswith("Channel.run") and self._action is not None:
            action, self._action = self._action, None
            action()


# ---------------------------------------------------------------------- the first moments


async def test_a_group_can_be_used_before_its_task_has_begun(address: ServerAddress) -> None:
    async with open_bare_app() as app:
        headers = address_headers(address)
        number = app.post(OpCode.WELCOME_REQUEST, 0, 7, headers=headers).channel_number
        event = await app.event()
        assert (event.opcode, event.channel) == (OpCode.WELCOME_RESPONSE, number)


async def test_a_group_can_be_destroyed_before_its_task_has_begun(
    address: ServerAddress,
) -> None:
    async with open_bare_app() as app:
        app.post(OpCode.WELCOME_REQUEST, headers=address_headers(address))
        app.post(OpCode.HELLO_REQUEST, headers=(("~connect_to", "tcp|127.0.0.1|1"),))
        await app.ampe.destroy(app.chnls)
        assert app.ampe.statistics().channels == app.ampe.statistics().groups == 0
        assert app.ampe.statistics().pool_free == Options().initial_pool_msgs


# ---------------------------------------------------------------------- flushing


async def test_a_burst_of_posts_keeps_its_order(address: ServerAddress, side: Side) -> None:
    """Whether the dispatcher flushes them or `post` itself, in answer to something."""
    async with open_pair(address) as pair:
        near, far = pair.ends(side)
        for answer in (False, True):
            if answer:
                far.post(OpCode.SIGNAL)
                await near.app.event()
            ids = [near.post(OpCode.SIGNAL).message_id for _ in range(100)]
            assert [(await far.app.event()).message_id for _ in range(100)] == ids


async def test_many_channels_are_flushed_in_one_turn(address: ServerAddress) -> None:
    async with open_pair(address) as pair:
        ends = [await connect_apps(pair.client.app, pair.listener) for _ in range(5)]
        await pair.client.app.rest()
        for client, _ in ends:
            client.post(OpCode.SIGNAL, 9)
        received = [await pair.server.app.event() for _ in ends]
        assert {event.channel for event in received} == {server.number for _, server in ends}


async def test_posting_to_a_channel_that_is_connecting_waits_for_it(
    address: ServerAddress,
) -> None:
    async with open_app() as app:
        listener = await app.listen(address)
        end = app.connect(listener.client_address, 1)
        end.post(OpCode.SIGNAL, 2)
        await trio.lowlevel.checkpoint()
        end.post(OpCode.SIGNAL, 3)
        assert [(await app.event()).message_id for _ in range(3)] == [1, 2, 3]


# ---------------------------------------------------------------------- channel numbers


@pytest.fixture
def take_all_numbers() -> Iterator[Callable[[App], None]]:
    """Make all numbers of an engine used, but those that are; give them back at the end."""
    taken: list[tuple[dict[int, Channel], list[int]]] = []

    def take(app: App) -> None:
        numbers = app.ampe._engine.numbers.open
        somebody = next(iter(numbers.values()))
        free = [number for number in ALL_NUMBERS if number not in numbers]
        numbers.update(dict.fromkeys(free, somebody))
        taken.append((numbers, free))

    yield take
    for numbers, free in taken:
        for number in free:
            numbers.pop(number, None)


async def test_without_a_free_number_nothing_can_be_opened(
    take_all_numbers: Callable[[App], None],
) -> None:
    async with open_app() as app:
        listener = await app.listen(LOCALHOST)
        take_all_numbers(app)
        for opcode in (OpCode.HELLO_REQUEST, OpCode.WELCOME_REQUEST):
            holder = app.message(opcode, headers=address_headers(listener.address))
            with pytest.raises(AllocationFailedException):
                app.chnls.post(holder)
            assert holder.value is not None
            assert holder.value.status is AmpeStatus.ALLOCATION_FAILED
            assert holder.value.channel_number == 0
            app.ampe.put(holder)
        assert app.chnls.statistics().channels == 1


async def test_without_a_free_number_connections_are_refused(
    address: ServerAddress,
    take_all_numbers: Callable[[App], None],
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_app() as app:
        listener = await app.listen(address)
        take_all_numbers(app)
        with dial(listener.client_address) as peer:
            assert await peer.ending() == (b"", abort_ending(address))
        assert await app.rest() == []
        (record,) = caplog.records
        assert record.levelno == logging.WARNING
        assert "no channel number is free" in record.getMessage()
        del app.ampe._engine.numbers.open[next(n for n in (1, 2) if n != listener.number)]
        with await RawPeer.connect(listener.client_address) as peer:
            await peer.send(hello(5))
            event = await app.event()
            assert event.message_id == 5
            assert event.channel in {1, 2}
        await app.event()


# ---------------------------------------------------------------------- update_receiver


async def test_what_the_application_puts_in_itself_is_in_order_with_the_rest(
    address: ServerAddress,
) -> None:
    async with open_pair(address) as pair:
        near, far = pair.client, pair.server
        far.post(OpCode.SIGNAL, 1)
        await wait_all_tasks_blocked(0.01)
        near.app.chnls.update_receiver(Holder())
        far.post(OpCode.SIGNAL, 2)
        await wait_all_tasks_blocked(0.01)
        message = Message()
        message.opcode = OpCode.RESPONSE
        message.message_id = 3
        message.channel_number = 12345
        message.text_headers.append("a", "b")
        message.set_payload(b"body")
        holder = Holder(message)
        near.app.chnls.update_receiver(holder)
        assert holder.is_empty()
        update = AmpeStatus.RECEIVER_UPDATE
        assert await near.app.events(4) == [
            from_app(OpCode.SIGNAL, near.number, 1),
            from_engine(OpCode.SIGNAL, update, 0, 0),
            from_app(OpCode.SIGNAL, near.number, 2),
            from_app(OpCode.RESPONSE, 12345, 3, status=update, headers=(("a", "b"),), body=b"body"),
        ]


# ---------------------------------------------------------------------- closing


async def test_what_was_not_received_goes_back_to_the_pool(address: ServerAddress) -> None:
    async with open_bare_app(Options(initial_pool_msgs=8)) as app, open_app() as other:
        listener = await app.listen(address)
        client = other.connect(listener.client_address)
        for _ in range(3):
            client.post(OpCode.SIGNAL)
        app.chnls.update_receiver(Holder())
        await wait_all_tasks_blocked(0.01)
        assert app.chnls.statistics().messages_waiting == 5
        assert app.ampe.statistics().pool_free == 3
        await app.ampe.destroy(app.chnls)
        assert app.ampe.statistics().pool_free == 8
        await client.events_until_closed()


async def test_what_channels_report_while_the_group_closes_goes_back_to_the_pool(
    address: ServerAddress, side: Side
) -> None:
    options = Options(initial_pool_msgs=256, close_timeout=0.05)
    async with open_raw_pair(side, address, options=options) as pair:
        await clog(pair)
        assert pair.app.ampe.statistics().pool_free == 256  # what is posted is no longer a message
        await pair.app.ampe.destroy(pair.app.chnls)
        assert pair.app.ampe.statistics().pool_free == 256


async def test_a_closed_channel_of_a_closed_group_is_closed_by_shutdown(
    address: ServerAddress,
) -> None:
    async with open_bare_app() as app, open_app() as other:
        listener = await app.listen(address)
        client = other.connect(listener.client_address)
        await client.app.rest()
        await app.ampe.destroy(app.chnls)
        for opcode in (OpCode.SIGNAL, OpCode.BYE_SIGNAL):
            with pytest.raises(ShutdownException):
                app.post(opcode, listener.number)
        for opcode in (OpCode.HELLO_REQUEST, OpCode.WELCOME_REQUEST):
            with pytest.raises(ShutdownException):
                app.post(opcode, headers=address_headers(listener.address))
        with pytest.raises(InvalidChannelNumberException):  # step 8 comes before step 9
            app.post(OpCode.SIGNAL, 65535)
        await client.events_until_closed()


async def test_posting_to_a_channel_that_is_closing_with_its_group(
    address: ServerAddress, nursery: trio.Nursery
) -> None:
    async with open_raw_pair("client", address) as pair:
        nursery.start_soon(pair.app.ampe.destroy, pair.app.chnls)
        await wait_all_tasks_blocked(0.01)  # the peer has not closed yet
        assert pair.app.chnls.statistics().channels == 1
        holder = pair.app.message(OpCode.SIGNAL, pair.end.number)
        with pytest.raises(ShutdownException):
            pair.app.chnls.post(holder)
        assert holder.value is not None
        assert holder.value.status is AmpeStatus.SHUTDOWN_STARTED
        pair.app.ampe.put(holder)


@pytest.mark.parametrize("abort", [False, True])
async def test_a_connection_accepted_in_the_moment_of_closing_is_closed_too(
    address: ServerAddress, abort: bool
) -> None:
    async with open_bare_app(Options(hello_timeout=60)) as app:
        listener = await app.listen(address)
        group = app.chnls._group
        instrument = Upon(lambda: group.close(abort=abort))
        trio.lowlevel.add_instrument(instrument)
        try:
            with dial(listener.client_address), trio.fail_after(PATIENCE / 5):
                await group.closed.wait()
        finally:
            trio.lowlevel.remove_instrument(instrument)
        assert app.ampe.statistics().channels == 0


async def test_a_message_put_back_in_the_moment_of_closing_does_not_spoil_the_end(
    address: ServerAddress, side: Side, nursery: trio.Nursery
) -> None:
    options = Options(initial_pool_msgs=2, max_pool_msgs=2)
    async with open_raw_pair(side, address, options=options) as pair:
        app, peer = pair.app, pair.peer
        await peer.send(b"".join(frame(OpCode.SIGNAL, number) for number in range(1, 4)))
        held = [Holder(await app.receive()) for _ in range(2)]
        news = Holder(await app.receive())
        assert news.value is not None
        assert Event.of(news.value) == pool_empty(pair.end.number)
        answer = Message()
        answer.channel_number = pair.end.number
        answer.message_id = 9
        app.chnls.post(Holder(answer))
        app.ampe.put(held.pop())  # which wakes the channel, and then:
        nursery.start_soon(app.ampe.destroy, app.chnls)
        group = app.chnls._group
        group.close(abort=False)
        expected = frame(OpCode.REQUEST, 9, channel=pair.end.number)
        assert await peer.ending() == (expected, FIN)
        peer.close()
        await group.closed.wait()
        for holder in (*held, news):
            app.ampe.put(holder)
