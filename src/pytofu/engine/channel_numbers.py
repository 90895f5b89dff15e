"""Channel numbers: random, unique while a channel lives, and not reused at once (PROTOCOL 2)."""

import random
from collections import deque
from typing import Final

from pytofu.patterns.result import Err, Ok, Result
from pytofu.values.status import AmpeError

FIRST: Final = 1
LAST: Final = 65534
RECENT: Final = 1024
"""How many of the numbers closed last are not given out."""


# Not the program's generator: its state, and what a seed makes of it, are the program's own.
_random: Final = random.SystemRandom()


class ChannelNumbers[C]:
    """The open channels of an engine by number, and the numbers closed last."""

    __slots__ = ("_recent", "_recent_order", "open")

    def __init__(self) -> None:
        self.open: dict[int, C] = {}
        self._recent: set[int] = set()
        self._recent_order: deque[int] = deque()

    def allocate(self, channel: C) -> Result[int, AmpeError]:
        """Give `channel` a number; `Err(ALLOCATION_FAILED)` when all are in use or recent."""
        if len(self.open) + len(self._recent) > LAST - FIRST:
            return Err(AmpeError.ALLOCATION_FAILED)
        # With a tenth of the numbers free this takes ten draws; a full table is not worth more.
        while True:
            number = _random.randint(FIRST, LAST)
            if number not in self.open and number not in self._recent:
                self.open[number] = channel
                return Ok(number)

    def release(self, number: int) -> None:
        """The channel with this number has closed."""
        del self.open[number]
        self._recent.add(number)
        self._recent_order.append(number)
        if len(self._recent) > RECENT:
            self._recent.remove(self._recent_order.popleft())

    def why_unknown(self, number: int) -> AmpeError:
        """The error for a number that no open channel has."""
        if number in self._recent:
            return AmpeError.CHANNEL_CLOSED
        return AmpeError.INVALID_CHANNEL_NUMBER
