"""Wrong things, and what an argument is: something right, and which of these are right as well."""

import math
from pathlib import Path
from typing import Any, Final

import attrs

WRONG: Final[dict[str, Any]] = {
    "None": None,
    "text": "text",
    "odd text": "\r\n\0\udcff|",
    "bytes": b"bytes",
    "float": 1.5,
    "nan": math.nan,
    "infinite": math.inf,
    "True": True,
    "negative": -1,
    "huge": 2**80,
    "enormous": 10**400,  # no float can have it
    "object": object(),
    "list": [1],
    "odd mapping": {"name": "\r\n\0\udcff"},
    "class": Path,
}


@attrs.frozen
class Arg:
    """An argument: something right for it, and which of `WRONG` are right as well."""

    good: Any
    right: frozenset[str] = frozenset()
    called: str = ""
    """How errors call it, where that is not its name."""


def arg(good: Any, *right: str, called: str = "") -> Arg:
    """An argument."""
    return Arg(good, frozenset(right), called)


NOT_GIVEN: Final = object()


def anything(good: Any) -> Arg:
    """An argument that may be whatever the program likes: it is kept, or handed on."""
    return arg(good, *WRONG)
