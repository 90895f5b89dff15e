"""A group's clock: whose time is up, without a task or a timer for each channel.

A channel derives its deadline from what has happened; here stands only when to ask for it. An
entry may be too early, never too late: when it comes up the channel is asked, and if its deadline
has moved on meanwhile, so does the entry. What sleeps until `earliest` is the group's task. It is
told of an earlier moment, never of a later one: to tell Trio each time costs more than to wake
once for nothing.
"""

import heapq
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import count
from typing import Final

from pytofu.engine.passes import Pass


class Timed(ABC):
    """What has a deadline."""

    __slots__ = ("alarm",)

    def __init__(self) -> None:
        self.alarm: float = math.inf
        """When it will be asked; infinity if it will not."""

    @abstractmethod
    def deadline(self) -> float:
        """When its time is up, as things stand; infinity if never."""

    @abstractmethod
    def time_passed(self, now: float) -> None:
        """Its time may be up."""

    @abstractmethod
    def on_defect(self) -> None:
        """Something has raised what is being handled: only this one is to suffer."""


_SPARE: Final = 1
"""Entries without meaning beyond which they are removed though their time has not come."""


class Deadlines:
    """The entries of a group, the earliest first."""

    __slots__ = ("_entries", "_expected", "_on_earlier", "_order")

    def __init__(self, on_earlier: Callable[[], None]) -> None:
        self._entries: list[tuple[float, int, Timed]] = []
        self._expected = 0  # how many will be asked
        self._order = count()  # so that entries of the same moment need not be compared
        self._on_earlier = on_earlier

    @property
    def earliest(self) -> float:
        """When somebody has to be asked; infinity if nobody has."""
        entries = self._entries
        while entries and not _counts(entries[0]):
            heapq.heappop(entries)
        return entries[0][0] if entries else math.inf

    def expect(self, timed: Timed) -> None:
        """Something has happened that may have changed its deadline."""
        deadline = timed.deadline()
        if deadline < timed.alarm:
            if timed.alarm == math.inf:
                self._expected += 1
            timed.alarm = deadline
            if len(self._entries) > 2 * self._expected + _SPARE:
                # One of each: more count if its deadline has gone, and come back as it was.
                newest = {entry[2]: entry for entry in self._entries if _counts(entry)}
                self._entries = list(newest.values())
                heapq.heapify(self._entries)
            heapq.heappush(self._entries, (deadline, next(self._order), timed))
            if self._entries[0][2] is timed:
                self._on_earlier()
        elif deadline == math.inf != timed.alarm:
            self.withdraw(timed)

    def withdraw(self, timed: Timed) -> None:
        """Do not ask it: it has no deadline any more."""
        if timed.alarm != math.inf:
            timed.alarm = math.inf
            self._expected -= 1

    def strike(self, now: float) -> None:
        """Ask those whose time may be up, as many as one pass has time for."""
        this = Pass()
        while self.earliest <= now:
            _, _, timed = heapq.heappop(self._entries)
            timed.alarm = math.inf
            self._expected -= 1
            try:
                timed.time_passed(now)
            except Exception:
                timed.on_defect()
            self.expect(timed)
            if this.is_over:
                break


def _counts(entry: tuple[float, int, Timed]) -> bool:
    """Whether it has neither been withdrawn nor replaced by an earlier one."""
    return entry[2].alarm == entry[0]
