"""Numbers of the wire that people read by their names."""

from enum import IntEnum
from typing import Final, override

_OF_NUMBERS: Final = tuple("bcdoxXneEfFgG%")


class NamedNumber(IntEnum):
    """As `IntEnum`, but its text is the name; a format for numbers, such as `:d`, is the number."""

    @override
    def __str__(self) -> str:
        return self.name

    @override
    def __format__(self, format_spec: str) -> str:
        if format_spec.endswith(_OF_NUMBERS):
            return int.__format__(self, format_spec)
        return format(self.name, format_spec)
