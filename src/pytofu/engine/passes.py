"""How long the engine goes on with many channels before everybody else has his turn.

How many channels have something to do at a moment is for peers to decide, and so is how much each
of them does. So what goes through many of them looks at the clock, and leaves the rest for the
loop's next turn.
"""

from time import perf_counter
from typing import Final

LONGEST: Final = 0.008
"""Seconds. A turn of the loop has room for several such passes."""


class Pass:
    """One way through channels: `is_over` behind each of them says whether to stop."""

    __slots__ = ("_end",)

    def __init__(self) -> None:
        self._end = perf_counter() + LONGEST

    @property
    def is_over(self) -> bool:
        """Whether the rest has to wait; one channel at least has had its turn."""
        return perf_counter() > self._end
