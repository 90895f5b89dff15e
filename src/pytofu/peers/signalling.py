"""Plain Signals to the peer: one after the other, as far as its credit goes."""

from collections.abc import Mapping

import trio

from pytofu.peers.arguments import payload
from pytofu.peers.asking import Asking
from pytofu.peers.flow import WINDOW, frame_cost
from pytofu.peers.outlet import Outlet
from pytofu.peers.wire import PART_LEN, checked, encoded
from pytofu.values.header import OpCode


class Signalling:
    """What one link sends of them, all with the message_id `ident`.

    A peer that knows no credit gets as many as there are.
    """

    __slots__ = ("_asking", "_outlet", "_turn", "_without_credit", "credit", "ident")

    def __init__(self, asking: Asking, outlet: Outlet, ident: int) -> None:
        self.ident: int = ident
        self.credit: int = WINDOW
        """Bytes that the peer takes; below 0 by one Signal at the most."""
        self._asking = asking  # which knows whether the link is open, and what the peer knows
        self._outlet = outlet
        self._turn = trio.Lock()
        self._without_credit = trio.lowlevel.ParkingLot()  # for the one whose turn it is

    async def send(self, headers: Mapping[str, str], body: bytes) -> None:
        """Send one, waiting while the peer is behind with those it has."""
        body = payload("body", body)
        if len(body) > PART_LEN:
            raise ValueError(f"a signal has at most {PART_LEN} bytes")
        lines = encoded(*checked("headers", headers).items())
        asking = self._asking
        asking.check_open()
        # One at a time. Credit that comes is for one that waits, not for all to look at; and who
        # has found some spends it before the next looks, though it had to wait to send.
        try:  # `acquire` is a schedule point; what follows is enough of one
            self._turn.acquire_nowait()
        except trio.WouldBlock:
            await self._turn.acquire()
        try:
            asking.check_open()
            while asking.features is not None and self.credit <= 0:
                await self._without_credit.park()
                asking.check_open()
            header = await self._outlet.send(OpCode.SIGNAL, self.ident, lines, body)
            self.credit -= frame_cost(header)  # only now: credit may have come meanwhile
        finally:
            self._turn.release()

    def granted(self, credit: int) -> None:
        """The peer has room again."""
        self.credit += credit
        self._without_credit.unpark_all()

    def close(self) -> None:
        """The link has ended: whoever waits is told."""
        self._without_credit.unpark_all()
