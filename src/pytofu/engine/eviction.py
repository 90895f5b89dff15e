"""Which channels are closed when all of them together take too much memory.

Only what a peer alone can cause counts here: messages that it has begun and does not finish, and
messages that it does not take. Who has done so longest, or most, goes first: a peer that behaves
has neither for more than a moment.
"""

import heapq
from collections.abc import Callable, Collection
from typing import Final

from pytofu.engine.accounts import Budget
from pytofu.engine.context import Channel
from pytofu.engine.io_channel import IoChannel
from pytofu.engine.queues import SendQueues
from pytofu.engine.turns import EndOfTurn
from pytofu.protocol.ending import Cause

_MOST_AT_ONCE: Final = 64
"""Channels closed in a turn of the loop."""


class Eviction:
    """One an engine."""

    def __init__(self, budget: Budget, queues: SendQueues, turn: EndOfTurn) -> None:
        self._budget = budget
        self._queues = queues
        self._turn = turn
        self._looked_in = -1  # this turn
        self._unfinished = False

    def make_room(self, channels: Collection[Channel]) -> bool:
        """Close as many channels as it takes to be within the limits that are exceeded.

        Whether more have to go than may in one turn: until they have, nothing is to be read.
        """
        if self._looked_in != self._turn.number:
            self._looked_in = self._turn.number
            alive = [
                channel
                for channel in channels
                if isinstance(channel, IoChannel) and channel.conversation.ending is None
            ]
            most = _MOST_AT_ONCE
            if excess := self._budget.excess:
                begun = [channel for channel in alive if channel.conversation.reader.kept]
                oldest = heapq.nsmallest(most, begun, _frame_began)
                most -= _end(oldest, _kept, excess, Cause.TOO_MUCH_UNFINISHED)
            if excess := self._queues.excess:
                queued = [channel for channel in alive if channel.queued]
                largest = heapq.nlargest(most, queued, _queued)
                most -= _end(largest, _queued, excess, Cause.TOO_MUCH_QUEUED)
            self._unfinished = not most
        return self._unfinished


def _end(
    channels: list[IoChannel], size: Callable[[IoChannel], int], excess: int, cause: Cause
) -> int:
    """End them one after the other until they have been too large by so much; how many were."""
    ended = 0
    for channel in channels:
        if excess <= 0:
            break
        excess -= size(channel)
        channel.end(cause)
        ended += 1
    return ended


def _frame_began(channel: IoChannel) -> float:
    return channel.conversation.frame_began


def _kept(channel: IoChannel) -> int:
    return channel.conversation.reader.kept


def _queued(channel: IoChannel) -> int:
    return channel.queued
