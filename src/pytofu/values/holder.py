"""Ownership: a message has one owner, and giving it away empties the owner's holder.

Source: pattern guide, section 8 (ownership transfer).
"""

from typing import TYPE_CHECKING

from pytofu.values.errors import AmpeException
from pytofu.values.status import AmpeError


class Holder[T]:
    """Holds a value for its one owner; whoever takes the value leaves the holder empty.

    Zig's `*?*T`. A function that takes a value over, such as `post` or `put`, is given the
    holder and empties it, so that the caller cannot go on using what is no longer his. Belongs
    to one thread at a time: to hand a value to another one, `take` it and let the other make
    its own holder. Source: pattern guide, section 8.
    """

    __slots__ = ("_value",)

    value: T | None
    """The value, or None if there is none or it was taken."""

    def __init__(self, value: T | None = None) -> None:
        self._value = value

    def unwrap(self) -> T:
        """The value; raises `NullMessageException` when there is none. It stays in the holder."""
        if self._value is None:
            raise AmpeException.from_error(
                AmpeError.NULL_MESSAGE, "the holder is empty: what it held was given away"
            )
        return self._value

    def is_empty(self) -> bool:
        """Whether there is no value."""
        return self._value is None

    def take(self) -> T | None:
        """Return the value, if any, and empty the holder."""
        value = self._value
        self._value = None
        return value

    def set(self, value: T | None) -> None:
        """Hold this value from now on; the former one, if any, is dropped."""
        self._value = value

    def clear(self) -> None:
        """Empty the holder and drop its value."""
        self._value = None

    if not TYPE_CHECKING:  # pragma: no branch

        def __getattr__(self, name: str) -> None:
            raise AttributeError(
                f"a Holder has no attribute {name!r}; what it holds may: holder.unwrap().{name}",
                name=name,
                obj=self,
            )

    def __repr__(self) -> str:
        return f"<Holder of {self._value!r}>" if self._value is not None else "<Holder, empty>"


if not TYPE_CHECKING:  # pragma: no branch
    # The slot by its public name: read for each message, and a property takes ten times as long
    # where a class has `__getattr__`.
    Holder.value = vars(Holder)["_value"]
