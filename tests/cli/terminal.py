"""What a command prints to, in a test."""

import io

import trio

from tests.support import PATIENCE


class Paper(io.StringIO):
    """Remembers what is written, and lets a test wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self._written = trio.Event()

    def write(self, text: str) -> int:
        self._written.set()
        self._written = trio.Event()
        return super().write(text)

    async def until(self, *texts: str) -> None:
        """Wait until each of these has been written."""
        with trio.fail_after(PATIENCE):
            while not all(text in self.getvalue() for text in texts):
                await self._written.wait()


class Terminal(Paper):
    """Looks like a terminal; TERM has to be something that is not dumb."""

    def isatty(self) -> bool:
        return True
