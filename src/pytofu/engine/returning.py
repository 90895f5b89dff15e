"""What a closed channel gives back to its application, in pieces.

A queue of many megabytes can hold a million small messages. Made all at once they would take up
thirty times as much, and stop the loop for seconds; so the next piece is made when the application
has received the one before.
"""

from collections.abc import Iterator
from typing import Final

from pytofu.engine.accounts import UNCOUNTED
from pytofu.values.message import Message

_MOST_MESSAGES: Final = 128
_MOST_BYTES: Final = 256 * 1024


class Returning:
    """The last messages of a channel, until the last of them has been taken."""

    __slots__ = ("_messages", "begun", "done", "much")

    def __init__(self, messages: Iterator[Message], *, much: bool) -> None:
        self._messages = messages
        self.much: bool = much
        """Whether there is more than the last event."""
        self.begun: bool = False
        """Whether there was a piece already."""
        self.done: bool = False
        """Whether nothing is left."""

    def piece(self) -> list[Message]:
        """The next messages, marked as costing the budget nothing."""
        self.begun = True
        piece: list[Message] = []
        size = 0
        for message in self._messages:
            message._account = UNCOUNTED
            piece.append(message)
            size += len(message.payload)
            if len(piece) == _MOST_MESSAGES or size > _MOST_BYTES:
                return piece
        self.done = True
        return piece
