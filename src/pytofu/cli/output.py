"""What all commands print: lines for people, or JSON objects, one a line, for machines.

Live displays are for terminals only. Text that came from a peer is made harmless before it is
printed: control characters would let a peer write all over the terminal.
"""

import json
import os
import sys
from collections.abc import Callable, Mapping
from typing import Final, TextIO

import click
import rich.progress
import trio
from rich.console import Console, RenderableType
from rich.live import Live

_REFRESH: Final = 0.25  # seconds
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

    def record(self, record: Mapping[str, object], text: RenderableType) -> None:
        """Print the record as JSON, or the text."""
        if self.as_json:
            print(json.dumps(record), file=self.file, flush=True)
        else:
            self.console.print(text, soft_wrap=True)

    async def show(self, draw: Callable[[], RenderableType]) -> None:
        """Keep a display up to date until cancelled; without a terminal, do nothing.

        What is printed meanwhile goes above it, and at the end it disappears.
        """
        if not self.live:
            return
        with Live(draw(), console=self.console, auto_refresh=False, transient=True) as live:
            while True:
                live.update(draw(), refresh=True)
                await trio.sleep(_REFRESH)


def json_option[F: Callable[..., object]](command: F) -> F:
    """The option --json, which every command has."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")(
        command
    )


def example(text: str) -> str:
    """Lines for the end of --help, kept as they are."""
    lines = "\n".join(f"  {line}" for line in text.splitlines())
    return f"\b\nExample:\n{lines}"


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
    """Bars with rate and time left, drawn by `Output.show`."""
    return rich.progress.Progress(
        rich.progress.TextColumn("{task.description}", markup=False),
        rich.progress.BarColumn(),
        rich.progress.DownloadColumn(),
        rich.progress.TransferSpeedColumn(),
        rich.progress.TimeRemainingColumn(),
        console=output.console,
        auto_refresh=False,
    )
