"""Round-trip times, in bounded memory however many there are."""

from collections import Counter
from typing import Final

_BITS: Final = 10
"""Bits kept of each time: a percentile is wrong by at most one in 512, about 0.2 %."""


class RoundTrips:
    """Durations in nanoseconds; minimum, mean and maximum are exact."""

    def __init__(self) -> None:
        self.count: int = 0
        self.minimum: int = 0
        self.maximum: int = 0
        self._sum = 0
        self._buckets = Counter[int]()

    def add(self, nanoseconds: int) -> None:
        """Take note of one round trip."""
        self.minimum = min(self.minimum, nanoseconds) if self.count else nanoseconds
        self.maximum = max(self.maximum, nanoseconds)
        self.count += 1
        self._sum += nanoseconds
        dropped = max(0, nanoseconds.bit_length() - _BITS)
        self._buckets[nanoseconds >> dropped << dropped] += 1

    @property
    def mean(self) -> float:
        """In nanoseconds; 0 when there is none."""
        return self._sum / self.count if self.count else 0.0

    def percentile(self, percent: float) -> int:
        """The nanoseconds that so many percent did not exceed; 0 when there is none."""
        rank = max(1, -(-self.count * percent // 100))
        seen = 0
        for nanoseconds in sorted(self._buckets):
            seen += self._buckets[nanoseconds]
            if seen >= rank:
                return max(nanoseconds, self.minimum)
        return 0
