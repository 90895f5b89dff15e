"""What this side asks of the peer: its calls and streams that are open on one link."""

from collections.abc import AsyncGenerator, Callable, Mapping
from functools import partial
from math import inf
from typing import TYPE_CHECKING, Final, Protocol

import trio

from pytofu._choice import compiled, twin
from pytofu.peers.arguments import payload
from pytofu.peers.assembly import Budget
from pytofu.peers.calls import Call, request_lines, timeout_line
from pytofu.peers.errors import NotSent, RemoteError, Unanswered, to_error
from pytofu.peers.incoming import Incoming
from pytofu.peers.outlet import Outlet
from pytofu.peers.streams import OpenedStream
from pytofu.peers.subscriptions import Subscription
from pytofu.peers.wire import (
    CANCEL,
    MAX_BODY,
    PART_LEN,
    REFUSED,
    STREAM,
    SUBSCRIBE,
    Features,
    Headers,
    encoded,
)
from pytofu.public.managers import block
from pytofu.values.errors import AmpeException
from pytofu.values.header import OpCode
from pytofu.values.message import Message
from pytofu.values.status import AmpeError
from pytofu.values.text_headers import DETAIL

_SKEW: Final = 0.1
"""Seconds by which the peer's clock may run out before ours."""

_CANCELLED: Final = -inf
"""What Trio says is the deadline of who is cancelled already: nothing of his is to leave."""
_UNLIMITED: Final = 1 << 62
_CANCEL: Final = encoded((CANCEL, "1"))
_STREAM: Final = encoded((STREAM, "1"))

_OPENERS: Final = frozenset({STREAM, SUBSCRIBE})


class Asked(Protocol):
    """Something that was asked: takes what comes in answer."""

    def arrived(self, message: Message, headers: Headers) -> None:
        """Take a frame of the answer."""
        ...

    def fail(self, error: Exception) -> None:
        """Nothing more will come."""
        ...


def _is_late(error: Exception) -> bool:
    return isinstance(error, RemoteError) and error.code == "DEADLINE_EXCEEDED"


class Asking:
    """Open calls and streams by message_id; ids are odd on the connecting side, else even."""

    __slots__ = (
        "_budget",
        "_error",
        "_first_id",
        "_in_line",
        "_leaving",
        "_next_id",
        "_on_idle",
        "_open",
        "_outlet",
        "_slots",
        "_waiting",
        "busy",
        "features",
        "left",
    )

    def __init__(
        self, outlet: Outlet, budget: Budget, first_id: int, on_idle: Callable[[], None]
    ) -> None:
        self.left: trio.Event = trio.Event()
        """Set when the link has ended or is about to: nothing new is asked."""
        self.features: Features | None = None
        self._outlet = outlet
        self._budget = budget
        self._first_id = first_id
        self._next_id = first_id
        self._open: dict[int, Asked] = {}
        self._slots = _UNLIMITED  # how many more calls the peer carries out now
        self._waiting = trio.lowlevel.ParkingLot()
        self._in_line = 0  # those who are there, or have just been woken
        self.busy: int = 0
        """Calls and streams under way."""
        self._on_idle = on_idle
        self._error: Unanswered | None = None
        self._leaving = False

    def begin(self, features: Features | None) -> None:
        """The Hello was answered: what the peer knows is known."""
        self.features = features
        if features is not None and features.calls:
            self._slots = features.calls

    # ------------------------------------------------------------------ calls

    async def call(self, method: str, headers: Mapping[str, str], body: bytes) -> Incoming:
        """Send a request and wait for its answer; see `Peer.call`."""
        call = self._ask_at_once(method, headers, body)
        if call is None:
            call = await self._ask(method, headers, body)
        try:
            if call.puts_to_sleep(trio.lowlevel.current_task()):
                await trio.lowlevel.wait_task_rescheduled(call.stop_waking)
            else:
                await trio.lowlevel.checkpoint()
        except BaseException:
            self.cancel(call.ident)
            self._end(call)
            raise
        answer = self._end(call)
        if answer is not None:
            return answer
        assert call.error is not None
        # Both clocks run for the same deadline. Should the peer's be first, the caller's own
        # scope has the word, unless it was given more time since.
        if _is_late(call.error) and call.deadline - trio.current_time() < _SKEW:
            await trio.sleep_until(call.deadline)
        raise call.error

    def _ask_at_once(self, method: str, headers: Mapping[str, str], body: bytes) -> Call | None:
        """Send a request if nothing has to be waited for; else None, and nothing was done."""
        if not self._slots or self._leaving or type(body) is not bytes or len(body) > PART_LEN:
            return None
        lines = request_lines(method, headers)
        deadline = trio.current_effective_deadline()
        if deadline == _CANCELLED:
            return None
        if self.features is not None and deadline != inf:
            lines += timeout_line(deadline)
        ident = self._next_id
        if not self._outlet.post_in_turn(OpCode.REQUEST, ident, lines, body):
            return None
        self._slots -= 1
        self.busy += 1
        call = Call(self._budget, ident, deadline)
        self.register(call)
        return call

    async def _ask(self, method: str, headers: Mapping[str, str], body: bytes) -> Call:
        """Send a request when its turn has come. Raises what is wrong with it."""
        body = payload("body", body)
        if len(body) > MAX_BODY:
            raise ValueError(f"a request of {len(body)} bytes: {MAX_BODY} are the most")
        lines = request_lines(method, headers)
        await self._take_slot()
        deadline = trio.current_effective_deadline()
        if self.features is not None:
            lines += timeout_line(deadline)
        call = Call(self._budget, self._next_id, deadline)
        ident = self.register(call)
        try:
            if len(body) > PART_LEN:
                await self._outlet.send_parts(OpCode.REQUEST, ident, lines, body)
            elif deadline == _CANCELLED or not self._outlet.post_in_turn(
                OpCode.REQUEST, ident, lines, body
            ):
                await self._outlet.send(OpCode.REQUEST, ident, lines, body)
        except BaseException as error:
            if not isinstance(error, NotSent):  # nothing has left then
                self.cancel(ident)
            self._end(call)
            raise
        return call

    def _end(self, call: Call) -> Incoming | None:
        """Nobody waits for it any more; its answer, if there is one."""
        del self._open[call.ident]
        call.drop()
        self._free_slot()
        return call.answer

    @block
    async def stream(
        self, method: str, headers: Mapping[str, str], body: bytes
    ) -> AsyncGenerator[OpenedStream]:
        """Open a stream for the length of a block; see `Peer.stream`."""
        body = payload("body", body)
        if len(body) > PART_LEN:
            raise ValueError(f"the request of a stream has at most {PART_LEN} bytes")
        lines = request_lines(method, headers) + _STREAM
        await self._take_slot()
        stream: OpenedStream | None = None
        try:
            self.check_features("streams")
            lines += timeout_line(trio.current_effective_deadline())
            # What the peer has ended is nothing it is busy with, however long the block lasts.
            stream = OpenedStream(self._outlet, self._next_id, self._budget, self._free_slot)
            ident = self.register(stream)
            sent = False
            try:
                await self._outlet.send(OpCode.REQUEST, ident, lines, body, more=True)
                sent = True
                yield stream
            finally:
                self.forget(ident)
                if sent and not stream.over:
                    self.cancel(ident)
                stream.fail(RemoteError("CANCELLED", "the stream's block was left"))
        finally:
            if stream is None or not stream.over:
                self._free_slot()

    def subscribe(self, subscription: Subscription) -> None:
        """Ask for it; never waits.

        Raises `NotSent`, `RemoteError`, or `AllocationFailedException` if too much is queued.
        """
        self.check_open()
        self.check_features("topics")
        ident = self.register(subscription)
        try:
            subscription.begin(self._outlet, ident, self._budget)
        except AmpeException:
            self.forget(ident)
            raise
        subscription.leave = partial(self._unsubscribe, ident)

    def _unsubscribe(self, ident: int) -> None:
        if ident in self._open:
            self.forget(ident)
            self.cancel(ident)

    def check_features(self, what: str) -> None:
        """Raise `RemoteError` if the peer knows nothing of these conventions."""
        if self.features is None:
            raise RemoteError("UNIMPLEMENTED", f"the peer does not know {what}")

    def register(self, asked: Asked) -> int:
        """Give it a message_id, under which it will hear what comes."""
        ident = self._next_id
        self._next_id += 2
        self._open[ident] = asked
        return ident

    def forget(self, ident: int) -> None:
        """It wants to hear no more."""
        self._open.pop(ident, None)

    def cancel(self, ident: int) -> None:
        """Tell the peer that nobody waits for this any more; never waits."""
        if self.features is not None and self._error is None:
            self._outlet.tell(OpCode.SIGNAL, ident, _CANCEL)

    # ------------------------------------------------------------------ slots

    async def _take_slot(self) -> None:
        self.check_open()
        if self._slots:
            self._slots -= 1
        else:
            self._in_line += 1
            try:
                await self._waiting.park()  # whoever ends a call hands its slot on
            finally:
                self._in_line -= 1
            self.check_open()
        self.busy += 1

    def _free_slot(self) -> None:
        self.busy -= 1
        # None waits while there are slots; and to ask a ParkingLot costs more than to count.
        if not self._slots and self._in_line and self._waiting:
            self._waiting.unpark()
        else:
            self._slots += 1
        if not self.busy:
            self._on_idle()

    def check_open(self) -> None:
        """Raise `NotSent` if nothing new can be asked."""
        if self._error is not None:
            raise NotSent(self._error.error_code, self._error.message)
        if self._leaving:
            raise NotSent(AmpeError.CHANNEL_CLOSED, "this side or the peer is leaving")

    # ------------------------------------------------------------------ what arrives

    def arrived(self, message: Message, headers: Headers) -> bool:
        """Take a Response; False if it answers nothing that was ever asked."""
        ident = message.message_id
        asked = self._open.get(ident)
        if asked is not None:
            if REFUSED in headers:
                self.leave()
            asked.arrived(message, headers)
            return True
        # Late ones are nobody's: given up, or too long.
        return self._first_id <= ident < self._next_id and (ident - self._first_id) % 2 == 0

    def came_back(self, message: Message, headers: Headers) -> None:
        """A Request was not sent, or not all of it."""
        asked = self._open.get(message.message_id)
        if asked is not None and (isinstance(asked, Call) or _OPENERS & headers.keys()):
            asked.fail(NotSent(to_error(message.status), headers.get(DETAIL, "")))

    def granted(self, ident: int, credit: int) -> None:
        """The peer has room again for what this side sends in a stream."""
        asked = self._open.get(ident)
        if isinstance(asked, OpenedStream):
            asked.granted(credit)

    def leave(self) -> None:
        """Ask nothing new; whoever waits for a slot is told."""
        self._leaving = True
        self.left.set()
        self._waiting.unpark_all()

    def close(self, error: Unanswered) -> None:
        """The channel has ended."""
        self._error = error
        self.leave()
        for asked in list(self._open.values()):
            asked.fail(error)


if compiled and not TYPE_CHECKING:
    Asking._ask_at_once = twin(Asking._ask_at_once)
    Asking._end = twin(Asking._end)
