"""From `post` to the channel's queue: one way for openers and all other messages (PROTOCOL 3).

What is posted is queued, and written before the loop waits, or before somebody waits to receive;
at once when so much has come together that the peer should have it, and when it may be the answer
to the only message there was, for which somebody waits.
"""

import struct
from typing import TYPE_CHECKING, Final

from pytofu._choice import compiled, twin
from pytofu.engine.channel_numbers import ChannelNumbers
from pytofu.engine.context import Channel, GroupContext
from pytofu.engine.fair_mailbox import FairMailBox
from pytofu.engine.io_channel import IoChannel
from pytofu.engine.listener import Listener
from pytofu.patterns.result import OK, Err, Ok, Result
from pytofu.values.address import parse_address
from pytofu.values.header import OPCODE_BITS, OpCode
from pytofu.values.message import Message
from pytofu.values.status import AmpeError

_WELCOME_RESPONSE: Final = int(OpCode.WELCOME_RESPONSE)
_SIGNAL: Final = int(OpCode.SIGNAL)


class Poster:
    """What a group does with what its application posts."""

    __slots__ = ("_channels", "_group", "_mailbox", "_numbers", "_queues", "answered")

    def __init__(
        self, group: GroupContext, numbers: ChannelNumbers[Channel], mailbox: FairMailBox
    ) -> None:
        self._group = group
        self._numbers = numbers  # of the whole engine
        self._channels = numbers.open
        self._mailbox = mailbox
        self._queues = group.queues
        self.answered: int = 0
        """Messages that had been received when something was last written at once."""

    def post(self, message: Message) -> Result[None, AmpeError]:
        """Validate and queue.

        On success the message is released and its header, completed, is the caller's; on error
        the message stays with the caller.
        """
        try:
            header = message._header
            opcode = header.proto_byte & OPCODE_BITS
            channel = self._channels.get(header.channel_number)
            if opcode <= _SIGNAL and channel is not None and channel.group is self._group:
                conversation = channel.conversation
                if (
                    conversation is not None
                    and conversation.post_rules[opcode] is None
                    and conversation.writer.size <= self._queues.limit
                    and not self._group.closing
                    and not ((account := message._account) and account.closed)
                ):
                    burst = conversation.writer.push_ordinary(message)
                    if burst is not None:
                        message.release()
                        if burst or not channel.has_work:
                            self._write_soon(channel, burst)
                        return OK
            return self._post_checked(message, opcode)
        except (struct.error, TypeError):  # from a field that is no number: nothing was queued
            message._header.check_numbers()
            raise

    def _post_checked(self, message: Message, opcode: int) -> Result[None, AmpeError]:
        """`post`, step by step: for whatever is not ordinary, or not in order."""
        if opcode == _WELCOME_RESPONSE:
            return message.refuse(AmpeError.INVALID_OP_CODE)
        result = message.check_and_prepare()
        if result is not OK:
            return result
        header = message._header
        number = header.channel_number
        channel = self._channels.get(number)
        if self._is_of_closed_channel(message) and not self._group.closing:
            return message.refuse(AmpeError.CHANNEL_CLOSED)  # whoever has the number by now
        if channel is None or channel.group is not self._group or self._group.closing:
            return self._open(message, opcode) if not number else self._refuse(message, channel)
        conversation = channel.conversation
        burst = False
        if conversation is not None and conversation.post_rules[opcode] is None:
            if conversation.writer.size > self._queues.limit:
                return self._refuse_more(message)
            burst = conversation.writer.push(message)
        else:
            header.check_numbers()
            try:
                error = channel.post(message)
            except Exception:
                channel.on_defect()  # with which the message comes back
                error = None
            if error is not None:
                return message.refuse(error)
        message.release()
        if burst or not channel.has_work:
            self._write_soon(channel, burst)
        return OK

    def _is_of_closed_channel(self, message: Message) -> bool:
        """Whether it goes back to the channel that brought it, and that has closed."""
        account = message._account
        return (
            account is not None
            and account.closed
            and account.number == message._header.channel_number
            and account.budget is self._group.budget
        )

    def _write_soon(self, channel: Channel, burst: bool) -> None:
        if burst:
            self._group.work_on(channel)
        elif not self._mailbox.turns and self._mailbox.taken != self.answered:
            self.answered = self._mailbox.taken  # it may be what somebody waits for
            self._group.work_on(channel)
        else:
            self._group.schedule(channel)

    def _refuse_more(self, message: Message) -> Err[AmpeError]:
        self._group.limits.reached(self._queues.reached)
        return message.refuse(AmpeError.ALLOCATION_FAILED)

    def _refuse(self, message: Message, channel: Channel | None) -> Err[AmpeError]:
        if channel is None:
            error = self._numbers.why_unknown(message.channel_number)
            if error is AmpeError.CHANNEL_CLOSED and self._group.closing:
                error = AmpeError.SHUTDOWN_STARTED  # which is why it closed
        elif channel.group is not self._group:
            error = AmpeError.INVALID_MESSAGE_CHANNEL_GROUP
        else:
            error = AmpeError.SHUTDOWN_STARTED
        return message.refuse(error)

    def _open(self, message: Message, opcode: int) -> Result[None, AmpeError]:
        """Open a channel with a HelloRequest or a WelcomeRequest."""
        if self._group.closing:
            return message.refuse(AmpeError.SHUTDOWN_STARTED)
        message._header.check_numbers()
        address = parse_address(message)
        channel: Channel
        if opcode == OpCode.HELLO_REQUEST:
            channel = IoChannel(self._group, address=address)
        else:
            channel = Listener(self._group, address)
        match self.register(channel):
            case Err(error):
                return message.refuse(error)
            case Ok():
                pass
        message.channel_number = channel.number
        channel.open_with(message)
        message.release()
        self._group.schedule(channel)
        return OK

    def register(self, channel: Channel) -> Result[None, AmpeError]:
        """Give a new channel its number and let it live."""
        match self._numbers.allocate(channel):
            case Ok(number):
                channel.number = number
                self._group.channels[channel] = None
                channel.start()
                return OK
            case Err() as err:
                return err

    def where_to_wait(self, message: Message) -> IoChannel | None:
        """The channel that the message is for, if so much is queued there that senders wait."""
        channel = self._channels.get(message._header.channel_number)
        if isinstance(channel, IoChannel) and channel.must_wait and channel.group is self._group:
            return channel
        return None

    def queued_bytes(self, number: int) -> int:
        """Bytes that wait to be sent on that channel of the group; 0 if there is none."""
        channel = self._channels.get(number)
        if isinstance(channel, IoChannel) and channel.group is self._group:
            return channel.conversation.writer.held
        return 0


if compiled and not TYPE_CHECKING:
    Poster = twin(Poster)
