"""Cancelling the caller at its Nth checkpoint, for every N, in every main flow (PROTOCOL 4).

Each flow runs again and again, in an event loop of its own. In run N the scope around it is
cancelled at the Nth step of the task: in one sweep while the task waits there, in another when
what it waited for has just happened and the task has not run since. The sweep ends with the run
that was never cancelled. After each run nothing may be missing: every message was sent, came back
or is still with the caller, the pools are as full as before, and no task, socket, file, channel
or group is left.
"""

import itertools
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import Enum, auto
from functools import partial
from pathlib import Path
from typing import Final

import attrs
import pytest
import trio
import trio.testing

from pytofu import (
    Ampe,
    AmpeException,
    AmpeStatus,
    BinaryHeader,
    ChannelClosedException,
    ChannelGroup,
    Holder,
    Message,
    MessageRole,
    OpCode,
    Options,
    ShutdownException,
    UDSClientAddress,
    open_ampe,
)
from tests.leaks import live_tasks, open_files
from tests.support import (
    App,
    ClientAddress,
    End,
    Event,
    Headers,
    Kind,
    ServerAddress,
    client_address_of,
    server_address_of,
    tls_options,
)

POOL: Final = 32
LAZY_POOL: Final = 8
LARGE: Final = bytes(60_000)
SAY_BYE: Final = b"bye"
OPTIONS: Final = Options(initial_pool_msgs=POOL, max_pool_msgs=4 * POOL, high_water=2 * len(LARGE))


class Moment(Enum):
    """When the scope is cancelled."""

    WAITING = auto()
    WOKEN = auto()


class Canceller(trio.abc.Instrument):
    """Cancels its scope when one task reaches a checkpoint, the `at`-th from 0."""

    def __init__(self, moment: Moment, at: int) -> None:
        self.scope = trio.CancelScope()
        self._moment = moment
        self._left = at
        self._task: trio.lowlevel.Task | None = None

    async def watch(self, flow: Callable[[], Awaitable[None]]) -> bool:
        """Run the flow in the scope; whether that was cancelled, be it too late to matter."""
        self._task = trio.lowlevel.current_task()
        with self.scope:
            await flow()
        self._task = None
        return self.scope.cancel_called

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if self._moment is Moment.WAITING:
            self._reached(task)

    def task_scheduled(self, task: trio.lowlevel.Task) -> None:
        if self._moment is Moment.WOKEN:
            self._reached(task)

    def _reached(self, task: trio.lowlevel.Task) -> None:
        if task is self._task:
            self._left -= 1
            if self._left == -1:
                self.scope.cancel()


def at_every_checkpoint(moment: Moment, run: Callable[[Canceller], Awaitable[bool]]) -> None:
    """Run it with a canceller for each checkpoint, until there was none left to be cancelled at.

    What it returns is what its `watch` has. No file is left open.
    """
    files = open_files()
    for at in itertools.count():
        canceller = Canceller(moment, at)
        cancelled = trio.run(run, canceller, instruments=[canceller])
        assert open_files() == files
        if not cancelled:
            assert at > 0
            break


class Caller(App):
    """The application that is cancelled. It keeps account of its messages."""

    def __init__(self, ampe: Ampe, chnls: ChannelGroup) -> None:
        super().__init__(ampe, chnls)
        self._holders: list[Holder[Message]] = []
        self._refused = 0
        self._returned: list[int] = []  # message_ids
        self._open: set[int] = set()  # channels
        self.posted: dict[int, list[int]] = {}  # message_ids for the peer, by channel

    def message(
        self,
        opcode: OpCode,
        channel: int = 0,
        message_id: int = 0,
        *,
        headers: Headers = (),
        body: bytes = b"",
        more: bool = False,
    ) -> Holder[Message]:
        """As in every application, with a message_id that no other message of this one has."""
        message_id = len(self._holders) + 1
        holder = super().message(opcode, channel, message_id, headers=headers, body=body, more=more)
        self._holders.append(holder)
        return holder

    def post(
        self,
        opcode: OpCode,
        channel: int = 0,
        message_id: int = 0,
        *,
        headers: Headers = (),
        body: bytes = b"",
        more: bool = False,
    ) -> BinaryHeader:
        try:
            header = super().post(
                opcode, channel, message_id, headers=headers, body=body, more=more
            )
        except AmpeException:
            self._refused += 1
            raise
        self._open.add(header.channel_number)
        if opcode not in (OpCode.BYE_SIGNAL, OpCode.WELCOME_REQUEST):
            self.posted.setdefault(header.channel_number, []).append(header.message_id)
        return header

    async def send(self, opcode: OpCode, channel: int, *, body: bytes = b"") -> None:
        """As `post`, waiting for room."""
        holder = self.message(opcode, channel, body=body)
        header = await self.chnls.send(holder)
        self.posted[channel].append(header.message_id)

    async def hello(self, address: ClientAddress) -> End:
        """Connect, and hear the server's answer."""
        end = self.connect(address)
        await self.expect(OpCode.HELLO_RESPONSE, end.number)
        return end

    async def expect(
        self, opcode: OpCode, channel: int, status: AmpeStatus = AmpeStatus.SUCCESS
    ) -> Event:
        """Receive the next message, which must be this one."""
        event = await self.event()
        assert (event.opcode, event.channel, event.status) == (opcode, channel, status)
        return event

    async def expect_closed(self, channel: int, reason: AmpeStatus) -> None:
        """Receive the last event of a channel."""
        event = await self.expect(OpCode.SIGNAL, channel, AmpeStatus.CHANNEL_CLOSED)
        assert event.reason is reason

    async def receive(self) -> Message:
        message = await super().receive()
        self._note(Event.of(message))
        return message

    def _note(self, event: Event) -> None:
        if event.reason is not None:
            self._open.discard(event.channel)  # not there if it closed before its HelloRequest came
        elif event.opcode is OpCode.WELCOME_RESPONSE or (
            event.status is not AmpeStatus.SUCCESS and event.message_id
        ):
            self._returned.append(event.message_id)
        elif event.channel:
            self._open.add(event.channel)

    async def settle(self) -> None:
        """Abort what is still open; check that every message is accounted for."""
        held = [holder for holder in self._holders if not holder.is_empty()]
        with suppress(ShutdownException):  # the flow has closed the group: what came back is gone
            while self.chnls.statistics().channels:
                for number in self._open:
                    with suppress(ChannelClosedException):
                        self.post(OpCode.BYE_SIGNAL, number)
                for event in await self.rest():
                    self._note(event)
            for event in await self.rest():
                self._note(event)
            sent = self.chnls.statistics().messages_sent
            returned = len(self._returned)
            assert sent + returned + len(held) + self._refused == len(self._holders)
        assert len(set(self._returned)) == len(self._returned)
        for holder in held:
            self.ampe.put(holder)


@attrs.define
class World:
    """What a flow finds."""

    ampe: Ampe
    caller: Caller
    """On a group that outlives the flow."""
    server: ClientAddress
    address: ServerAddress
    """Where the flow can listen itself."""
    callers: list[Caller] = attrs.Factory(list)

    def new_caller(self, ampe: Ampe, chnls: ChannelGroup) -> Caller:
        """An application on another group."""
        caller = Caller(ampe, chnls)
        self.callers.append(caller)
        return caller


class Server:
    """Echoes requests, answers Hello and Bye, and says Bye itself when asked to.

    A lazy one keeps requests until its pool is dry and everybody waits for it.
    """

    def __init__(self, app: App, *, lazy: bool) -> None:
        self.received: dict[int, list[int]] = {}  # message_ids, by channel
        self._app = app
        self._lazy = lazy
        self._held: list[Holder[Message]] = []

    async def run(self) -> None:
        """Serve until the group is destroyed."""
        with suppress(ShutdownException):
            while (message := await self._app.chnls.wait_receive()) is not None:
                holder = Holder(message)
                if message.is_from_application():
                    number, message_id = message.channel_number, message.message_id
                    self.received.setdefault(number, []).append(message_id)
                    self._answer(message, holder)
                elif message.status is AmpeStatus.POOL_EMPTY:
                    await trio.testing.wait_all_tasks_blocked()
                    self._put_back()
                self._app.ampe.put(holder)
        self._put_back()

    def _answer(self, message: Message, holder: Holder[Message]) -> None:
        if message.payload == SAY_BYE:
            message.opcode = OpCode.BYE_REQUEST
        elif message.opcode is OpCode.REQUEST and self._lazy:
            self._held.append(Holder(holder.take()))
            return
        elif message.opcode.role is MessageRole.REQUEST:
            message.opcode = message.opcode.echo().unwrap()
        else:
            return
        with suppress(ChannelClosedException, ShutdownException):
            self._app.chnls.post(holder)

    def _put_back(self) -> None:
        while self._held:
            self._app.ampe.put(self._held.pop())


# ---------------------------------------------------------------------- flows


async def connect(world: World) -> None:
    await world.caller.hello(world.server)


async def echo(world: World) -> None:
    caller = world.caller
    end = await caller.hello(world.server)
    for number in range(3):
        body = b"%d" % number
        end.post(OpCode.REQUEST, body=body)
        event = await caller.expect(OpCode.RESPONSE, end.number)
        assert event.body == body


async def stream(world: World) -> None:
    caller = world.caller
    end = await caller.hello(world.server)
    for left in reversed(range(6)):
        end.post(OpCode.REQUEST, body=LARGE, more=left > 0)
    for left in reversed(range(6)):
        event = await caller.expect(OpCode.RESPONSE, end.number)
        assert event.more == (left > 0)


async def bye(world: World) -> None:
    caller = world.caller
    end = await caller.hello(world.server)
    end.post(OpCode.REQUEST)
    end.post(OpCode.BYE_REQUEST)
    await caller.expect(OpCode.RESPONSE, end.number)
    await caller.expect(OpCode.BYE_RESPONSE, end.number)
    await caller.expect_closed(end.number, AmpeStatus.SUCCESS)


async def bye_from_the_server(world: World) -> None:
    caller = world.caller
    end = await caller.hello(world.server)
    end.post(OpCode.REQUEST, body=SAY_BYE)
    await caller.expect(OpCode.BYE_REQUEST, end.number)
    end.post(OpCode.BYE_RESPONSE)
    await caller.expect_closed(end.number, AmpeStatus.SUCCESS)


async def byes_crossing(world: World) -> None:
    caller = world.caller
    end = await caller.hello(world.server)
    end.post(OpCode.REQUEST, body=SAY_BYE)
    end.post(OpCode.BYE_REQUEST)
    await caller.expect(OpCode.BYE_REQUEST, end.number)
    with suppress(ChannelClosedException):  # the server's ByeResponse may have come already
        end.post(OpCode.BYE_RESPONSE)
    events = await end.events_until_closed()
    assert events[-1] == end.closed(AmpeStatus.SUCCESS)


async def abort(world: World) -> None:
    caller = world.caller
    end = await caller.hello(world.server)
    for _ in range(8):
        end.post(OpCode.REQUEST, body=LARGE)
    end.post(OpCode.BYE_SIGNAL)
    await caller.expect(OpCode.BYE_SIGNAL, end.number, AmpeStatus.CHANNEL_CLOSED)
    events = await end.events_until_closed()
    assert {event.opcode for event in events[:-1]} <= {OpCode.REQUEST}
    assert events[-1] == end.closed(AmpeStatus.CHANNEL_CLOSED)


async def update_receiver(world: World) -> None:
    caller = world.caller
    for body in (b"", b"note"):
        holder = caller.message(OpCode.SIGNAL, body=body) if body else Holder[Message]()
        caller.chnls.update_receiver(holder)
        event = await caller.expect(OpCode.SIGNAL, 0, AmpeStatus.RECEIVER_UPDATE)
        assert event.body == body
    assert await caller.chnls.wait_receive(timeout_ns=0) is None
    assert await caller.chnls.wait_receive(timeout_ns=1_000_000) is None


async def backpressure(world: World) -> None:
    caller = world.caller
    end = await caller.hello(world.server)
    for _ in range(40 if isinstance(world.server, UDSClientAddress) else 150):
        await caller.send(OpCode.REQUEST, end.number, body=LARGE)


async def listen(world: World) -> None:
    """Client and server are the same application here."""
    caller = world.caller
    listener = await caller.listen(world.address)
    client = caller.connect(listener.client_address)
    hello = await caller.event()
    server = End(caller, hello.channel, hello.message_id)
    server.post(OpCode.HELLO_RESPONSE)
    await caller.expect(OpCode.HELLO_RESPONSE, client.number)
    client.post(OpCode.BYE_REQUEST)
    await caller.expect(OpCode.BYE_REQUEST, server.number)
    server.post(OpCode.BYE_RESPONSE)
    await caller.expect(OpCode.BYE_RESPONSE, client.number)
    await caller.events_until_closed(client.number, server.number)
    listener.post(OpCode.BYE_SIGNAL)
    await listener.events_until_closed()


async def connect_to_nobody(world: World) -> None:
    caller = world.caller
    end = caller.connect(client_address_of(world.address))
    end.post(OpCode.REQUEST)
    events = await end.events_until_closed()
    assert len(events) == 3


async def use(caller: Caller, world: World) -> None:
    """Exchange something, and leave something behind that is not sent yet."""
    end = await caller.hello(world.server)
    end.post(OpCode.REQUEST)
    await caller.expect(OpCode.RESPONSE, end.number)
    for _ in range(6):
        end.post(OpCode.REQUEST, body=LARGE)


async def destroy(world: World) -> None:
    caller = world.new_caller(world.ampe, world.ampe.create())
    await use(caller, world)
    await world.ampe.destroy(caller.chnls)


async def leave_group(world: World) -> None:
    async with world.ampe.open_channel_group() as chnls:
        await use(world.new_caller(world.ampe, chnls), world)


async def leave_engine(world: World) -> None:
    async with open_ampe(tls_options(OPTIONS)) as ampe, ampe.open_channel_group() as chnls:
        await use(world.new_caller(ampe, chnls), world)


async def leave_engine_alone(world: World) -> None:
    """What the engine closes itself: a listener, a connection, and one under way."""
    async with open_ampe(tls_options(OPTIONS)) as ampe:
        caller = world.new_caller(ampe, ampe.create())
        await caller.listen(world.address)
        await use(caller, world)
        caller.connect(world.server)


FLOWS: Final = (
    connect,
    echo,
    stream,
    bye,
    bye_from_the_server,
    byes_crossing,
    abort,
    update_receiver,
    backpressure,
    listen,
    connect_to_nobody,
    destroy,
    leave_group,
    leave_engine,
    leave_engine_alone,
)


# ---------------------------------------------------------------------- the sweep


async def run_once(
    flow: Callable[[World], Awaitable[None]], canceller: Canceller, kind: Kind, directory: Path
) -> bool:
    """Run the flow and cancel it as the canceller says; check what is left of it."""
    tasks = live_tasks()
    lazy = flow is backpressure
    pool = LAZY_POOL if lazy else POOL
    server_options = Options(initial_pool_msgs=pool, max_pool_msgs=pool if lazy else 2 * pool)
    async with (
        open_ampe(tls_options(server_options)) as server_ampe,
        trio.open_nursery() as nursery,
    ):
        app = App(server_ampe, server_ampe.create())
        listener = await app.listen(server_address_of(kind, directory))
        server = Server(app, lazy=lazy)
        nursery.start_soon(server.run)
        async with open_ampe(tls_options(OPTIONS)) as ampe, ampe.open_channel_group() as chnls:
            world = World(
                ampe,
                Caller(ampe, chnls),
                listener.client_address,
                server_address_of(kind, directory / "own"),
            )
            cancelled = await canceller.watch(partial(flow, world))
            callers = [world.caller, *world.callers]
            for caller in callers:
                await caller.settle()
        await server_ampe.destroy(app.chnls)
    engines = {server_ampe, *(caller.ampe for caller in callers)}
    for engine in engines:
        statistics = engine.statistics()
        assert (statistics.groups, statistics.channels) == (0, 0)
        assert statistics.pool_free == (pool if engine is server_ampe else POOL)
    posted = [ids for caller in callers for ids in caller.posted.values()]
    for received in server.received.values():
        assert received in [ids[: len(received)] for ids in posted]
    assert live_tasks() == tasks
    return cancelled


def sockets_in(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_socket()]


@pytest.mark.parametrize("moment", Moment, ids=lambda moment: moment.name.lower())
@pytest.mark.parametrize("flow", FLOWS, ids=lambda flow: flow.__name__)
def test_cancelled_anywhere(
    flow: Callable[[World], Awaitable[None]], moment: Moment, kind: Kind, tmp_path: Path
) -> None:
    (tmp_path / "own").mkdir()

    async def run(canceller: Canceller) -> bool:
        cancelled = await run_once(flow, canceller, kind, tmp_path)
        assert not sockets_in(tmp_path)
        return cancelled

    at_every_checkpoint(moment, run)
