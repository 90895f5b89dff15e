"""Before the loop sleeps: the pollers are asked again and again for a moment, if that has paid off.

To fall asleep and be woken takes the system several times as long as a peer on the same machine
takes to answer, and on a virtual machine more processor time than all else that a message costs.
So where the last few waits were short, the next is expected to be, and is not slept through. A wait
that something else has ended, a timer or another library's socket, is none of the short ones; and
each time that the pollers are asked in vain it takes twice as many of them, up to a limit, until
there is an answer. So waiting for what comes rarely costs nothing, and guessing wrong next to it.

Between two questions the core is given up. If somebody else takes it, which may be the peer itself,
that is in vain, too: such a core would not have fallen asleep, and who sleeps is preferred to who
asks.
"""

import os
from time import perf_counter
from typing import Any, Final, Protocol

_os: Final[Any] = os
"""For what type checkers know of on other systems only."""


_FEW: Final = 4
"""Short waits in a row after which the next is expected to be one."""

_MANY: Final = 256
"""As many when asking was always in vain."""

_ASLEEP: Final = 2
"""Limits within which a wait is short, for one that was slept through is longer by that."""

_TAKEN: Final = 10e-6
"""Seconds for which a core is away if somebody else takes it; else it is back in one or two."""


class Pollable(Protocol):
    """A reactor with one poller, as far as this goes."""

    busy_poll: float
    """The limit, in seconds."""

    def is_ready(self) -> bool:
        """Whether there is anything to serve; waits for nothing."""
        ...


class BusyPolling:
    """What is known of the waits of one loop."""

    __slots__ = ("_candidates", "_in_a_row", "_needed", "_since", "_was_short")

    def __init__(self) -> None:
        self._since = 0.0
        self._was_short = False  # the last wait
        self._in_a_row = 0  # short waits
        self._needed = _FEW  # of them
        self._candidates: set[Pollable] = set()  # who has ended one of these

    def before_sleep(self, timeout: float) -> None:
        """Nobody has anything to do for `timeout` seconds: ask those that may be ready soon."""
        if self._was_short:
            self._in_a_row += 1
        else:
            self._in_a_row = 0
            self._candidates.clear()
        self._was_short = False
        since = self._since = perf_counter()
        while self._in_a_row >= self._needed:
            for reactor in tuple(self._candidates):
                waited = perf_counter() - since
                if waited >= timeout:
                    return
                if waited >= reactor.busy_poll:
                    self._candidates.remove(reactor)
                elif reactor.is_ready():
                    self._needed = _FEW
                    return
            if not self._candidates or _somebody_takes_the_core():
                self._in_a_row = 0
                self._needed = min(2 * self._needed, _MANY)

    def woken_by(self, reactor: Pollable) -> None:
        """The loop has something to do again: this one is ready."""
        if perf_counter() - self._since < _ASLEEP * reactor.busy_poll:
            self._was_short = True
            self._candidates.add(reactor)

    def forget(self, reactor: Pollable) -> None:
        """It is about to close."""
        self._candidates.discard(reactor)


def _somebody_takes_the_core() -> bool:
    given_up = perf_counter()
    _os.sched_yield()
    return perf_counter() - given_up > _TAKEN
