"""What all commands print: lines for people, or JSON objects, one a line, for machines.

Live displays are for terminals only. Text that came from a peer is made harmless before it is
printed: control characters would let a peer write all over the terminal.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Final, TextIO

import rich.progress
import trio
from rich.console import Console, RenderableType
from rich.table import Column

from pytofu.cli.display import Display
from pytofu.cli.running import naming
from pytofu.cli.streams import at_blanks

_NAME: Final = "standard output"
_REFRESH: Final = 0.25  # seconds
_SHORT_NAME: Final = 10  # columns, of a file on its way
_BAR_AND_FIGURES: Final = 45
_WIDE: Final = 160  # columns where nobody says how many there are


class _Console(Console):
    """A console that lets the caller handle it when nobody reads the output any more."""

    def on_broken_pipe(self) -> None:
        """Called where BrokenPipeError is handled: let it go on, not `SystemExit`."""
        raise


class Output:
    """Where a command prints to: stdout, or a file, for people or for machines."""

    def __init__(self, *, as_json: bool = False, file: TextIO | None = None) -> None:
        self.as_json: bool = as_json
        self.file: TextIO = file or sys.stdout
        terminal = self.file.isatty()
        width = None if terminal or "COLUMNS" in os.environ else _WIDE
        # Nothing in what a peer sent is to be taken for markup, or for the name of an emoji.
        self.console: _Console = _Console(
            file=self.file, width=width, markup=False, emoji=False, highlight=False
        )
        self.live: bool = terminal and not self.console.is_dumb_terminal and not as_json

    def record(self, record: Mapping[str, object], text: str, *, verbatim: bool = False) -> None:
        """Print the record as JSON, or the text.

        On a terminal the text's long lines break at blanks, unless it is `verbatim`.
        """
        with naming(_NAME):
            if self.as_json:
                print(json.dumps(record), file=self.file, flush=True)
            else:
                # Lines stay lines, however long they are.
                shown = text if verbatim else at_blanks(text, self.file)
                self.console.print(shown, soft_wrap=True)

    def print(self, drawn: RenderableType) -> None:
        """Print a tree or a table, for people; it adapts to the width."""
        with naming(_NAME):
            self.console.print(drawn)

    async def show(self, draw: Callable[[], RenderableType]) -> None:
        """Keep a display up to date until cancelled; without a terminal, do nothing.

        What is printed meanwhile goes above it, and at the end it disappears.
        """
        if not self.live:
            return
        with naming(_NAME), Display(self.console) as display:
            while True:
                display.update(draw())
                await trio.sleep(_REFRESH)


def harmless(text: str) -> str:
    """The text with everything that does not print written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def number_of(count: int, noun: str) -> str:
    """A number and what there are so many of."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"


def size_text(count: float) -> str:
    """A number of bytes with a decimal unit."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 999.5:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.4g} TB"


def duration_text(seconds: float) -> str:
    """A duration with a unit that suits it."""
    for factor, unit in ((1e6, "µs"), (1e3, "ms")):
        if seconds * factor < 999.5:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds:.1f} s"


def progress_bar(output: Output) -> rich.progress.Progress:
    """Bars with rate and time left, drawn by `Output.show`; each is one line."""
    longest = max(_SHORT_NAME, output.console.width - _BAR_AND_FIGURES)
    size, rate, time_left = (Column(no_wrap=True) for _ in range(3))
    return rich.progress.Progress(
        rich.progress.TextColumn(
            "{task.description}", markup=False, table_column=Column(no_wrap=True, max_width=longest)
        ),
        rich.progress.BarColumn(None, table_column=Column(min_width=4, max_width=40)),
        rich.progress.DownloadColumn(table_column=size),
        rich.progress.TransferSpeedColumn(table_column=rate),
        rich.progress.TimeRemainingColumn(table_column=time_left),
        console=output.console,
        auto_refresh=False,
    )
