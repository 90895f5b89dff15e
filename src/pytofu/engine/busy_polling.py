"""Before the loop sleeps: the pollers are asked again and again for a moment, if that has paid off.

To fall asleep and be woken takes the system several times as long as a peer on the same machine
takes to answer, and on a virtual machine more processor time than all else that a message costs.
So where the last wait was short, the next is expected to be. Only a wait that ends within the
limit is short, whether it was slept through or not; the first that is longer ends the asking, until
the system has woken the loop that quickly again. So at most every other wait is asked in vain, for
the limit at the most.

A core that another program wants is given up between two questions: the peer may need just that
one to answer.
"""

import os
from time import perf_counter
from typing import Any, Final, Protocol

_os: Final[Any] = os
"""For what type checkers know of on other systems only."""


class Pollable(Protocol):
    """A reactor with one poller, as far as this goes."""

    busy_poll: float
    """The limit, in seconds."""

    def is_ready(self) -> bool:
        """Whether there is anything to serve; waits for nothing."""
        ...


class BusyPolling:
    """What is known of the waits of one loop."""

    __slots__ = ("_expected", "_since")

    def __init__(self) -> None:
        self._since = 0.0
        self._expected: set[Pollable] = set()  # whose last wait was short

    def before_sleep(self, timeout: float) -> None:
        """Nobody has anything to do for `timeout` seconds: ask those that may be ready soon."""
        since = self._since = perf_counter()
        while self._expected:
            for reactor in tuple(self._expected):
                waited = perf_counter() - since
                if waited >= timeout:
                    return
                if waited >= reactor.busy_poll:
                    self._expected.remove(reactor)
                elif reactor.is_ready():
                    return
            _os.sched_yield()

    def woken_by(self, reactor: Pollable) -> None:
        """The loop has something to do again: this one is ready."""
        if perf_counter() - self._since < reactor.busy_poll:
            self._expected.add(reactor)
        else:
            self._expected.discard(reactor)

    def forget(self, reactor: Pollable) -> None:
        """It is about to close."""
        self._expected.discard(reactor)
