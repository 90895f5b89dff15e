"""What listeners and IO channels have in common: a number, a task, and a last event."""

import logging
import socket
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Final, Protocol

import trio

from pytofu.engine.options import Options
from pytofu.engine.pool import Pool
from pytofu.engine.traffic import Traffic
from pytofu.patterns.result import Result
from pytofu.protocol.framing import FrameWriter
from pytofu.protocol.lifecycle import Posting, PostRule, State
from pytofu.values.allocation import AllocationStrategy
from pytofu.values.header import OpCode
from pytofu.values.message import Message
from pytofu.values.status import AmpeError, AmpeStatus

log: Final = logging.getLogger("pytofu")

REASON: Final = "~reason"
"""Text header of the last event of a channel: the name of the `AmpeStatus` that says why."""


class Home(Protocol):
    """What a channel needs of the group that it belongs to."""

    options: Options
    pool: Pool
    traffic: Traffic

    @property
    def nursery(self) -> trio.Nursery:
        """Where its tasks run."""
        ...

    def accept(self, connection: socket.socket) -> None:
        """Make a channel of a connection that a listener accepted."""
        ...

    def deliver_received(self, messages: list[Message]) -> None:
        """Put messages from a peer into the mailbox."""
        ...

    def deliver(self, messages: list[Message]) -> None:
        """Put messages into the mailbox, or back into the pool when it is closed."""
        ...

    def remove(self, channel: "Channel") -> None:
        """A channel has closed."""
        ...


class Channel(ABC):
    """One channel: a task in its group's nursery, under a cancel scope that aborts it."""

    __slots__ = (
        "flush_pending",
        "group",
        "message_id",
        "number",
        "post_rules",
        "reason",
        "scope",
        "undelivered",
        "writer",
    )

    def __init__(self, group: Home, message_id: int) -> None:
        self.group: Home = group
        self.number: int = 0  # set when the engine has found one
        self.message_id: int = message_id  # of the message that opened the channel
        self.scope: trio.CancelScope = trio.CancelScope()
        self.post_rules: tuple[PostRule, ...]  # what becomes of a posted message, by opcode
        self.writer: FrameWriter = FrameWriter()  # what is queued; a listener's stays empty
        self.flush_pending: bool = True
        """Whether what is posted will be flushed without anybody asking for it."""
        self.reason: AmpeStatus | None = None  # why the channel closes, once that is known
        self.undelivered: list[Message] = []  # for the application, in front of the last event

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Live, and always end with `channel_closed`."""
        try:
            with self.scope:
                await trio.lowlevel.checkpoint_if_cancelled()  # aborted before it had begun
                await self.live()
        except Exception:
            self.abort_for_defect()
        finally:
            self.finish()

    @abstractmethod
    async def live(self) -> None:
        """The channel's life; returns, or is cancelled, when the channel is to close."""

    @abstractmethod
    def close_socket(self) -> None:
        """Close what the channel holds of the system."""

    @abstractmethod
    def unsent(self) -> Iterable[Message]:
        """Messages that were posted and not sent, in order, marked as from the engine."""

    @abstractmethod
    def post_special(self, message: Message, rule: State | Posting) -> Result[None, AmpeError]:
        """Do with a validated message what its rule says; on `Err` it stays with the caller.

        A message whose rule is None is just pushed to the `writer`.
        """

    @abstractmethod
    def flush(self) -> None:
        """Send what is queued, as far as that goes without waiting."""

    @abstractmethod
    def close_orderly(self) -> None:
        """Send what is queued, then close; at the latest after `close_timeout`."""

    def abort(self, reason: AmpeStatus = AmpeStatus.CHANNEL_CLOSED) -> None:
        """Close at once."""
        self.close_because(reason)
        self.scope.cancel()

    def abort_for_defect(self) -> None:
        """Close at once, because of the exception being handled, which only a defect can cause."""
        log.exception("channel %d: closed by a defect in pytofu", self.number)
        self.abort(AmpeStatus.PROCESSING_FAILED)

    def close_because(self, reason: AmpeStatus) -> None:
        """Note why the channel closes; the first reason stays."""
        if self.reason is None:
            self.reason = reason

    def finish(self) -> None:
        """Close the socket, hand back what was not sent, report the end, free the number."""
        events = self.undelivered
        try:
            self.close_socket()
            events.extend(self.unsent())
        except Exception:
            self.abort_for_defect()
        reason = AmpeStatus.CHANNEL_CLOSED if self.reason is None else self.reason
        events.append(self.signal(AmpeStatus.CHANNEL_CLOSED, reason))
        self.group.deliver(events)
        self.group.remove(self)

    def signal(self, status: AmpeStatus, reason: AmpeStatus | None = None) -> Message:
        """A Signal from the engine about this channel."""
        message = self.group.pool.get(AllocationStrategy.ALWAYS)
        assert message is not None
        header = message.header
        header.proto_byte = OpCode.SIGNAL
        header.channel_number = self.number
        message.mark_from_engine(status)
        if status is AmpeStatus.CHANNEL_CLOSED:
            header.message_id = self.message_id
        if reason is not None:
            message.text_headers.append(REASON, reason.name)
        return message
