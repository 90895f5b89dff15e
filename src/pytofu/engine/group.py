"""A channel group: a nursery for its channels' tasks, and one mailbox for what they receive."""

import socket
from collections.abc import Callable

import trio

from pytofu.engine import transport
from pytofu.engine.channel import Channel, log
from pytofu.engine.channel_numbers import ChannelNumbers
from pytofu.engine.io_channel import IoChannel
from pytofu.engine.listener import Listener
from pytofu.engine.mailbox import MailBox
from pytofu.engine.options import Options
from pytofu.engine.pool import Pool
from pytofu.engine.traffic import Traffic
from pytofu.patterns.result import OK, Err, Ok, Result
from pytofu.values.address import parse_address
from pytofu.values.allocation import AllocationStrategy
from pytofu.values.header import OPCODE_BITS, OpCode
from pytofu.values.message import Message
from pytofu.values.status import AmpeError, AmpeStatus

_WELCOME_RESPONSE = int(OpCode.WELCOME_RESPONSE)
_NULL_MESSAGE = Err(AmpeError.NULL_MESSAGE)
_SHUTDOWN = Err(AmpeError.SHUTDOWN_STARTED)


class Group:
    """What a `ChannelGroup` stands for.

    `run` is its task: it holds the nursery and, being the dispatcher, flushes the channels that
    something was posted to since it last ran, so that a burst of posts goes out as one write.
    """

    def __init__(
        self,
        options: Options,
        pool: Pool,
        numbers: ChannelNumbers[Channel],
        on_closed: Callable[["Group"], None],
    ) -> None:
        self.options: Options = options
        self.pool: Pool = pool
        self._numbers = numbers  # of the whole engine
        self._open_channels = numbers.open
        self._on_closed = on_closed
        self._high_water = options.high_water
        self.mailbox: MailBox[Message] = MailBox()
        self.traffic: Traffic = Traffic()
        self.channels: set[Channel] = set()
        self.closing: bool = False
        self.closed: trio.Event = trio.Event()
        self.answer_due: bool = False
        """Something was received and nothing posted since: the next post may be its answer, for
        which somebody waits, so it is written at once if nothing more is there to be received."""
        self._nursery: trio.Nursery | None = None
        self._starting: list[Channel] = []  # until the nursery is there
        self._to_flush: list[Channel] = []
        self._sleeper: trio.lowlevel.Task | None = None  # the dispatcher, while it has no work

    # ------------------------------------------------------------------ the task

    @property
    def nursery(self) -> trio.Nursery:
        """Where the channels' tasks run."""
        assert self._nursery is not None
        return self._nursery

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Live until `close`, and until the last channel has closed."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for channel in self._starting:
                    nursery.start_soon(channel.run)
                self._starting.clear()
                await self._dispatch()
        finally:
            self.close(abort=True)
            self._on_closed(self)
            self.closed.set()

    async def _dispatch(self) -> None:
        while self.channels or not self.closing:
            while self._to_flush:
                channels, self._to_flush = self._to_flush, []
                for channel in channels:
                    self._flush(channel)
            await self._sleep()

    async def _sleep(self) -> None:
        self._sleeper = trio.lowlevel.current_task()

        def abort(_: object) -> trio.lowlevel.Abort:
            self._sleeper = None
            return trio.lowlevel.Abort.SUCCEEDED

        await trio.lowlevel.wait_task_rescheduled(abort)

    def _wake(self) -> None:
        if self._sleeper is not None:
            sleeper, self._sleeper = self._sleeper, None
            trio.lowlevel.reschedule(sleeper)

    def _flush(self, channel: Channel) -> None:
        try:
            channel.flush()
        except Exception:
            channel.abort_for_defect()

    # ------------------------------------------------------------------ posting

    def post(self, message: Message | None) -> Result[None, AmpeError]:
        """Validate and queue (PROTOCOL 3).

        On success the message is released and its header, completed, is the caller's; on error
        the message stays with the caller.
        """
        if message is None:
            return _NULL_MESSAGE
        header = message._header
        opcode = header.proto_byte & OPCODE_BITS
        if opcode == _WELCOME_RESPONSE:
            return message.refuse(AmpeError.INVALID_OP_CODE)
        result = message.check_and_prepare()
        if result is not OK:
            return result
        number = header.channel_number
        if not number:
            return self._open_channel(message, opcode)
        channel = self._open_channels.get(number)
        if channel is None:
            return self._refuse_unknown(message)
        if channel.group is not self:
            return message.refuse(AmpeError.INVALID_MESSAGE_CHANNEL_GROUP)
        if self.closing:
            return message.refuse(AmpeError.SHUTDOWN_STARTED)
        rule = channel.post_rules[opcode]
        burst = False
        if rule is None:
            burst = channel.writer.push(message)
            self.pool.posted()
        else:
            result = channel.post_special(message, rule)
            if result is not OK:
                return result
        message.release()
        if burst:
            self._flush(channel)
        elif not channel.flush_pending:
            if self.answer_due and not self.mailbox:
                self.answer_due = False
                self._flush(channel)
            else:
                channel.flush_pending = True
                self._to_flush.append(channel)
                self._wake()
        return OK

    def _refuse_unknown(self, message: Message) -> Err[AmpeError]:
        error = self._numbers.why_unknown(message.channel_number)
        if error is AmpeError.CHANNEL_CLOSED and self.closing:
            error = AmpeError.SHUTDOWN_STARTED  # which is why it closed
        return message.refuse(error)

    def _open_channel(self, message: Message, opcode: int) -> Result[None, AmpeError]:
        if self.closing:
            return message.refuse(AmpeError.SHUTDOWN_STARTED)
        address = parse_address(message)
        channel: Channel
        if opcode == OpCode.HELLO_REQUEST:
            channel = IoChannel(self, message.message_id, address=address)
        else:
            channel = Listener(self, message.message_id, address)
        match self._register(channel):
            case Err(error):
                return message.refuse(error)
            case Ok():
                pass
        message.channel_number = channel.number
        if isinstance(channel, Listener):
            channel.welcome(message)
        else:
            channel.writer.push(message)
            self.pool.posted()
        message.release()
        if self._nursery is None:
            self._starting.append(channel)
        else:
            self._nursery.start_soon(channel.run)
        return OK

    def _register(self, channel: Channel) -> Result[None, AmpeError]:
        match self._numbers.allocate(channel):
            case Ok(number):
                channel.number = number
                self.channels.add(channel)
                return OK
            case Err() as err:
                return err

    def is_full(self, message: Message) -> bool:
        """Whether the message's channel has more queued than the high-water mark."""
        channel = self._open_channels.get(message.channel_number)
        return channel is not None and channel.writer.size > self._high_water

    async def wait_for_room(self, message: Message) -> None:
        """Wait while `is_full`."""
        channel = self._open_channels.get(message.channel_number)
        if isinstance(channel, IoChannel) and channel.group is self:
            await channel.wait_for_room()

    # ------------------------------------------------------------------ for the channels

    def accept(self, connection: socket.socket) -> None:
        """Make a channel of a connection that a listener accepted."""
        if self.closing:  # the listener had been woken before it was cancelled
            transport.close(connection, reset=True)
            return
        channel = IoChannel(self, sock=connection)
        match self._register(channel):
            case Ok():
                self.nursery.start_soon(channel.run)
            case Err():
                log.warning("no channel number is free: a connection is refused")
                transport.close(connection, reset=True)

    def deliver_received(self, messages: list[Message]) -> None:
        """Put messages from a peer into the mailbox."""
        self.traffic.messages_received += len(messages)
        self.deliver(messages)

    def deliver(self, messages: list[Message]) -> None:
        """Put messages into the mailbox, or back into the pool when it is closed."""
        if self.mailbox.send_all(messages) is not OK:
            self.pool.put(len(messages))

    def remove(self, channel: Channel) -> None:
        """A channel has closed."""
        self._numbers.release(channel.number)
        self.channels.discard(channel)
        if self.closing:
            self._wake()

    # ------------------------------------------------------------------ receiving

    def update_receiver(self, message: Message | None) -> Result[None, AmpeError]:
        """Put the application's own message, or a signal, into the mailbox (PROTOCOL 4)."""
        if self.closing:
            return _SHUTDOWN
        if message is None:
            update = self.pool.get(AllocationStrategy.ALWAYS)
            assert update is not None
            update.opcode = OpCode.SIGNAL
            update.mark_from_engine(AmpeStatus.RECEIVER_UPDATE)
        else:
            update = message.clone()
            update.mark_from_application(AmpeStatus.RECEIVER_UPDATE)
            message.release()
        self.mailbox.send(update)
        return OK

    # ------------------------------------------------------------------ closing

    def close(self, *, abort: bool) -> None:
        """Begin to close; `closed` is set at the end. What was received goes back to the pool."""
        if not self.closing:
            self.closing = True
            self.pool.put(len(self.mailbox.close()))
        for channel in list(self.channels):
            if abort:
                channel.abort()
            else:
                channel.close_orderly()
        self._wake()
