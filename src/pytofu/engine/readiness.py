"""What a group needs to know when its links may go on: the interface of the two reactors.

`reactor.py` has one poller for a group and serves it from whatever task receives; `tasks.py` has
a task for each link, and runs where there is neither epoll nor kqueue.
"""

from abc import ABC, abstractmethod
from typing import Final

MUCH: Final = 16 * 1024
"""Bytes of one read above which a source counts as several."""


class Source(ABC):
    """A link, or something that listens, as a reactor sees it."""

    __slots__ = ()

    brings_much: bool = False
    """Whether it had so much to say, when it was last read from, that it counts as several."""

    @abstractmethod
    def fileno(self) -> int:
        """Its descriptor; -1 if it has none, and says itself when it may go on."""

    @abstractmethod
    def on_readable(self, now: float) -> None:
        """It may be read from. May be called when it is not so."""

    @abstractmethod
    def on_writable(self, now: float) -> None:
        """It may be written to. May be called when it is not so."""

    @abstractmethod
    def on_defect(self) -> None:
        """One of these calls has raised what is being handled: only this source is to suffer."""


class Readiness(ABC):
    """Calls sources when they are ready; level-triggered."""

    __slots__ = ()

    can_lead: bool = False
    """Whether somebody has to `lead` for anything to be served, and nobody does."""

    @abstractmethod
    def watch(self, source: Source, *, read: bool, write: bool) -> None:
        """Call it when it is ready for what is asked, until this is called again."""

    @abstractmethod
    def unwatch(self, source: Source) -> None:
        """Forget it; its descriptor is about to be closed."""

    @abstractmethod
    def again(self, source: Source) -> None:
        """Call it soon though no descriptor says so, and once, however often it is asked.

        May be called from any thread.
        """

    @abstractmethod
    def serve(self) -> None:
        """Call all sources that are ready now; waits for nothing."""

    @abstractmethod
    async def lead(self) -> None:
        """Wait until a source is ready, or somebody calls `ring`; `serve` is the caller's.

        Only when `can_lead`. Cancelling it loses nothing.
        """

    @abstractmethod
    def ring(self) -> None:
        """Make whoever leads return."""

    @abstractmethod
    def close(self) -> None:
        """Give up what it holds of the system; all sources have been forgotten."""
