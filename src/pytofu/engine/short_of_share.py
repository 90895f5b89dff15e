"""The channels of a group that have used up their share of the budget.

Whoever waits to receive may wait in vain for them: what he holds himself may be all that a channel
may have. So they are asked before he does, but only when one of them can have got room.
"""

from typing import Protocol

from pytofu.engine.accounts import Budget


class Asked(Protocol):
    """A channel, as far as this goes."""

    def receiver_waits(self) -> None:
        """Whoever receives finds nothing: is there room?"""
        ...


class ShortOfShare[C: Asked](set[C]):
    """A set: to ask whether it is empty, for each message, must cost nothing."""

    __slots__ = ("_budget", "_eased")

    def __init__(self, budget: Budget) -> None:
        super().__init__()
        self._budget = budget
        self._eased = -1  # the budget's, when none had room; -1: one may have

    def ran_short(self, channel: C) -> None:
        """Add a channel."""
        self.add(channel)
        self._eased = -1

    def receiver_waits(self) -> None:
        """Tell all of them.

        Who had no share left has none until something of his is given back. Who had, and found the
        budget used up, may have room whenever anybody gives something back.
        """
        budget = self._budget
        if budget.eased != self._eased or budget.used_up:
            self._eased = -1 if budget.used_up else budget.eased
            for channel in list(self):
                channel.receiver_waits()
