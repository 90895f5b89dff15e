"""`ChannelGroup`: what an application talks to (PROTOCOL 2 to 4; pattern guide, section 12)."""

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Final, Never, Self, overload

import attrs
import trio

from pytofu._choice import compiled, twin
from pytofu.engine.mailbox import MailBoxStatus
from pytofu.patterns.arguments import whole_number
from pytofu.patterns.result import OK, Err, Ok, Result
from pytofu.public.belonging import NOBODY, Belonging, here
from pytofu.public.boundary import public_api
from pytofu.public.checkpoints import Checkpoint, light_checkpoints
from pytofu.public.refusals import held_message, refusal, wrong_holder
from pytofu.values.errors import AmpeException, ShutdownException
from pytofu.values.header import BinaryHeader
from pytofu.values.holder import Holder
from pytofu.values.message import Message
from pytofu.values.peer_info import PeerInfo
from pytofu.values.status import AmpeError

if TYPE_CHECKING:
    from pytofu.engine.group import Group

_LONGEST_NS: Final = 1 << 63
"""Three centuries."""


@attrs.frozen
class ChannelGroupStatistics:
    """A channel group at one moment; counts are since it was created."""

    channels: int
    """Open channels, listeners included."""
    messages_waiting: int
    """Messages in the mailbox."""
    messages_sent: int
    """Messages handed to the operating system."""
    messages_received: int
    """Messages that arrived from peers."""
    bytes_sent: int
    """Bytes handed to the operating system."""
    bytes_received: int
    """Bytes that arrived from peers."""


class ChannelGroup(Belonging):
    """Channels, and one mailbox for everything that arrives on any of them.

    Made by `Ampe.open_channel_group` or `Ampe.create`. To be used from the Trio thread of its
    engine; from other threads through `trio.from_thread.run_sync`, but for `update_receiver`,
    which any thread may call. A call from elsewhere raises `RuntimeError`, and so does one in a
    forked child, before anything has changed.
    """

    __slots__ = ("_group", "_mailbox", "_next_checkpoint", "_poster", "_token")

    def __init__(self, group: "Group") -> None:
        self._token = trio.lowlevel.current_trio_token()
        self._group = group
        self._poster = group.poster
        self._mailbox = group.mailbox
        self._next_checkpoint = light_checkpoints()
        Belonging.__init__(self)  # last: what belongs to a thread is whole

    @trio.lowlevel.enable_ki_protection
    def post(self, holder: Holder[Message]) -> BinaryHeader:
        """Send a message, or open a channel with it; never waits.

        On success the holder is empty, the message released, and the header with the assigned
        channel number and message_id is returned. What is posted is queued, up to
        `Options.max_queued_bytes`; `send` waits instead. A message that cannot be sent comes back
        through the mailbox, marked as from the engine.

        Raises an `AmpeException` for the first step of PROTOCOL 3 that fails: NULL_MESSAGE,
        INVALID_OP_CODE, INVALID_MESSAGE_ID, INVALID_MORE_USAGE, INVALID_CHANNEL_NUMBER,
        INVALID_HEADERS_LEN, WRONG_ADDRESS, INVALID_BODY_LEN, CHANNEL_CLOSED,
        INVALID_MESSAGE_CHANNEL_GROUP, NOT_ALLOWED, ALLOCATION_FAILED (too much is queued, or all
        channel numbers are in use) or SHUTDOWN_STARTED. The message then stays in the holder, the
        error in its status. Raises `TypeError` for what is no holder of a message.
        """
        # What `public_api` does, written out: this is the hot path.
        if here() != self._thread:
            raise self._misplaced("ChannelGroup.post")
        try:
            message: Message = holder._value  # type: ignore[assignment]
            header = message._header
            _ = header.proto_byte  # Message itself, the class, has a _header too
        except AttributeError:
            raise wrong_holder("ChannelGroup.post", holder) from None
        result = self._poster.post(message)
        if result is not OK:
            assert isinstance(result, Err)
            raise refusal(result.error, message)
        holder._value = None
        return header

    @trio.lowlevel.enable_ki_protection
    async def send(self, holder: Holder[Message]) -> BinaryHeader:
        """`post` for senders that must not run ahead of the peer.

        Waits while more than `Options.high_water` bytes are queued on the message's channel, then
        posts. Raises as `post` does. A point of cancellation, always, and a schedule point when it
        waits and at least once in 64 messages; when cancelled, nothing was posted and the message
        is still in the holder.
        """
        first = self._before_sending(holder)
        if isinstance(first, BinaryHeader):
            return first
        await first()
        message = holder._value
        channel = self._poster.where_to_wait(message) if message is not None else None
        if channel is None:
            return self.post(holder)
        await channel.wait_for_turn()
        try:
            return self.post(holder)
        finally:
            channel.let_next_send()

    # `send` stays Python's, a coroutine in C costs more; what it does first has a twin.

    def _before_sending(self, holder: Holder[Message]) -> Checkpoint | BinaryHeader:
        """The checkpoint to make first; the twin makes most of them itself, and posts as well.

        Raises what is wrong with the place or the holder.
        """
        if here() != self._thread:
            raise self._misplaced("ChannelGroup.send")
        try:
            message = holder._value
        except AttributeError:
            raise wrong_holder("ChannelGroup.send", holder) from None
        if type(message) is not Message:
            held_message("ChannelGroup.send", holder)
        return self._next_checkpoint()

    @overload
    async def wait_receive(self, *, timeout_ns: None = None) -> Message: ...
    @overload
    async def wait_receive(self, *, timeout_ns: int | None) -> Message | None: ...
    @trio.lowlevel.enable_ki_protection
    async def wait_receive(
        self, *misplaced: Never, timeout_ns: int | None = None
    ) -> Message | None:
        """The next message, of each channel in turn; None when time is up.

        A program on Trio limits the time by `trio.move_on_after` or `trio.fail_after`, in seconds.
        `timeout_ns`, by its name only, is Zig's, in nanoseconds: None waits for ever, 0 polls (and
        so does less). The message is the caller's, to be posted or to be put back to the pool.

        Raises `ShutdownException` once the group is destroyed or the engine shut down, `TypeError`
        for a time limit that is no whole number. A point of cancellation, always, and a schedule
        point when it waits and at least once in 64 messages; cancelling loses no message.
        """
        if here() != self._thread:
            raise self._misplaced("ChannelGroup.wait_receive")
        if misplaced:
            raise _no_time_limit(misplaced)
        if timeout_ns is not None:
            timeout_ns = whole_number("wait_receive's timeout_ns", timeout_ns)
        group = self._group
        if self._mailbox.turns:
            await self._next_checkpoint()()
            message = self._take()
            if message is not None:
                return message
        if timeout_ns is None:
            message = await group.receive_some_time()
            if message is not None:
                return message
        else:
            result = await group.receive(min(max(timeout_ns, 0), _LONGEST_NS) / 1e9)
            if isinstance(result, Ok):
                return result.value
            if result.error is MailBoxStatus.TIMEOUT:
                return None
        raise AmpeException.from_error(AmpeError.SHUTDOWN_STARTED)

    def _take(self) -> Message | None:
        """The next message if one has arrived: see `Group.take`."""
        return self._group.take()

    @trio.lowlevel.enable_ki_protection
    def receive_nowait(self) -> Message | None:
        """The next message if one has arrived, else None.

        Raises `ShutdownException` once the group is destroyed or the engine shut down.
        """
        if here() != self._thread:
            raise self._misplaced("ChannelGroup.receive_nowait")
        group = self._group
        if self._mailbox.turns:
            return group.take()
        if group.closing:
            raise AmpeException.from_error(AmpeError.SHUTDOWN_STARTED)
        return group.look()

    @trio.lowlevel.enable_ki_protection
    def update_receiver(self, holder: Holder[Message]) -> None:
        """Put something into the group's own mailbox, to be received like everything else.

        From an empty holder: a SIGNAL from the engine with status RECEIVER_UPDATE, channel 0 and
        message_id 0. A message goes as it is, marked as from the application with status
        RECEIVER_UPDATE; the holder is empty then.

        May be called from any thread, and never waits: it is how other threads reach the task that
        receives. What one thread puts there stays in order; if the group is destroyed before
        Trio's thread has seen it, it is dropped, as what waits in the mailbox then is.

        Raises `ShutdownException` once the group is destroyed or the engine shut down, and
        `TypeError` for what is no holder of a message.
        """
        message = held_message("ChannelGroup.update_receiver", holder)
        group = self._group
        thread = here()
        if thread != self._thread and self._thread == NOBODY:
            raise self._misplaced("ChannelGroup.update_receiver")
        if group.closing:
            raise refusal(AmpeError.SHUTDOWN_STARTED, Message())
        update = group.make_update(message)
        holder._value = None
        if thread == self._thread:
            group.update_receiver(update)
            return
        try:
            self._token.run_sync_soon(group.update_receiver, update)
        except trio.RunFinishedError:
            holder._value = None if message is None else update
            raise refusal(AmpeError.SHUTDOWN_STARTED, update) from None

    def __aiter__(self) -> AsyncIterator[Holder[Message]]:
        """Receive in a loop: `async for holder in chnls`.

        Each message is put back to the pool when the loop moves on, unless its holder has been
        emptied (posted) by then. After `break` the last holder is the caller's. The loop ends
        when the group is destroyed or the engine shut down; otherwise as `wait_receive`.
        """
        return _Received(self)

    def queued_bytes(self, channel_number: int) -> int:
        """Bytes posted on a channel that the operating system has not taken yet.

        0 when nothing waits, and for a number that is no open channel of this group. Compare
        `Options.high_water`, from which `send` waits.
        """
        if here() != self._thread:
            raise self._misplaced("ChannelGroup.queued_bytes")
        if type(channel_number) is not int:
            channel_number = whole_number("channel_number", channel_number)
        return self._group.poster.queued_bytes(channel_number)

    @public_api
    @trio.lowlevel.enable_ki_protection
    def peer(self, channel_number: int) -> Result[PeerInfo, AmpeError]:
        """Who is at the other end of an open channel, as the system and TLS say it.

        Empty (its `scheme` too) while the channel has no connection yet, and without an address
        when the connection has just broken. Raises an `AmpeException`: INVALID_CHANNEL_NUMBER,
        CHANNEL_CLOSED, INVALID_MESSAGE_CHANNEL_GROUP (another group's channel), or NOT_ALLOWED
        (a listener).
        """
        if here() != self._thread:
            raise self._misplaced("ChannelGroup.peer")
        return self._group.peer(channel_number)

    def statistics(self) -> ChannelGroupStatistics:
        """The group's counters at this moment."""
        if here() != self._thread:
            raise self._misplaced("ChannelGroup.statistics")
        group = self._group
        return ChannelGroupStatistics(
            channels=len(group.channels),
            messages_waiting=len(group.mailbox),
            messages_sent=group.traffic.messages_sent,
            messages_received=group.traffic.messages_received,
            bytes_sent=group.traffic.bytes_sent,
            bytes_received=group.traffic.bytes_received,
        )

    def __repr__(self) -> str:
        state = "closed" if self._group.closing else f"{len(self._group.channels)} channels"
        return f"<ChannelGroup {state}>"


if compiled and not TYPE_CHECKING:
    ChannelGroup = twin(ChannelGroup)


def _no_time_limit(misplaced: tuple[object, ...]) -> TypeError:
    given = ", ".join(map(repr, misplaced))
    return TypeError(
        f"wait_receive({given}) names no unit: limit the time by trio.move_on_after({given}) or "
        f"trio.fail_after({given}), in seconds, around wait_receive(); or say timeout_ns={given}, "
        "in nanoseconds"
    )


class _Received:
    """The iterator of `async for holder in chnls`."""

    def __init__(self, chnls: ChannelGroup) -> None:
        self._chnls = chnls
        self._holder: Holder[Message] = Holder()

    def __aiter__(self) -> Self:
        return self

    @trio.lowlevel.enable_ki_protection
    async def __anext__(self) -> Holder[Message]:
        chnls = self._chnls
        if here() != chnls._thread:
            raise chnls._misplaced("async for over a ChannelGroup")
        former = self._holder.take()
        if former is not None:
            chnls._group.budget.put(former)
        message = None
        if chnls._mailbox.turns:  # as `wait_receive`, whose coroutine costs as much as all this
            await chnls._next_checkpoint()()
            message = chnls._take()
        if message is None:
            try:
                message = await chnls.wait_receive()
            except ShutdownException:
                raise StopAsyncIteration from None
        self._holder = Holder(message)
        return self._holder
