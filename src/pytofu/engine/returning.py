"""What a closed channel gives back to its application, in pieces.

A queue of many megabytes can hold a million small messages. Made all at once they would take up
thirty times as much, and stop the loop for seconds; so the next piece is made when the application
has received the one before.
"""

from collections.abc import Iterator
from typing import Final

from pytofu.engine.accounts import UNCOUNTED
from pytofu.engine.context import Channel
from pytofu.engine.fair_mailbox import Inbox
from pytofu.values.message import Message

_MOST_MESSAGES: Final = 128
_MOST_BYTES: Final = 256 * 1024


class Returning:
    """What a closed channel has left, until the application has received it."""

    __slots__ = ("_ahead", "_channel", "_inbox", "_messages", "_queued", "begun", "done")

    def __init__(
        self,
        channel: Channel,
        inbox: Inbox,
        messages: Iterator[Message],
        queued: int,
    ) -> None:
        self._channel = channel
        self._inbox = inbox
        self._messages = messages
        self._ahead: list[Message] = []  # made to see that there is another piece, and its first
        self._queued = queued  # bytes, as counted in the engine's queues
        self.begun: bool = False
        """Whether there was a piece already."""
        self.done: bool = False
        """Whether nothing is left."""
        channel.group.queues.returning += queued

    def go_on(self) -> int:
        """Give back more; how many messages the application has to receive before the next.

        0 when that is all. With the last piece the channel is no more.
        """
        group, inbox = self._channel.group, self._inbox
        if self.begun and inbox and not group.closing:
            return len(inbox)
        if not self.done and (group.closing or self._gives_last_piece()):
            group.queues.note(-self._queued)
            group.queues.returning -= self._queued
            group.remove(self._channel)
        return len(inbox)

    def _gives_last_piece(self) -> bool:
        self._channel.group.deliver(self._inbox, self.piece())
        return self.done

    def piece(self) -> list[Message]:
        """The next messages, at least one, marked as costing the budget nothing."""
        self.begun = True
        piece, self._ahead = self._ahead, []
        size = sum(len(message.payload) for message in piece)
        for message in self._messages:
            message._account = UNCOUNTED
            if len(piece) == _MOST_MESSAGES or size > _MOST_BYTES:
                self._ahead.append(message)
                return piece
            piece.append(message)
            size += len(message.payload)
        self.done = True
        return piece


def give_back_at_once(
    channel: Channel, inbox: Inbox, messages: Iterator[Message], queued: int
) -> None:
    """As `Returning`, of a channel that has nothing left but its last event."""
    group = channel.group
    if not group.closing:
        last = list(messages)
        for message in last:
            message._account = UNCOUNTED
        group.deliver(inbox, last)
    group.queues.note(-queued)
    group.remove(channel)
