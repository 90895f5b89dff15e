"""`Appendable`: a growable byte buffer. Source: pattern guide, section 5."""

from pytofu.patterns.arguments import Bytes, as_bytes, whole_number


class NoSpaceLeft(ValueError):
    """`Appendable.change` was asked for more bytes than the capacity has.

    Source: pattern guide, section 5.
    """


class NotEnoughMemory(ValueError):
    """`Appendable.shrink` was asked to remove more bytes than there are.

    Source: pattern guide, section 5.
    """


class Appendable:
    """A growable byte buffer over a `bytearray`, with the original's methods and growth.

    `capacity` bytes, rounded up to a multiple of `rounding` and at least that, are in hand
    before it grows; `data` is the first content. Growing at least doubles the capacity, which
    never falls again. Raises `ValueError` for a negative capacity or a rounding below 1.

    Buffers with equal bytes are equal whatever their capacities, to `bytes` and their like as
    well; being mutable they have no hash. Source: pattern guide, section 5.
    """

    __slots__ = ("_capacity", "_data", "_rounding")

    # The bytearray holds the content only; the capacity is a number kept beside it.

    def __init__(self, data: Bytes = b"", *, capacity: int = 256, rounding: int = 256) -> None:
        capacity = whole_number("capacity", capacity)
        rounding = whole_number("rounding", rounding)
        if capacity < 0:
            raise ValueError(f"capacity must not be negative, is {capacity}")
        if rounding < 1:
            raise ValueError(f"rounding must be at least 1, is {rounding}")
        self._rounding = rounding
        self._capacity = self._round_up(capacity)
        self._data = bytearray()
        self.append(data)

    @property
    def capacity(self) -> int:
        """The number of bytes that fit before the buffer grows."""
        return self._capacity

    @property
    def body(self) -> bytes | None:
        """A copy of the content, or None when there is none."""
        return bytes(self._data) if self._data else None

    def append(self, data: Bytes) -> None:
        """Add bytes at the end, growing the capacity where it is too small."""
        self._data += as_bytes("Appendable.append", data)
        length = len(self._data)
        if length > self._capacity:
            self._capacity = max(2 * self._capacity, self._round_up(length))

    def copy(self, data: Bytes) -> None:
        """Replace the content by these bytes, growing the capacity where it is too small."""
        content = bytes(as_bytes("Appendable.copy", data))  # first: it may be no buffer at all
        self.reset()
        self.append(content)

    def change(self, length: int) -> None:
        """Set the length: cut the end off, or append zero bytes.

        Raises `NoSpaceLeft` if the capacity is smaller (use `append` to grow), `ValueError` if
        the length is negative; the content is then as before.
        """
        length = whole_number("length", length)
        if length < 0:
            raise ValueError(f"length must not be negative, is {length}")
        if length > self._capacity:
            raise NoSpaceLeft(f"{length} bytes asked for, capacity is {self._capacity}")
        missing = length - len(self._data)
        if missing > 0:
            self._data += bytes(missing)
        else:
            del self._data[length:]

    def shrink(self, count: int) -> None:
        """Remove `count` bytes from the end.

        Raises `NotEnoughMemory` if there are fewer, `ValueError` if the count is negative; the
        content is then as before.
        """
        count = whole_number("count", count)
        if count < 0:
            raise ValueError(f"count must not be negative, is {count}")
        if count > len(self._data):
            raise NotEnoughMemory(f"{count} bytes to remove, there are {len(self._data)}")
        self.change(len(self._data) - count)

    def reset(self) -> None:
        """Make the buffer empty; the capacity stays."""
        self._data.clear()

    def clean(self) -> None:
        """Overwrite the content with zero bytes; length and capacity stay."""
        self._data[:] = bytes(len(self._data))

    def __len__(self) -> int:
        return len(self._data)

    def __bytes__(self) -> bytes:
        return bytes(self._data)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, Appendable):
            return self._data == other._data
        if isinstance(other, bytes | bytearray | memoryview):
            return self._data == other
        return NotImplemented

    def __repr__(self) -> str:
        shown = bytes(self._data[:32])
        dots = "..." if len(self._data) > len(shown) else ""
        return f"<Appendable {len(self._data)} of {self._capacity} bytes: {shown!r}{dots}>"

    def _round_up(self, length: int) -> int:
        return max(1, -(-length // self._rounding)) * self._rounding
