"""Bodies that come in parts, put together again."""

from typing import Final

from pytofu.peers.wire import MAX_BODY

_PART_COST: Final = 512
"""Bytes that a part costs beside its own: an endless row of empty ones must not be free."""


class Budget:
    """How many bytes of unfinished bodies one peer may make us hold, and of one body.

    Below zero the peer has asked for more than any program needs; its link is closed.
    """

    __slots__ = ("left", "longest")

    def __init__(self, size: int = 4 * MAX_BODY, longest: int = MAX_BODY) -> None:
        self.left: int = size
        self.longest: int = longest


class Assembly:
    """The parts of one body. Once it is too long nothing is kept of it.

    `headers_len` is how many bytes of text headers are kept with it, which count as well.
    """

    __slots__ = ("_budget", "_held", "_length", "_parts", "too_long")

    def __init__(self, budget: Budget, headers_len: int = 0) -> None:
        self._budget = budget
        self._parts: list[bytes] = []
        self._length = 0
        self._held = 0
        self._hold(headers_len)
        self.too_long: bool = False

    def add(self, part: bytes, *, last: bool = False) -> bytes | None:
        """Take the next part. With the last one, the whole body, unless it is too long."""
        self._length += len(part)
        if self._length > self._budget.longest:
            self.too_long = True
            self.drop()
            self._hold(_PART_COST)
            return None
        if last and not self._held:  # as nearly always: there is nothing to put together
            self._length = 0
            return part
        self._parts.append(part)
        self._hold(len(part) + _PART_COST)
        return self.take() if last else None

    def _hold(self, cost: int) -> None:
        self._held += cost
        self._budget.left -= cost

    def take(self) -> bytes:
        """The whole body; the next part begins another."""
        whole = b"".join(self._parts)
        self.drop()
        self._length = 0
        return whole

    def drop(self) -> None:
        """Give back what it holds."""
        self._budget.left += self._held
        self._held = 0
        self._parts.clear()
