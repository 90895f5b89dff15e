"""A display at the bottom of a terminal: drawn again and again, and at last erased."""

from types import TracebackType
from typing import Self

from rich.console import (
    Console,
    ConsoleOptions,
    ConsoleRenderable,
    RenderableType,
    RenderHook,
    RenderResult,
)
from rich.control import Control
from rich.segment import ControlType, Segment, Segments


class Display(RenderHook):
    """For the length of a `with` block; what is printed meanwhile goes above it.

    The cursor stays at the beginning of the first line, so that everything below it can be erased
    without knowing how many lines that are: a terminal that was made narrower has broken the
    lines, or cut them off, and does not say which.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._drawn: RenderableType = ""

    def __enter__(self) -> Self:
        self._console.show_cursor(False)
        self._console.push_render_hook(self)
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_val: BaseException | None,
        exc_tb: TracebackType | None,
    ) -> None:
        self._console.pop_render_hook()
        self._console.print(_ERASE, end="")
        self._console.show_cursor(True)

    def update(self, drawn: RenderableType) -> None:
        """Draw this instead of what is there."""
        self._drawn = drawn
        self._console.print(Control())

    def process_renderables(self, renderables: list[ConsoleRenderable]) -> list[ConsoleRenderable]:
        """Called for everything that is printed: put it above the display."""
        return [_ERASE, *renderables, self]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # Not `options`: they are those of what is printed above.
        lines = console.render_lines(self._drawn, console.options, pad=False)[: console.height]
        for number, line in enumerate(lines):
            if number:
                yield Segment.line()
            yield from line
        yield Control(ControlType.CARRIAGE_RETURN)
        if len(lines) > 1:
            yield Control((ControlType.CURSOR_UP, len(lines) - 1))


_ERASE = Segments([Segment("\r\x1b[J", None, [(ControlType.CARRIAGE_RETURN,)])])
