"""Flow control by credit, without I/O: how much may be sent, and how much may be said to be free.

A frame costs what it is long on the wire. One may be sent while credit is above zero, whatever it
costs, so the credit sinks below zero by at most one frame (`MAX_OVERDRAFT`).
"""

from typing import Final

from pytofu.values.header import HEADER_LEN, MAX_PART_LEN, BinaryHeader

MAX_OVERDRAFT: Final = HEADER_LEN + 2 * MAX_PART_LEN
"""The longest frame."""

WINDOW: Final = 256 * 1024
"""Credit that each side of a stream has from the start, by convention."""


def frame_cost(header: BinaryHeader) -> int:
    """What a message costs its sender, by its header."""
    return HEADER_LEN + header.text_headers_len + header.body_len


class ReceiveWindow:
    """The receiver's account: what has arrived, what was consumed, what may be granted again."""

    __slots__ = ("_owed", "_size", "_unconsumed")

    def __init__(self, size: int = WINDOW) -> None:
        self._size = size
        self._unconsumed = 0
        self._owed = 0

    def arrived(self, cost: int) -> bool:
        """Take a frame into account; False if the peer had no credit for it."""
        had_credit = self._unconsumed + self._owed < self._size
        self._unconsumed += cost
        return had_credit

    def consumed(self, cost: int) -> int:
        """A frame is out of the way; the credit to grant now: 0, or at least half the window."""
        self._unconsumed -= cost
        self._owed += cost
        if 2 * self._owed < self._size:
            return 0
        grant, self._owed = self._owed, 0
        return grant
