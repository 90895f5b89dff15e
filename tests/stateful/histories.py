"""Histories: what two engines' applications do, as data, and the world that lives through it.

A `History` is a list of operations. `live` runs it in two engines with real sockets between them,
writes down what every application posted and received, and checks what holds whatever happens:

- on each channel, what a peer receives is what was posted, in order, from the first on;
- what was not sent comes back, once, in order, and was not received by the peer;
- `channel_closed` is the last event of a channel, and comes once;
- numbers are never given to two channels, and afterwards none is in use;
- no message, task, socket or file is left.

Operations name groups and channels by an index, taken modulo what there is; one that has nothing
to work on does nothing.
"""

from contextlib import suppress
from enum import Enum, auto
from pathlib import Path
from typing import Final, assert_never

import attrs
import trio
import trio.testing
from hypothesis import strategies as st

from pytofu import (
    AllocationFailedException,
    AllocationStrategy,
    Ampe,
    AmpeStatus,
    ChannelClosedException,
    ChannelGroup,
    Holder,
    Message,
    NotAllowedException,
    OpCode,
    Options,
    ShutdownException,
    open_ampe,
    parse_address,
)
from tests.leaks import live_tasks
from tests.support import (
    PATIENCE,
    ClientAddress,
    Kind,
    client_address_of,
    server_address_of,
    tls_options,
)

KINDS: Final[tuple[Kind, ...]] = ("tcp", "tls", "uds", "mem")
SIZES: Final = (0, 100, 60_000)
ROOMY: Final = 100_000
"""A pool that no history can empty."""
SMALL: Final = 4
CLOSE_TIMEOUT: Final = 0.1
HIGH_WATER: Final = 100_000
MAX_QUEUED: Final = 1_000_000

_REGULAR: Final = (OpCode.REQUEST, OpCode.RESPONSE, OpCode.SIGNAL)
_BYES: Final = (OpCode.BYE_REQUEST, OpCode.BYE_RESPONSE)
_FAREWELLS: Final = (OpCode.BYE_SIGNAL, OpCode.HELLO_REQUEST)
"""What closes a channel at once."""


# ---------------------------------------------------------------------- operations


@attrs.frozen
class NewGroup:
    """Create a group on one of the two engines."""

    side: int


@attrs.frozen
class Destroy:
    """Begin to destroy a group."""

    group: int


@attrs.frozen
class Listen:
    """Open a listener."""

    group: int
    kind: Kind


@attrs.frozen
class Connect:
    """Connect to a listener, the own engine's perhaps; if `greet`, let both sides say hello."""

    group: int
    listener: int
    greet: bool


@attrs.frozen
class Part:
    """Exchange Byes on a channel, as far as both sides still can."""

    end: int


@attrs.frozen
class Post:
    """Post on a channel; regular messages `count` times."""

    end: int
    opcode: OpCode
    count: int
    size: int


@attrs.frozen
class Send:
    """Send on a channel, but do not wait for room."""

    end: int
    size: int


@attrs.frozen
class Receive:
    """Receive up to `count` messages, and keep them if `keep`."""

    group: int
    count: int
    keep: bool
    poll: bool
    """By `wait_receive` with a timeout of 0, not by `receive_nowait`."""


@attrs.frozen
class PutBack:
    """Put all messages back that the applications of an engine keep."""

    side: int


@attrs.frozen
class Update:
    """Put a message, or a signal, into a group's own mailbox."""

    group: int
    own: bool


@attrs.frozen
class Turns:
    """Let every task run this often; 0: until all have come to rest."""

    count: int


type Operation = (
    NewGroup | Destroy | Listen | Connect | Part | Post | Send | Receive | PutBack | Update | Turns
)


class Ending(Enum):
    """How a history ends."""

    ABORTED = auto()
    """Every channel is aborted, and everything received."""
    DESTROYED = auto()
    """Every group is destroyed by leaving the engine."""
    FAILED = auto()
    """The engines are left by an exception."""


@attrs.frozen
class History:
    """Everything that happens."""

    pools: tuple[int, int]
    kinds: tuple[Kind, Kind]
    """What the two engines listen on at the beginning."""
    connections: int
    """How many there are at the beginning."""
    operations: list[Operation]
    ending: Ending


ANY: Final = 7
_indexes: Final = st.integers(0, ANY)
_opcodes: Final = st.sampled_from(
    (
        *_REGULAR,
        *_REGULAR,
        OpCode.BYE_REQUEST,
        OpCode.BYE_RESPONSE,
        OpCode.BYE_SIGNAL,
        OpCode.HELLO_RESPONSE,
        OpCode.HELLO_REQUEST,
    )
)

_kinds: Final = st.sampled_from(KINDS)
_sizes: Final = st.sampled_from(SIZES)
_talk: Final = st.builds(Post, _indexes, st.sampled_from(_REGULAR), st.integers(1, 20), _sizes)
_receive: Final = st.builds(Receive, _indexes, st.integers(1, 30), st.booleans(), st.booleans())

# What comes first is what a failing history is simplified to.
_WEIGHTS: Final[tuple[tuple[int, st.SearchStrategy[Operation]], ...]] = (
    (4, st.builds(Turns, st.integers(0, 3))),
    (12, _talk),
    (8, _receive),
    (3, st.builds(Post, _indexes, _opcodes, st.integers(1, 3), _sizes)),
    (4, st.builds(Connect, _indexes, _indexes, st.just(True))),
    (1, st.builds(Connect, _indexes, _indexes, st.just(False))),
    (3, st.builds(Send, _indexes, _sizes)),
    (4, st.builds(PutBack, st.integers(0, 1))),
    (2, st.builds(Part, _indexes)),
    (1, st.builds(Update, _indexes, st.booleans())),
    (1, st.builds(NewGroup, st.integers(0, 1))),
    (1, st.builds(Listen, _indexes, _kinds)),
    (1, st.builds(Destroy, _indexes)),
)
operations: Final[st.SearchStrategy[Operation]] = st.sampled_from(
    [strategy for weight, strategy in _WEIGHTS for _ in range(weight)]
).flatmap(lambda strategy: strategy)

_pools: Final = st.sampled_from((ROOMY, ROOMY, SMALL))

histories: Final = st.builds(
    History,
    st.tuples(_pools, _pools),
    st.tuples(_kinds, _kinds),
    st.integers(0, 4),
    st.lists(operations, min_size=30, max_size=80),
    st.sampled_from(Ending),
)


# ---------------------------------------------------------------------- what is written down


@attrs.define(eq=False)
class Posted:
    """A message that was posted on a channel."""

    message_id: int
    opcode: OpCode
    body: bytes


@attrs.define(eq=False)
class End:
    """A channel, as its application knows it."""

    group: "Group"
    number: int
    is_listener: bool = False
    address: ClientAddress | None = None
    """How to connect to a listener, once it listens."""
    accepted: bool = False
    """Whether a listener made it, and not a HelloRequest."""
    peer: "End | None" = None
    posted: dict[int, Posted] = attrs.Factory(dict)
    """By message_id, in order."""
    farewell: int | None = None
    """message_id of what closed the channel: it comes back before what was not sent."""
    ordered: list[int] = attrs.Factory(list)
    """message_ids of what is sent in order, or comes back in order."""
    held: list[int] = attrs.Factory(list)
    """message_ids of what was posted behind a Bye: never sent, back at once."""
    received: list[int] = attrs.Factory(list)
    returned: list[int] = attrs.Factory(list)
    greeted: bool = False
    """Whether it has posted a HelloResponse."""
    bye: OpCode | None = None
    """The first Bye that was posted."""
    reason: AmpeStatus | None = None
    """Why it closed, once the application has heard of that."""

    def opened_by(self, hello: Posted) -> None:
        """This HelloRequest has opened the channel."""
        self.posted[hello.message_id] = hello
        self.ordered.append(hello.message_id)

    def wrote(self, message: Posted) -> None:
        """A message was posted on the open channel."""
        message_id, opcode = message.message_id, message.opcode
        self.posted[message_id] = message
        if opcode in _FAREWELLS:
            assert self.farewell is None
            self.farewell = message_id
        elif self.bye is None:
            self.ordered.append(message_id)
            self.greeted |= opcode is OpCode.HELLO_RESPONSE
            if opcode in _BYES:
                self.bye = opcode
        elif opcode is not OpCode.BYE_RESPONSE:
            self.held.append(message_id)
        # A ByeResponse behind a ByeRequest: sent if the peer's ByeRequest has arrived, else held.

    def refuses(self, opcode: OpCode) -> bool:
        """Whether posting this is not allowed now."""
        if self.is_listener:
            return opcode is not OpCode.BYE_SIGNAL
        if not self.accepted:
            return opcode is OpCode.HELLO_RESPONSE
        may_come_first = (OpCode.HELLO_RESPONSE, OpCode.BYE_RESPONSE, *_FAREWELLS)
        return not self.greeted and self.bye is None and opcode not in may_come_first

    def check(self) -> None:
        """What must hold of this channel when everything is over."""
        self._check_returned()
        if self.peer is None:
            assert self.received == []
        else:
            self._check_arrived(self.peer)

    def _check_returned(self) -> None:
        """Everything comes back once: in the order posted, what was never to be sent first."""
        returned, ordered, held = set(self.returned), set(self.ordered), set(self.held)
        assert len(returned) == len(self.returned)
        farewell = set() if self.farewell is None else {self.farewell}
        ranks = [
            0 if number in held else 1 if number in farewell else 2
            for number in self.returned
            if number in held | farewell | ordered
        ]
        assert ranks == sorted(ranks)
        at_once = [number for number in self.returned if number in held]
        assert at_once == self.held[: len(at_once)]
        count = len(self.came_back)
        start = self.ordered.index(self.came_back[0]) if count else len(self.ordered)
        assert self.came_back == self.ordered[start : start + count]
        if self.reason is not None:  # the application has received everything
            assert start + count == len(self.ordered)
            assert farewell | held <= returned

    def _check_arrived(self, peer: "End") -> None:
        """What the peer received, it received once, in order and from the first message on."""
        arrived = set(peer.received)
        assert len(arrived) == len(peer.received)
        assert arrived.isdisjoint((*self.returned, self.farewell, *self.held))
        in_order = [number for number in peer.received if number in set(self.ordered)]
        assert in_order == self.ordered[: len(in_order)]
        if self.reason is peer.reason is AmpeStatus.SUCCESS:
            # Agreed by a Bye exchange: nothing is missing.
            assert len(in_order) + len(self.came_back) == len(self.ordered)

    @property
    def came_back(self) -> list[int]:
        """message_ids of what was to be sent in order, and was not."""
        ordered = set(self.ordered)
        return [number for number in self.returned if number in ordered]


@attrs.define(eq=False)
class Group:
    """A channel group, as its application knows it."""

    side: "Side"
    chnls: ChannelGroup
    destroyed: bool = False
    updates: list[int] = attrs.Factory(list)
    """message_ids (0 for a signal) of what is to come from `update_receiver`."""


@attrs.define(eq=False)
class Side:
    """One of the two engines, and what its applications keep."""

    ampe: Ampe
    ends: dict[int, End] = attrs.Factory(dict)
    """Open channels by number."""
    kept: list[Holder[Message]] = attrs.Factory(list)

    def put_back(self) -> None:
        """Keep nothing any more."""
        while self.kept:
            self.ampe.put(self.kept.pop())


# ---------------------------------------------------------------------- the world


class World:
    """Two engines and their applications; everything that is posted and received goes through."""

    def __init__(self, engines: tuple[Ampe, Ampe], nursery: trio.Nursery, directory: Path) -> None:
        self.sides = [Side(ampe) for ampe in engines]
        self.groups: list[Group] = []
        self.ends: list[End] = []  # of those groups
        self.all_ends: list[End] = []
        self._nursery = nursery
        self._directory = directory
        self._last_id = 0
        self._hellos: dict[int, End] = {}
        for side in self.sides:
            self._new_group(side)

    async def live(self, history: History) -> None:
        """Go through the operations."""
        for group in self.groups:
            self._listen(group, history.kinds[self.sides.index(group.side)])
            await self._settle()
            await self._receive(group, keep=False, poll=False)
        for number in range(history.connections):
            await self._do(Connect(number, number // 2, greet=True))
        for operation in history.operations:
            await self._do(operation)

    async def _do(self, operation: Operation) -> None:
        match operation:
            case NewGroup(side):
                self._new_group(self.sides[side])
            case Destroy(index):
                if group := _pick(self.groups, index):
                    self._destroy(group)
            case Listen(index, kind):
                if group := _pick(self.groups, index):
                    self._listen(group, kind)
            case Connect(index, listener_index, greet):
                listeners = [end for end in self.ends if end.address is not None]
                group, listener = _pick(self.groups, index), _pick(listeners, listener_index)
                if group and listener:
                    await self._connect(group, listener, greet=greet)
            case Part(index):
                if (end := self._end(index)) and end.peer:
                    self._post(end, OpCode.BYE_REQUEST, 0)
                    await self._receive_all(end.peer.group)
                    self._post(end.peer, OpCode.BYE_RESPONSE, 0)
            case Post(index, opcode, count, size):
                if end := self._end(index):
                    for _ in range(count if opcode in _REGULAR else 1):
                        self._post(end, opcode, size)
            case Send(index, size):
                if end := self._end(index):
                    await self._send(end, size)
            case Receive(index, count, keep, poll):
                if group := _pick(self.groups, index):
                    for _ in range(count):
                        if not await self._receive(group, keep=keep, poll=poll):
                            break
            case PutBack(side):
                self.sides[side].put_back()
            case Update(index, own):
                if group := _pick(self.groups, index):
                    self._update(group, own=own)
            case Turns(0):
                await self._settle()
            case Turns(count):
                for _ in range(count):
                    await trio.lowlevel.checkpoint()
            case _:
                assert_never(operation)

    def _end(self, index: int) -> End | None:
        """Mostly a channel that is connected, sometimes any, a listener or a closed one perhaps."""
        if index == ANY:
            return _pick(self.ends, self._last_id)
        return _pick([end for end in self.ends if end.peer and end.reason is None], index)

    # ------------------------------------------------------------------ operations

    def _new_group(self, side: Side) -> None:
        self.groups.append(Group(side, side.ampe.create()))

    def _destroy(self, group: Group) -> None:
        """Begin it; nothing more will be seen of the group's channels."""
        self._nursery.start_soon(group.side.ampe.destroy, group.chnls)
        self.groups.remove(group)
        group.destroyed = True
        self.ends = [end for end in self.ends if end.group is not group]
        ends = group.side.ends
        group.side.ends = {number: end for number, end in ends.items() if end.group is not group}

    def _listen(self, group: Group, kind: Kind) -> None:
        holder = self._message(group.side, OpCode.WELCOME_REQUEST, 0, 0)
        if holder is not None:
            directory = self._directory / str(self._last_id)
            directory.mkdir()
            server_address_of(kind, directory).format(holder.unwrap())
            number = group.chnls.post(holder).channel_number
            self._opened(End(group, number, is_listener=True))

    async def _connect(self, group: Group, listener: End, *, greet: bool) -> None:
        holder = self._message(group.side, OpCode.HELLO_REQUEST, 0, 0)
        if holder is None:
            return
        assert listener.address is not None
        listener.address.format(holder.unwrap())
        posted = _posted(holder.unwrap())
        end = End(group, group.chnls.post(holder).channel_number)
        end.opened_by(posted)
        self._opened(end)
        self._hellos[posted.message_id] = end
        if greet:
            await self._receive_all(listener.group)
            if end.peer is not None:
                self._post(end.peer, OpCode.HELLO_RESPONSE, 0)

    def _post(
        self,
        end: End,
        opcode: OpCode,
        size: int,
        strategy: AllocationStrategy = AllocationStrategy.POOL_ONLY,
    ) -> None:
        if opcode is OpCode.BYE_RESPONSE and not end.received:
            return  # whether it is sent depends on what has arrived and was not received yet
        holder = self._message(end.group.side, opcode, end.number, size, strategy)
        if holder is None:
            return
        posted = _posted(holder.unwrap())
        if opcode is OpCode.HELLO_REQUEST:
            holder.unwrap().text_headers.append("again", "yes")
        try:
            end.group.chnls.post(holder)
        except ChannelClosedException:
            pass
        except ShutdownException:
            assert end.group.destroyed
        except NotAllowedException:
            assert end.refuses(opcode)
        except AllocationFailedException:
            assert opcode in (*_REGULAR, OpCode.HELLO_RESPONSE)
            assert end.group.side.ampe.statistics().limits_reached["max_queued_bytes"]
        else:
            assert not end.refuses(opcode)
            assert end.reason is None
            assert not end.group.destroyed
            end.wrote(posted)
        end.group.side.ampe.put(holder)

    async def _send(self, end: End, size: int) -> None:
        holder = self._message(end.group.side, OpCode.SIGNAL, end.number, size)
        if holder is None:
            return
        posted = _posted(holder.unwrap())
        with suppress(ChannelClosedException), trio.CancelScope() as scope:
            self._nursery.start_soon(_cancel_when_blocked, scope)
            try:
                await end.group.chnls.send(holder)
            except NotAllowedException:
                assert end.refuses(posted.opcode)
            else:
                end.wrote(posted)
        end.group.side.ampe.put(holder)

    def _message(
        self,
        side: Side,
        opcode: OpCode,
        number: int,
        size: int,
        strategy: AllocationStrategy = AllocationStrategy.POOL_ONLY,
    ) -> Holder[Message] | None:
        """A message unlike all others; None if there is none."""
        message = side.ampe.get(strategy)
        if message is None:
            return None
        self._last_id += 1
        message.opcode = opcode
        message.channel_number = number
        message.message_id = self._last_id
        message.set_payload((b"%d" % self._last_id).ljust(size))
        return Holder(message)

    async def _receive(self, group: Group, *, keep: bool, poll: bool) -> bool:
        """Receive a message if there is one."""
        if poll:
            message = await group.chnls.wait_receive(timeout_ns=0)
        else:
            message = group.chnls.receive_nowait()
        if message is None:
            return False
        self._saw(group, message)
        group.side.kept.append(Holder(message))
        if not keep:
            group.side.ampe.put(group.side.kept.pop())
        return True

    def _update(self, group: Group, *, own: bool) -> None:
        holder = Holder[Message]()
        message_id = 0
        if own:
            made = self._message(group.side, OpCode.SIGNAL, 0, 0)
            if made is None:
                return
            holder, message_id = made, self._last_id
        group.chnls.update_receiver(holder)
        assert holder.is_empty()
        group.updates.append(message_id)

    async def _receive_all(self, group: Group) -> None:
        """Receive what there is when everybody has come to rest."""
        await self._settle()
        if not group.destroyed:
            while await self._receive(group, keep=False, poll=False):
                pass

    async def _settle(self) -> None:
        await trio.testing.wait_all_tasks_blocked()

    def _opened(self, end: End) -> None:
        """A channel has a number: the engine may not have given it to another open one."""
        side = end.group.side
        assert 1 <= end.number <= 65534
        assert end.number not in side.ends
        side.ends[end.number] = end
        self.ends.append(end)
        self.all_ends.append(end)

    # ------------------------------------------------------------------ what is received

    def _saw(self, group: Group, message: Message) -> None:
        number, opcode, status = message.channel_number, message.opcode, message.status
        if status is AmpeStatus.RECEIVER_UPDATE:
            assert (number, message.message_id) == (0, group.updates.pop(0))
            return
        end = group.side.ends.get(number)
        if end is None and message.is_from_engine():
            # Accepted, and dry or closed before its HelloRequest has come.
            assert status in (AmpeStatus.POOL_EMPTY, AmpeStatus.CHANNEL_CLOSED)
            assert (opcode, message.message_id) == (OpCode.SIGNAL, 0)
            return
        if end is None:
            assert opcode is OpCode.HELLO_REQUEST
            client = self._hellos[message.message_id]
            end = End(group, number, accepted=True, peer=client)
            assert client.peer is None
            client.peer = end
            self._opened(end)
        assert end.group is group
        reason = message.text_headers.get("~reason")
        if opcode is OpCode.WELCOME_RESPONSE:
            assert end.is_listener
            if status is AmpeStatus.SUCCESS:
                end.address = client_address_of(parse_address(message))
        elif reason is not None:
            assert message.is_from_engine()
            end.reason = AmpeStatus[reason]
            del group.side.ends[number]
        elif message.is_from_application():
            assert end.peer is not None
            _same(message, end.peer.posted[message.message_id])
            end.received.append(message.message_id)
        elif status is not AmpeStatus.POOL_EMPTY:
            _same(message, end.posted[message.message_id])
            end.returned.append(message.message_id)

    # ------------------------------------------------------------------ the end

    async def finish(self) -> None:
        """Abort every channel and receive everything."""
        for side in self.sides:
            side.put_back()
        with trio.fail_after(PATIENCE):
            while any(group.chnls.statistics().channels for group in self.groups):
                for end in list(self.ends):
                    if end.reason is None:
                        self._post(end, OpCode.BYE_SIGNAL, 0, AllocationStrategy.ALWAYS)
                for group in self.groups:
                    await self._receive_all(group)
        for group in self.groups:
            await self._receive_all(group)
            assert group.updates == []
        for side in self.sides:
            assert side.ends == {}


async def _cancel_when_blocked(scope: trio.CancelScope) -> None:
    await trio.testing.wait_all_tasks_blocked()
    scope.cancel()


def _pick[T](things: list[T], index: int) -> T | None:
    return things[index % len(things)] if things else None


def _posted(message: Message) -> Posted:
    return Posted(message.message_id, message.opcode, message.payload)


def _same(message: Message, posted: Posted) -> None:
    assert message.payload == posted.body
    if message.opcode is not posted.opcode:
        assert (posted.opcode, message.opcode) == (OpCode.HELLO_REQUEST, OpCode.HELLO_RESPONSE)
        assert message.is_from_engine()


class HistoryFailed(Exception):
    """The application's own, for a history that ends by an exception."""


async def live(history: History, directory: Path) -> None:
    """Live through a history, and check what is left of it."""
    tasks = live_tasks()
    options = [
        Options(
            initial_pool_msgs=pool,
            max_pool_msgs=SMALL if pool == SMALL else 2 * pool,
            close_timeout=CLOSE_TIMEOUT,
            high_water=HIGH_WATER,
            max_queued_bytes=MAX_QUEUED,
        )
        for pool in history.pools
    ]
    world: World | None = None
    with suppress(HistoryFailed):
        async with (
            open_ampe(tls_options(options[0])) as first,
            open_ampe(tls_options(options[1])) as second,
            trio.open_nursery() as nursery,
        ):
            world = World((first, second), nursery, directory)
            await world.live(history)
            if history.ending is Ending.ABORTED:
                await world.finish()
            if history.ending is Ending.FAILED:
                raise HistoryFailed  # while groups are being destroyed, perhaps
    assert world is not None
    for end in world.all_ends:
        end.check()
    for side, pool in zip(world.sides, history.pools, strict=True):
        side.put_back()
        statistics = side.ampe.statistics()
        assert (statistics.groups, statistics.channels) == (0, 0)
        assert statistics.pool_free == pool
    assert live_tasks() == tasks
