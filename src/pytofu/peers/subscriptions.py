"""Subscriptions: the side that hears what is published."""

from collections import deque
from collections.abc import Callable
from typing import Final, Self

import trio

from pytofu.peers.arguments import count
from pytofu.peers.assembly import Assembly, Budget
from pytofu.peers.ctrl_c import protected
from pytofu.peers.errors import NotSent, RemoteError, Unanswered, error_of
from pytofu.peers.flow import ReceiveWindow, frame_cost
from pytofu.peers.incoming import Incoming
from pytofu.peers.outlet import Outlet
from pytofu.peers.wire import (
    CREDIT,
    ITEM,
    MISSED,
    PART,
    SUBSCRIBE,
    TOPIC,
    Headers,
    encoded,
    read_count,
    user_headers,
)
from pytofu.public.checkpoints import light_checkpoints
from pytofu.values.header import OpCode
from pytofu.values.message import Message

DEFAULT_WINDOW: Final = 32 * 1024
"""Bytes of messages that may be on their way to a subscriber, or wait for it here."""


class Subscription:
    """Iterates over what is published: `async for message in messages`.

    At most `window` bytes are under way or wait here, so what a slow subscriber gets is never
    older than these and the publisher's queue. Each `Incoming` has its `topic`, and in `missed`
    how many the publisher has dropped in front of it. With `lasting`, the end of a link is not its
    end: it waits to be begun on another one.
    """

    def __init__(self, pattern: str, window: int, *, lasting: bool = False) -> None:
        self.interruptions: int = 0
        """How many times a connection has ended: what was published then is not counted."""
        self.ident: int = 0
        self.leave: Callable[[], None] = lambda: None
        """Tells the publisher of the link that it is on, if any, that it is over."""
        self._pattern = pattern
        count("a subscription's window", window)
        self._size = window
        self._lasting = lasting
        self._outlet: Outlet | None = None
        self._window = ReceiveWindow(window)
        self._assembly = Assembly(Budget())
        self._first: Headers = {}  # of an item that comes in parts
        self._items: deque[tuple[Incoming, int, ReceiveWindow]] = deque()
        self._held_back = 0  # of this window: the cost of parts that came while messages waited
        self._readers = trio.lowlevel.ParkingLot()
        self._confirmed = trio.Event()
        self._next_checkpoint = light_checkpoints()
        self._error: Exception | None = None

    def __aiter__(self) -> Self:
        return self

    @protected
    async def __anext__(self) -> Incoming:
        """The next message.

        Raises `RemoteError` if the publisher has ended it or its block was left, and `Unanswered`
        if the connection went. A point of cancellation, and a schedule point when it waits and at
        least once in 64 messages; cancelling loses none.
        """
        if self._items or self._error is not None:
            await self._next_checkpoint()()
        while not self._items:
            if self._error is not None:
                raise self._error
            await self._readers.park()
        incoming, cost, window = self._items.popleft()
        self._consumed(cost, window)
        if not self._items:
            held_back, self._held_back = self._held_back, 0
            self._consumed(held_back, self._window)
        return incoming

    # ------------------------------------------------------------------ for the link

    async def wait_confirmed(self) -> None:
        """Wait until the publisher has taken it, or said no, or the link has gone."""
        await self._confirmed.wait()
        if self._error is not None:
            raise self._error

    def begin(self, outlet: Outlet, ident: int, budget: Budget) -> None:
        """Ask for it on a link, without waiting. Raises as `Outlet.post`."""
        if self._outlet is not None:  # of a link that is leaving, and has not ended yet
            self._stop()
            self.interruptions += 1
        self.ident = ident
        self._window = ReceiveWindow(self._size)
        self._held_back = 0
        self._assembly = Assembly(budget)
        lines = encoded((SUBSCRIBE, self._pattern), (CREDIT, str(self._size)))
        outlet.post(OpCode.REQUEST, ident, lines)
        self._outlet = outlet

    def arrived(self, message: Message, headers: Headers) -> None:
        """Take a frame: the confirmation, a message or a part of one, or the end."""
        if not message.has_more():
            error = error_of(headers, message.payload)
            # Of one that leaves it is as if it had left: there may be another.
            self.fail(error or RemoteError("UNAVAILABLE", "the publisher has ended it"))
            return
        self._confirmed.set()
        if TOPIC in headers:
            self._first = headers
        elif not self._first:
            return
        cost = frame_cost(message.header)
        if not self._window.arrived(cost):
            self.end(RemoteError("RESOURCE_EXHAUSTED", "more was sent than there was credit for"))
            return
        body = self._assembly.add(message.payload, last=headers.get(ITEM) != PART)
        if body is not None:
            cost += self._held_back
            self._held_back = 0
            first, self._first = self._first, {}
            missed = read_count(first.get(MISSED)) or 0
            incoming = Incoming(body, user_headers(first), missed=missed)
            incoming.topic = first[TOPIC]
            self._items.append((incoming, cost, self._window))
            self._readers.unpark()
        elif self._assembly.too_long:
            self.end(RemoteError("RESOURCE_EXHAUSTED", "a message is too long"))
        elif self._items:  # a reader that is slow is not to have any number of long messages
            self._held_back += cost
        else:
            self._consumed(cost, self._window)  # bounded by the longest body instead

    def _consumed(self, cost: int, window: ReceiveWindow) -> None:
        grant = window.consumed(cost)
        # Credit of a link that has gone is of no use on the next.
        if grant and self._outlet is not None and window is self._window:
            self._outlet.tell(OpCode.SIGNAL, self.ident, encoded((CREDIT, str(grant))))

    def fail(self, error: Exception) -> None:
        """The link has gone, or did not take the request."""
        began = self._outlet is not None  # and has not been told already that it is over there
        self._stop()
        if self._lasting and isinstance(error, NotSent | Unanswered):
            self.interruptions += began
        else:
            self.end(error)

    def left(self) -> None:
        """Its block was left."""
        self.leave()
        self.end(RemoteError("CANCELLED", "the subscription's block was left"))

    def _stop(self) -> None:
        """Nothing more comes on this link: what has come of an item is of no use."""
        self._assembly.drop()
        self._first = {}
        self._outlet = None

    def end(self, error: Exception) -> None:
        """Nothing more will come; the first reason stays."""
        if self._error is None:
            self._error = error
        self._outlet = None
        self._assembly.drop()
        self._confirmed.set()
        self._readers.unpark_all()
