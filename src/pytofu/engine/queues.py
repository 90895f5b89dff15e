"""What waits to be sent, in all channels of an engine together.

Each channel has a limit of its own. When all together hold more than they may, that limit falls to
almost nothing until they hold less: who takes what is sent to him does not notice, and who does
not gets no more. If the total goes on growing all the same, nobody is read from whose answers
wait, nobody is accepted, and channels are closed (`eviction.py`).
"""

from typing import TYPE_CHECKING, Final

from pytofu._choice import compiled, twin

_LIMIT_WHEN_FULL: Final = 64 * 1024


class SendQueues:
    """One an engine."""

    __slots__ = (
        "_max_channel",
        "_max_total",
        "_most",
        "limit",
        "limit_to_read",
        "returning",
        "too_much",
        "total",
    )

    def __init__(self, max_channel: int, max_total: int) -> None:
        self._max_channel = max_channel
        self._max_total = max_total
        self._most = max_total + max_total // 4
        self.total: int = 0
        """Bytes that wait to be sent."""
        self.returning: int = 0
        """Bytes of these on channels that have closed: they go as the application receives them."""
        self.limit: int = max_channel
        """Bytes that may wait on one channel at the moment."""
        self.too_much: bool = False
        """Whether the total is more than a quarter above its limit."""
        self.limit_to_read: int = max_channel
        """Bytes that may wait on an accepted channel if it is to be read from."""

    def note(self, change: int) -> None:
        """So many bytes more wait, or less."""
        self.total += change
        full = self.total > self._max_total
        self.limit = min(self._max_channel, _LIMIT_WHEN_FULL) if full else self._max_channel
        self.too_much = self.total > self._most
        self.limit_to_read = 0 if self.too_much else self.limit

    @property
    def reached(self) -> str:
        """Which option is to be named when a channel is at its limit."""
        full = self.total > self._max_total
        return "max_total_queued_bytes" if full else "max_queued_bytes"

    @property
    def excess(self) -> int:
        """Bytes by which channels have to be closed: nothing until a quarter above the limit."""
        waiting = self.total - self.returning
        return waiting - self._max_total if waiting > self._most else 0


if compiled and not TYPE_CHECKING:
    SendQueues = twin(SendQueues)
