"""What a peer sends that belongs to no call: bounded, and held back by credit of its own."""

from collections import deque
from collections.abc import Callable
from typing import Self

import trio

from pytofu.peers.ctrl_c import protected
from pytofu.peers.flow import MAX_OVERDRAFT, WINDOW, ReceiveWindow
from pytofu.peers.incoming import Incoming
from pytofu.public.checkpoints import light_checkpoints


class Inbox:
    """Iterates over `Incoming`s until the peer has gone: `async for message in peer.messages`.

    A peer that knows of credit waits when nobody takes what it sends. Of what any other sends
    the oldest is dropped then, and the next one says how many were `missed`.
    """

    def __init__(self, grant: Callable[[int], None]) -> None:
        self._grant = grant
        self._window = ReceiveWindow()
        self._items: deque[tuple[Incoming, int, bool]] = deque()
        self._held = 0
        self._missed = 0
        self._closed = False
        self._readers = trio.lowlevel.ParkingLot()
        self._next_checkpoint = light_checkpoints()

    def add(self, incoming: Incoming, cost: int, *, credited: bool) -> None:
        """Take one more; `credited` if the sender has spent credit for it."""
        if credited:
            self._window.arrived(cost)
        self._items.append((incoming, cost, credited))
        self._held += cost
        while self._held > WINDOW + MAX_OVERDRAFT:
            _, oldest, spent = self._items.popleft()
            self._missed += 1
            self._done_with(oldest, spent)
        self._readers.unpark()

    def _done_with(self, cost: int, credited: bool) -> None:
        self._held -= cost
        grant = self._window.consumed(cost) if credited else 0
        if grant and not self._closed:
            self._grant(grant)

    def close(self) -> None:
        """Nothing more will come."""
        self._closed = True
        self._readers.unpark_all()

    def __aiter__(self) -> Self:
        return self

    @protected
    async def __anext__(self) -> Incoming:
        """The next message; the iteration ends when the peer has gone. Cancelling loses none.

        A point of cancellation, and a schedule point when it waits and at least once in 64.
        """
        if self._items or self._closed:
            await self._next_checkpoint()()
        while not self._items:
            if self._closed:
                raise StopAsyncIteration
            await self._readers.park()
        incoming, cost, credited = self._items.popleft()
        self._done_with(cost, credited)
        incoming.missed, self._missed = self._missed, 0
        return incoming
