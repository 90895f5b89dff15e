"""An IO channel's senders, who wait while too much is queued, and have their turns in order."""

import trio

from pytofu.engine.context import GroupContext
from pytofu.engine.opening import OpeningChannel
from pytofu.links.base import Link
from pytofu.protocol.conversation import Conversation
from pytofu.values.address import Address


class SendingChannel(OpeningChannel):
    """Says when `send` may post."""

    __slots__ = ("_finished", "_high_water", "_senders")

    def __init__(
        self,
        group: GroupContext,
        conversation: Conversation,
        address: Address | None,
        link: Link | None,
    ) -> None:
        super().__init__(group, conversation, address, link)
        self._high_water = group.options.high_water
        self._senders: trio.lowlevel.ParkingLot | None = None  # where `send` waits, if any does
        self._finished = False  # whether the channel has ended, and been reported

    @property
    def is_full(self) -> bool:
        """Whether so much is queued that senders wait."""
        return self.conversation.writer.held > self._high_water

    @property
    def must_wait(self) -> bool:
        """Whether a sender has to wait: the channel is full, or others wait already."""
        return self.conversation.writer.held > self._high_water or self._senders is not None

    async def wait_for_turn(self) -> None:
        """Wait until the channel is not full, in the order of coming. Cancelling changes nothing.

        Whoever has waited calls `let_next_send` when he has posted.
        """
        while not self._finished:
            if self._senders is None:
                self._senders = trio.lowlevel.ParkingLot()
            try:
                await self._senders.park()
            finally:
                if not self._senders:
                    self._senders = None
            if not self.is_full:
                return

    def let_next_send(self) -> None:
        """Wake the sender that has waited longest, if there is room for what it sends."""
        if self._senders is not None and not self.is_full:
            self._senders.unpark()
