"""Streams: items both ways under one message_id, each direction held back by its own credit."""

from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

import trio

from pytofu.peers.arguments import payload
from pytofu.peers.assembly import Assembly, Budget
from pytofu.peers.ctrl_c import protected
from pytofu.peers.errors import NotSent, RemoteError, error_of
from pytofu.peers.flow import WINDOW, ReceiveWindow, frame_cost
from pytofu.peers.outlet import Outlet
from pytofu.peers.wire import CREDIT, END, ITEM, PART, PART_LEN, WHOLE, Headers, encoded
from pytofu.public.checkpoints import light_checkpoints
from pytofu.values.errors import AmpeException
from pytofu.values.header import OpCode
from pytofu.values.message import Message

_WHOLE: Final = encoded((ITEM, WHOLE))
_PART: Final = encoded((ITEM, PART))
_END: Final = encoded((ITEM, END))


class Stream:
    """One side of a stream: `async for` takes what the peer sends, `send` sends.

    Each item is `bytes`, of any length. A reader that is slow holds up its own stream only: the
    peer's `send` waits for it. One task at a time should read; any number may send.
    """

    def __init__(self, outlet: Outlet, ident: int, opcode: OpCode, budget: Budget) -> None:
        self._outlet = outlet
        self._ident = ident
        self._opcode = opcode
        self._longest = budget.longest
        self._assembly = Assembly(budget)
        self._window = ReceiveWindow()
        self._credit = WINDOW
        self._items: deque[tuple[bytes, int]] = deque()
        self._held_back = 0  # the cost of parts that came while whole items waited
        self._readers = trio.lowlevel.ParkingLot()
        self._senders = trio.lowlevel.ParkingLot()
        self._turn = trio.Lock()  # the parts of an item stay together
        self._next_checkpoint = light_checkpoints()
        self._received_all = False
        self._over = False  # nothing at all will come of the peer
        self._sent_all = False
        self._error: Exception | None = None
        self._is_in_item = False  # whether the peer has a part of one, and not the rest

    # ------------------------------------------------------------------ for programs

    @protected
    async def send(self, item: bytes) -> None:
        """Send an item, waiting while the peer is behind with this stream.

        Raises `trio.ClosedResourceError` after `send_eof`, `trio.BrokenResourceError` when the
        peer has ended the stream, `RemoteError` or `Unanswered` when it failed, and ValueError
        for an item that is too long. A point of cancellation, and a schedule point when it waits
        and at least once in 64 items; cancelled, the item was not sent, or, if it is longer than
        65,535 bytes and part of it had left, the stream has failed, for the peer too.
        """
        item = payload("item", item)
        if len(item) > self._longest:
            raise ValueError(f"an item of {len(item)} bytes: {self._longest} are the most")
        await self._take_turn()
        try:
            self._check_sending()
            start = 0
            try:
                while len(item) - start > PART_LEN:
                    part = item[start : start + PART_LEN]
                    await self._send_frame(part, _PART)
                    self._is_in_item = True
                    start += PART_LEN
                await self._send_frame(item[start:], _WHOLE)
                self._is_in_item = False
            except NotSent:
                self._check_sending()  # says why, if that is known already
                raise
            except (trio.Cancelled, KeyboardInterrupt, AmpeException) as error:
                if self._is_in_item:  # the peer would take what follows for the rest of it
                    how = "failed" if isinstance(error, AmpeException) else "cancelled"
                    self.fail(RemoteError("CANCELLED", f"{how} in the middle of an item"))
                raise
        finally:
            self._turn.release()

    async def _take_turn(self) -> None:
        try:  # `acquire` is a schedule point; what follows is enough of one
            self._turn.acquire_nowait()
        except trio.WouldBlock:
            await self._turn.acquire()

    async def _send_frame(self, body: bytes, lines: bytes) -> None:
        while self._credit <= 0:
            await self._senders.park()
            self._check_sending()
        header = await self._outlet.send(self._opcode, self._ident, lines, body, more=True)
        self._credit -= frame_cost(header)  # only now: credit may have come meanwhile

    def _check_sending(self) -> None:
        if self._sent_all:
            raise trio.ClosedResourceError("this side of the stream has ended")
        if self._error is not None:
            raise self._error

    @protected
    async def send_eof(self) -> None:
        """Say that no more items follow; the other direction goes on. Twice is as once.

        A checkpoint. Raises as `send`.
        """
        if self._sent_all:
            await trio.lowlevel.checkpoint()
            return
        async with self._turn:
            self._check_sending()
            await self._say_eof()
            self._sent_all = True

    async def _say_eof(self) -> None:
        await self._outlet.send(self._opcode, self._ident, _END, more=True)

    def __aiter__(self) -> Self:
        return self

    @protected
    async def __anext__(self) -> bytes:
        """The next item; the iteration ends when the peer has sent its last.

        Raises `RemoteError` if the peer ended the stream with an error, or this side did,
        `Unanswered` if the connection went. A point of cancellation, and a schedule point when it
        waits and at least once in 64 items; cancelling loses no item.
        """
        if self._items or self._received_all or self._error is not None:
            await self._next_checkpoint()()
        while not self._items:
            if self._error is not None:
                raise self._error
            if self._received_all:
                raise StopAsyncIteration
            await self._readers.park()
        item, cost = self._items.popleft()
        if not self._items:
            cost += self._held_back
            self._held_back = 0
        self._consumed(cost)
        return item

    # ------------------------------------------------------------------ for the link

    def arrived(self, message: Message, headers: Headers) -> None:
        """Take a frame from the peer."""
        if self._error is not None:
            return
        kind = headers.get(ITEM)
        if kind == END or not message.has_more():
            self._over = self._over or not message.has_more()
            self._received_all = True
            self._readers.unpark_all()
            return
        if self._received_all and kind != PART:  # of a result it may be
            return
        cost = frame_cost(message.header)
        if not self._window.arrived(cost):
            self.fail(RemoteError("RESOURCE_EXHAUSTED", "more was sent than there was credit for"))
            return
        item = self._assembly.add(message.payload, last=kind != PART)
        if item is not None:
            self._items.append((item, cost + self._held_back))
            self._held_back = 0
            self._readers.unpark()
        elif self._assembly.too_long:
            self.fail(RemoteError("RESOURCE_EXHAUSTED", "an item is too long"))
        elif self._items:  # a reader that is slow is not to have any number of long items
            self._held_back += cost
        else:
            self._consumed(cost)  # bounded by the longest item instead

    def _consumed(self, cost: int) -> None:
        grant = self._window.consumed(cost)
        if grant and not self._over and self._error is None:
            self._outlet.tell(OpCode.SIGNAL, self._ident, encoded((CREDIT, str(grant))))

    def granted(self, credit: int) -> None:
        """The peer has room again."""
        self._credit += credit
        self._senders.unpark_all()

    def fail(self, error: Exception) -> None:
        """End it both ways, with this error for whoever reads or sends; the first one stays."""
        if self._error is None:
            self._error = error
        self._assembly.drop()
        self._readers.unpark_all()
        self._senders.unpark_all()


class AcceptedStream(Stream):
    """The side of the handler: `request.stream`.

    What the handler returns, or raises, ends it.
    """

    def __init__(self, outlet: Outlet, ident: int, budget: Budget) -> None:
        super().__init__(outlet, ident, OpCode.RESPONSE, budget)

    def check_whole(self) -> None:
        """Raise `RemoteError` if an item is sent in part: a result would be taken for its rest."""
        if self._is_in_item:
            raise RemoteError("CANCELLED", "the handler has ended in the middle of an item")

    async def send_result(self, lines: bytes, body: bytes) -> None:
        """End both directions with the handler's result. The last frame needs no credit."""
        start = 0
        while len(body) - start > PART_LEN:
            self._sent_all = False  # which is about items
            self._check_sending()
            await self._send_frame(body[start : start + PART_LEN], _PART)
            start += PART_LEN
        await self._outlet.send(self._opcode, self._ident, lines, body[start:])


class OpenedStream(Stream):
    """The side that opened it: `async with peer.stream(...) as stream`."""

    def __init__(
        self, outlet: Outlet, ident: int, budget: Budget, on_over: Callable[[], None]
    ) -> None:
        super().__init__(outlet, ident, OpCode.REQUEST, budget)
        self._result = b""
        self._on_over = on_over

    @property
    def over(self) -> bool:
        """Whether nothing is left to be cancelled at the peer."""
        return self._over

    @protected
    async def finish(self) -> bytes:
        """Say that no more items follow, and wait for the peer's result.

        Items that nobody has taken are dropped, and so are the headers of a `Reply`.
        Raises as `__anext__`. A checkpoint.
        """
        with suppress(trio.BrokenResourceError):  # the peer was quicker
            await self.send_eof()
        async for _ in self:
            pass
        while not self._over:  # it may have ended its items before
            if self._error is not None:
                raise self._error
            await self._readers.park()
        return self._result

    async def _say_eof(self) -> None:
        await self._outlet.send(self._opcode, self._ident, _END)

    def _check_sending(self) -> None:
        super()._check_sending()
        if self._over:
            raise trio.BrokenResourceError("the peer has ended the stream")

    def arrived(self, message: Message, headers: Headers) -> None:
        """Take a frame from the peer; one without `more` ends the stream, and is the last."""
        if self._over:
            return
        if message.has_more():
            super().arrived(message, headers)
            return
        self._over = True
        self._on_over()
        error = error_of(headers, message.payload)
        if error is not None:
            self.fail(error)
            return
        result = self._assembly.add(message.payload, last=True)
        if result is None:
            self.fail(RemoteError("RESOURCE_EXHAUSTED", "the result is too long"))
            return
        self._result = result
        super().arrived(message, headers)
        self._readers.unpark_all()
        self._senders.unpark_all()
