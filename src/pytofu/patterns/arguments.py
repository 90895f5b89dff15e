"""What is said to a caller who gave the wrong thing: what it was, what is right, what to do.

Nothing here runs unless something is wrong, or costs more than a comparison of types.
"""

import math
import operator
from types import UnionType
from typing import Any

type Bytes = bytes | bytearray | memoryview[int]


def shown(value: object) -> str:
    """A value in a message: its type, and itself if that is not long."""
    text = repr(value)
    return f"{type(value).__name__}, {text if len(text) <= 60 else text[:57] + '...'}"


def wrong_type(what: str, wanted: str, given: object, advice: str = "") -> TypeError:
    """The exception (not raised) for a value of the wrong type."""
    text = f"{what} takes {wanted}, not {shown(given)}"
    return TypeError(f"{text}: {advice}" if advice else text)


def as_bytes(what: str, data: Any) -> Bytes:
    """Something bytes-like as it is; never a number or a list, of which `bytes` makes something.

    Raises `TypeError`.
    """
    if isinstance(data, bytes | bytearray):
        return data
    try:
        return memoryview(data)
    except TypeError:
        advice = "text is encoded first, text.encode()" if isinstance(data, str) else ""
        raise wrong_type(what, "bytes", data, advice) from None


def whole_number(what: str, number: Any) -> int:
    """A whole number as an `int`: an int, or what counts as one, but neither bool, float nor text.

    Raises `TypeError`.
    """
    if type(number) is int:
        return number
    if not isinstance(number, bool):
        try:
            return operator.index(number)
        except TypeError:
            pass
    raise wrong_type(what, "a whole number", number, _int_of(number))


def _int_of(number: object) -> str:
    return f"int({number!r})" if isinstance(number, str) and number.isdecimal() else ""


def seconds(what: str, number: float, *, or_none: bool = False) -> float:
    """A time. Raises `TypeError` for what is no number, ValueError for one that is no time.

    0 is one with `or_none`: no time at all.
    """
    if isinstance(number, bool):
        raise wrong_type(what, "a number of seconds", number)
    must_be(what, "a number of seconds", (int, float), number)
    time = as_float(what, number)
    if math.isnan(time) or time < 0 or (time == 0 and not or_none):
        raise ValueError(f"{what} takes {'at least' if or_none else 'more than'} 0, not {number!r}")
    return time


def as_float(what: str, number: float) -> float:
    """A number as a float. Raises `ValueError` for an int that is too large for one."""
    try:
        return float(number)
    except OverflowError:
        raise ValueError(f"{what} takes what a float can have, not {shown(number)}") from None


def must_be_callable(what: str, function: object) -> None:
    """Raise `TypeError` for what cannot be called."""
    if not callable(function):
        raise wrong_type(what, "a function", function)


def must_be(
    what: str,
    wanted: str,
    kind: type | tuple[type, ...] | UnionType,
    given: object,
    advice: str = "",
) -> None:
    """Raise `TypeError` for what is of no such type."""
    if not isinstance(given, kind):
        raise wrong_type(what, wanted, given, advice)
