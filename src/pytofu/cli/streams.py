"""The standard streams: what happens where they are closed, full, or nobody reads them."""

import os
import sys
import textwrap
from typing import Final, TextIO

_LAST_STANDARD: Final = 2
_LONGEST: Final = 1000
"""Characters of a reason: it may quote what the user gave, whatever that was."""
_COLUMNS: Final = 80
"""Of a terminal that does not say how many it has."""


def provide() -> None:
    """Fill the places of standard streams that are closed.

    Otherwise the next socket or file would get descriptor 0, 1 or 2, and with it what is written
    to that stream. Output that is closed counts as /dev/null; `sys.stdin` stays None, so that
    whoever wants to read can say that it is closed.
    """
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= _LAST_STANDARD:
        os.set_inheritable(descriptor, True)  # for the programs that this one starts
    os.close(descriptor)
    if sys.stdout is None:
        sys.stdout = _nowhere()
    if sys.stderr is None:
        sys.stderr = _nowhere()


def _nowhere() -> TextIO:
    # Not descriptor 1 or 2: while modules were imported something else may have come there. Never
    # closed, as the streams of the process are not.
    return open(os.open(os.devnull, os.O_WRONLY), "w", encoding="utf-8", closefd=False)


def complain(reason: str) -> None:
    """Write a reason to stderr: in one line, or on a terminal in lines that break at blanks."""
    if len(reason) > _LONGEST:
        reason = f"{reason[:_LONGEST]} ..."
    write_error(at_blanks(reason, sys.stderr))


def write_error(text: str) -> None:
    """Write to stderr; where that fails there is nobody to be told."""
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        abandon(sys.stderr)


def at_blanks(text: str, file: TextIO) -> str:
    """For a terminal: the text with its long lines broken at blanks; else the text itself.

    What has no blanks stays whole, so that it can be copied.
    """
    if not file.isatty():
        return text
    try:
        columns = os.get_terminal_size(file.fileno()).columns
    except OSError:
        columns = 0
    width = columns or _COLUMNS
    return "\n".join(
        textwrap.fill(line, width, break_long_words=False, break_on_hyphens=False)
        if len(line) > width
        else line
        for line in text.split("\n")
    )


def abandon(stream: TextIO) -> None:
    """Let what a stream still holds go nowhere: it must not fail again when the process ends."""
    try:
        descriptor = stream.fileno()
    except OSError:  # it has none
        return
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, descriptor)
    os.close(null)
