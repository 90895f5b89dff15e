"""The message pool: the budget of messages that receiving may spend (PROTOCOL 2 and 4).

CPython's allocator already recycles memory, so the pool does not keep old objects: it counts.
`get` takes one of the count and makes a fresh message, `put` gives one back. That keeps a
reference to a released message dead for good (a recycled object would come back to life under
it), and the count is what matters: it bounds what peers can make this process hold.
"""

import trio

from pytofu.values.allocation import AllocationStrategy
from pytofu.values.message import Message


class Pool:
    """Counts free messages; between `initial` at the start and `maximum` at the most."""

    __slots__ = ("_dry", "_readers", "_strained", "free", "initial", "maximum", "spell")

    def __init__(self, initial: int, maximum: int) -> None:
        self.initial: int = initial
        self.maximum: int = max(initial, maximum)
        self.free: int = initial
        self._readers = trio.lowlevel.ParkingLot()
        self._dry = False  # within a spell
        self._strained = False  # within a spell, or with readers still waiting behind it
        self.spell: int = 0
        """How often the pool has run dry, having been half full in between."""

    def get(self, strategy: AllocationStrategy) -> Message | None:
        """A new message; None when none is free and `strategy` is POOL_ONLY."""
        if self.free:
            self.free -= 1
        elif strategy is AllocationStrategy.POOL_ONLY:
            return None
        return Message()

    def take(self, count: int) -> None:
        """Spend `count` free messages, for as many that the caller has made itself."""
        self.free -= count

    def take_back(self, message: Message) -> None:
        """Release a message and count it as free. Raises `MessageReleasedError` if it was."""
        message.release()
        self.put(1)

    def posted(self) -> None:
        """Count a message as free that was posted: its bytes are queued, itself it is gone."""
        if self._strained:
            self.put(1)
        elif self.free < self.maximum:
            self.free += 1

    def returned(self, count: int) -> None:
        """Count posted messages as taken again that come back, as far as so many are free."""
        self.free = max(0, self.free - count)

    def put(self, count: int) -> None:
        """Give back `count` messages. What would exceed the maximum is dropped."""
        self.free += count
        if self.free > self.maximum:
            self.free = self.maximum
        if self._strained:
            self._relieve(count)

    def _relieve(self, count: int) -> None:
        if self.free >= max(1, self.initial // 2):
            self._dry = False
        self._readers.unpark(count=count)
        self._strained = self._dry or bool(self._readers)

    def run_dry(self) -> int:
        """Note that a reader found nothing free; the number of the spell this belongs to."""
        if not self._dry:
            self._dry = self._strained = True
            self.spell += 1
        return self.spell

    async def wait_free(self) -> None:
        """Wait until a message is free; then take it, or `pass_on` the turn."""
        while not self.free:
            self._strained = True
            await self._readers.park()

    def pass_on(self) -> None:
        """Let the next reader have what is free: for one that was woken and needs no more."""
        if self.free and self._readers:
            self._readers.unpark()
