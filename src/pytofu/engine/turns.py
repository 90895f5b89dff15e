"""What an engine does at the end of each turn of Trio's loop, before that waits for anything.

Everything posted in the turn is written, so that a burst of posts is one write a channel. And if
the loop is about to sleep while nobody leads a group's reactor (`reactor.py`), the group's own
task is woken to do it: a program that waits elsewhere is served all the same, one that receives in
a loop never pays for a switch of tasks.

All engines in one loop share what happens there: while it looks out for one of them, none of the
others may have anything to do.
"""

from collections.abc import Generator
from contextlib import contextmanager, suppress
from typing import Final, Protocol

import trio

from pytofu.engine.busy_polling import BusyPolling

_BUSY_TURNS: Final = 16
"""Turns of a loop that never sleeps after which a reactor without a leader gets one anyway."""


class Turning(Protocol):
    """A group, as far as turns go."""

    def work(self) -> None:
        """Do what its channels have to do."""
        ...

    def take_lead(self) -> None:
        """Wake its own task, to lead."""
        ...


class EndOfTurn(trio.abc.Instrument):
    """One a Trio run with engines: see `end_of_turn`."""

    def __init__(self) -> None:
        self.with_work: dict[Turning, None] = {}
        """Groups that have something to do, in the order of coming."""
        self.number: int = 0
        """Turns so far."""
        self.leaderless: set[Turning] = set()
        """Groups that nobody leads."""
        self.polling: BusyPolling = BusyPolling()
        self.engines: int = 0
        self._token = trio.lowlevel.current_trio_token()
        self._busy_turns = 0

    def before_io_wait(self, timeout: float) -> None:
        """Trio calls this outside of all tasks; what raises here would not be called again."""
        self.number += 1
        if self.with_work:
            for group in self.take_work():
                group.work()
        elif not self.leaderless:
            if timeout > 0:
                self.polling.before_sleep(timeout)
            return
        sleeping = timeout > 0
        if self.leaderless and self._must_lead(sleeping):
            for group in tuple(self.leaderless):
                group.take_lead()
        # Trio has already decided how long to sleep, or found that all tasks are blocked.
        if self.with_work or (sleeping and trio.lowlevel.current_statistics().tasks_runnable):
            self._token.run_sync_soon(_nothing, idempotent=True)
        elif sleeping:
            self.polling.before_sleep(timeout)

    def take_work(self) -> list[Turning]:
        """The groups that have something to do, which from now on is the caller's."""
        groups = list(self.with_work)
        self.with_work.clear()
        return groups

    def _must_lead(self, sleeping: bool) -> bool:
        # A timeout of 0 says that tasks are ready to run, or that Trio looks whether all are
        # blocked (wait_all_tasks_blocked, a clock that jumps): the latter is a kind of sleep.
        if sleeping or not trio.lowlevel.current_statistics().tasks_runnable:
            self._busy_turns = 0
            return True
        self._busy_turns += 1
        if self._busy_turns < _BUSY_TURNS:
            return False
        self._busy_turns = 0
        return True


_of_this_run: Final = trio.lowlevel.RunVar[EndOfTurn | None]("pytofu: end of turn", None)


@contextmanager
def end_of_turn() -> Generator[EndOfTurn]:
    """That of the running loop, for an engine as long as it lives."""
    turn = _of_this_run.get()
    if turn is None:
        turn = EndOfTurn()
        _of_this_run.set(turn)
    turn.engines += 1
    trio.lowlevel.add_instrument(turn)  # again: one that raised is removed by Trio
    try:
        yield turn
    finally:
        turn.engines -= 1
        if not turn.engines:
            _of_this_run.set(None)
            with suppress(KeyError):  # as above
                trio.lowlevel.remove_instrument(turn)


def _nothing() -> None:
    """Only to wake the loop."""
