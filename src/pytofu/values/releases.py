"""Where messages are released, for who looks for a use behind that (pattern guide, section 8)."""

import os
import sys
from typing import TYPE_CHECKING, Final

from pytofu._choice import compiled, twin
from pytofu.patterns.arguments import must_be

_PACKAGE: Final = __name__.partition(".")[0]

traced: bool = os.environ.get("PYTOFU_TRACE_RELEASES", "0") not in {"", "0"}
"""Whether it is recorded."""


def trace_releases(enabled: bool) -> None:
    """Record, or stop recording, where each message is released (some microseconds a message).

    Also switched on by the environment variable PYTOFU_TRACE_RELEASES=1 at import.
    """
    must_be("trace_releases", "True or False", bool, enabled)
    _trace(enabled)


def _trace(enabled: bool) -> None:
    global traced
    traced = enabled


def release_site() -> str:
    """File and line of the nearest caller outside this package; empty unless traced."""
    if not traced:
        return ""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


if compiled and not TYPE_CHECKING:
    _trace = twin(_trace)
    _trace(traced)
