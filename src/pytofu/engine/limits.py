"""What is said when a limit is reached: a counter, and a warning in the log once a spell."""

import logging
from typing import Final

import trio

log: Final = logging.getLogger("pytofu")

_SPELL: Final = 10.0
"""Seconds within which the same limit is not spoken of again."""


class Limits:
    """The limits of an engine that have been reached, each under the name of its option."""

    __slots__ = ("_quiet_until", "_unsaid", "counts")

    def __init__(self) -> None:
        self.counts: dict[str, int] = {}
        """How often each was reached."""
        self._quiet_until: dict[str, float] = {}
        self._unsaid: dict[str, int] = {}

    def reached(self, option: str) -> bool:
        """Count it; whether a spell begins with it, so that the application should be told.

        The log says how often it was reached since it last spoke of it, and nothing that a peer
        has made.
        """
        self.counts[option] = self.counts.get(option, 0) + 1
        unsaid = self._unsaid.get(option, 0) + 1
        now = trio.current_time()
        if now < self._quiet_until.get(option, now):
            self._unsaid[option] = unsaid
            return False
        self._unsaid[option] = 0
        self._quiet_until[option] = now + _SPELL
        log.warning("limit %s reached (%d times since this was last said)", option, unsaid)
        return True
