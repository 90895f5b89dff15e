"""Ctrl-C on any line."""

import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType
from typing import Final

import trio

import pytofu


class CtrlC:
    """Ctrl-C on the `at`-th line of pytofu that the run comes to, from 0, in whatever task.

    Lines count when they are reached for the first time, and where Trio would raise
    KeyboardInterrupt on the spot.
    """

    _TOOL: Final = 4
    _SOURCE: Final = str(Path(pytofu.__file__).parent)

    def __init__(self, at: int) -> None:
        self.where: str | None = None
        self._left = at
        self._seen: set[tuple[CodeType, int]] = set()

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Watch for the line within this block."""
        sys.monitoring.use_tool_id(self._TOOL, "ctrl-c")
        sys.monitoring.register_callback(self._TOOL, sys.monitoring.events.LINE, self._line)
        sys.monitoring.set_events(self._TOOL, sys.monitoring.events.LINE)
        try:
            yield
        finally:
            sys.monitoring.set_events(self._TOOL, sys.monitoring.events.NO_EVENTS)
            sys.monitoring.register_callback(self._TOOL, sys.monitoring.events.LINE, None)
            sys.monitoring.free_tool_id(self._TOOL)

    def _line(self, code: CodeType, line: int) -> None:
        if self.where is not None or not code.co_filename.startswith(self._SOURCE):
            return
        if (code, line) in self._seen or trio.lowlevel.currently_ki_protected():
            return
        self._seen.add((code, line))
        self._left -= 1
        if self._left == -1:
            self.where = f"{code.co_filename}:{line}"
            signal.raise_signal(signal.SIGINT)
