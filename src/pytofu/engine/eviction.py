"""Which channels are closed when all of them together take too much memory.

Only what a peer alone can cause counts here: messages that it has begun and does not finish, and
messages that it does not take. Who has done so longest, or most, goes first: a peer that behaves
has neither for more than a moment.
"""

import heapq
from collections.abc import Collection
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
            left = self._end_unfinished(alive, _MOST_AT_ONCE)
            left = self._end_unread(alive, left)
            self._unfinished = not left
        return self._unfinished

    def _end_unfinished(self, alive: list[IoChannel], most: int) -> int:
        excess = self._budget.excess
        if excess:
            begun = [channel for channel in alive if channel.conversation.reader.kept]
            for channel in heapq.nsmallest(most, begun, _frame_began):
                if excess <= 0:
                    break
                excess -= channel.conversation.reader.kept
                channel.end(Cause.TOO_MUCH_UNFINISHED)
                most -= 1
        return most

    def _end_unread(self, alive: list[IoChannel], most: int) -> int:
        excess = self._queues.excess
        if excess:
            for channel in heapq.nlargest(most, alive, _queued):
                if excess <= 0 or not channel.queued:
                    break
                excess -= channel.queued
                channel.end(Cause.TOO_MUCH_QUEUED)
                most -= 1
        return most


def _frame_began(channel: IoChannel) -> float:
    return channel.conversation.frame_began


def _queued(channel: IoChannel) -> int:
    return channel.queued
