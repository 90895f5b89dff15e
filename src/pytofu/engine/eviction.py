"""Which channels are closed when all of them together take too much memory.

Only what a peer alone can cause counts here: messages that it has begun and does not finish, and
messages that it does not take. Who has done so longest, or most, goes first: a peer that behaves
has neither for more than a moment.
"""

from collections.abc import Iterable

from pytofu.engine.accounts import Budget
from pytofu.engine.context import Channel
from pytofu.engine.io_channel import IoChannel
from pytofu.engine.queues import SendQueues
from pytofu.protocol.ending import Cause


def evict(channels: Iterable[Channel], budget: Budget, queues: SendQueues) -> None:
    """Close as many channels as it takes to be within the limits that are exceeded."""
    alive = [c for c in channels if isinstance(c, IoChannel) and c.conversation.ending is None]
    excess = budget.excess
    if excess:
        alive.sort(key=lambda channel: channel.conversation.frame_began)
        for channel in alive:
            kept = channel.conversation.reader.kept
            if excess > 0 and kept:
                excess -= kept
                channel.end(Cause.TOO_MUCH_UNFINISHED)
    excess = queues.excess
    if excess:
        alive.sort(key=lambda channel: channel.queued, reverse=True)
        for channel in alive:
            if excess > 0:
                excess -= channel.queued
                channel.end(Cause.TOO_MUCH_QUEUED)
