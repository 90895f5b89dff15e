"""What the peer asks of this side: requests on one link, and the handlers at work on them."""

from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import trio

from pytofu._choice import compiled, twin
from pytofu.peers.assembly import Assembly, Budget
from pytofu.peers.calls import Respond, Result, result_of, result_of_error
from pytofu.peers.ctrl_c import unprotected
from pytofu.peers.errors import NotSent, RemoteError, Unanswered
from pytofu.peers.handling import NEVER, Handling
from pytofu.peers.outlet import Outlet
from pytofu.peers.streams import AcceptedStream
from pytofu.peers.topics import Subscriber, Topics
from pytofu.peers.wire import (
    CREDIT,
    ITEM,
    METHOD,
    PART_LEN,
    STREAM,
    SUBSCRIBE,
    Headers,
    read_count,
)
from pytofu.public.ampe import Ampe
from pytofu.values.errors import InvalidMessageIdException
from pytofu.values.header import MORE_BIT, OpCode
from pytofu.values.holder import Holder
from pytofu.values.message import Message

_LATE: Final = RemoteError("DEADLINE_EXCEEDED", "the time that the caller gave was up")
_REFUSED: Final = RemoteError("UNAVAILABLE", "the peer takes no more calls")
_MAX_SUBSCRIPTIONS: Final = 1000
_ROW: Final = 64
"""Handlers that are run one after the other without a turn for other tasks."""
_HELPERS: Final = 2
"""Tasks that a task calls before it runs a handler, for the requests behind it, should it wait: so
their number doubles as long as handlers wait. The first to come calls one: mostly none waits."""


class Spawn(Protocol):
    """Starts a task where those of a link run."""

    def __call__[*Ts](self, task: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> None:
        """Start it; it is run soon."""
        ...


class Answering:
    """Runs a handler for each request, `limit` at a time; the others wait.

    A request that waits keeps its message from the pool, so that the engine sees who makes it
    wait and stops reading from that peer. Whoever gives up, or goes, takes his handlers along.
    """

    __slots__ = (
        "_ampe",
        "_budget",
        "_by_id",
        "_coming",
        "_context",
        "_limit",
        "_on_idle",
        "_outlet",
        "_ready",
        "_running",
        "_spawn",
        "_subscribers",
        "_waiting",
        "handler",
        "refusing",
        "topics",
    )

    def __init__(
        self,
        ampe: Ampe,
        outlet: Outlet,
        budget: Budget,
        limit: int,
        spawn: Spawn,
        on_idle: Callable[[], None],
    ) -> None:
        self.handler: Respond | None = None
        self.topics: Topics | None = None
        self.refusing: bool = False
        self._subscribers: dict[int, Subscriber] = {}
        self._ampe = ampe
        self._outlet = outlet
        self._budget = budget
        self._limit = limit
        self._by_id: dict[int, Handling] = {}
        # A plain dict is slow to find its first: it looks at all that were before.
        self._waiting: OrderedDict[Handling, None] = OrderedDict()
        self._running: set[Handling] = set()
        self._ready: deque[Handling] = deque()  # those of `_running` that no task has begun
        self._coming = 0  # tasks that have been started for them and have not had their turn
        self._spawn = spawn
        self._context = copy_context()  # of every handler, when it begins
        self._on_idle = on_idle

    @property
    def busy(self) -> int:
        """Requests of the peer that are not answered yet."""
        return len(self._running) + len(self._waiting)

    # ------------------------------------------------------------------ what arrives

    def arrived(self, message: Message, headers: Headers, holder: Holder[Message]) -> None:
        """Take a Request, or a part of one, or an item of a stream."""
        ident = message.message_id
        handling = self._by_id.get(ident)
        if handling is not None and handling.stream is not None:
            handling.stream.arrived(message, headers)
            return
        if headers and self._is_no_call(ident, headers):
            return
        more = bool(message.header.proto_byte & MORE_BIT)
        if handling is None or handling.running or handling.held is not None:
            # A program without these conventions may use an id twice.
            if ITEM in headers:
                return  # of a stream whose handler has ended
            handling = self._by_id[ident] = Handling(ident, headers)
            if STREAM in headers:
                handling.stream = AcceptedStream(self._outlet, ident, self._budget)
                if not more:
                    handling.stream.arrived(message, headers)
                more = False
        if not more and handling.assembly is None:
            handling.body = message.payload
        elif not self._assemble(handling, message, more):
            return
        if self.refusing:
            self._reject(handling, _REFUSED, refused=True)
        elif self.handler is None:
            self._reject(handling, RemoteError("UNIMPLEMENTED", "there is no handler here"))
        elif len(self._running) < self._limit:
            self._start(handling, self.handler)
        else:
            handling.held = Holder(holder.take())
            self._waiting[handling] = None

    def _is_no_call(self, ident: int, headers: Headers) -> bool:
        """Whether it asks for something else, which is done then if it can be answered."""
        if ident and SUBSCRIBE in headers:
            self._subscribe(ident, headers)
        return SUBSCRIBE in headers or (not ident and STREAM in headers)

    def _assemble(self, handling: Handling, message: Message, more: bool) -> bool:
        """Add a part; whether the body is whole, and not too long."""
        if handling.assembly is None:  # its headers wait with it
            handling.assembly = Assembly(self._budget, message.header.text_headers_len)
        handling.assembly.add(message.payload)
        if not more and handling.assembly.too_long:
            self._reject(handling, RemoteError("RESOURCE_EXHAUSTED", "the request is too long"))
            return False
        return not more

    def _reject(self, handling: Handling, error: RemoteError, *, refused: bool = False) -> None:
        self._end(handling)
        self._outlet.tell_error(handling.ident, error, refused=refused)

    # ------------------------------------------------------------------ topics

    def _subscribe(self, ident: int, headers: Headers) -> None:
        credit = read_count(headers.get(CREDIT)) or 0
        error: RemoteError | None = None
        if self.refusing:
            error = _REFUSED
        elif self.topics is None:
            error = RemoteError("UNIMPLEMENTED", "nothing is published here")
        elif len(self._subscribers) >= _MAX_SUBSCRIPTIONS or ident in self._subscribers:
            error = RemoteError("RESOURCE_EXHAUSTED", "too many subscriptions")
        else:
            try:
                found = self.topics.subscribe(self._outlet, ident, headers[SUBSCRIBE], credit)
            except ValueError as reason:
                error = RemoteError("INVALID_ARGUMENT", str(reason))
            else:
                self._subscribers[ident] = found
                found.on_end = partial(self._unsubscribe, ident, self.topics, found)
                self._outlet.tell(OpCode.RESPONSE, ident, more=True)
        if error is not None:
            self._outlet.tell_error(ident, error, refused=error is _REFUSED)

    def _unsubscribe(self, ident: int, topics: Topics, subscriber: Subscriber) -> None:
        topics.unsubscribe(subscriber)
        self._subscribers.pop(ident, None)

    # ------------------------------------------------------------------ what else arrives

    def granted(self, ident: int, credit: int) -> None:
        """The peer has room again for what this side sends in a stream, or publishes."""
        subscriber = self._subscribers.get(ident)
        if subscriber is not None:
            subscriber.granted(credit)
        handling = self._by_id.get(ident)
        if handling is not None and handling.stream is not None:
            handling.stream.granted(credit)

    def cancel(self, ident: int) -> None:
        """The caller has given up, or the subscriber."""
        subscriber = self._subscribers.get(ident)
        if subscriber is not None:
            subscriber.end()
        handling = self._by_id.get(ident)
        if handling is not None:
            self._give_up(handling, RemoteError("CANCELLED", "the caller has given up"))

    def close(self, error: Unanswered) -> None:
        """The channel has ended: so do the handlers."""
        for handling in (*self._by_id.values(), *self._waiting, *self._running):
            self._give_up(handling, error)
        for subscriber in list(self._subscribers.values()):
            subscriber.end()

    def _give_up(self, handling: Handling, error: Exception) -> None:
        handling.given_up = True
        if handling.scope is not None:
            handling.scope.cancel()
        if handling.stream is not None:
            handling.stream.fail(error)
        if not handling.running:
            self._end(handling)

    # ------------------------------------------------------------------ the handlers

    # A task is dear, next to what most handlers do. So one task runs a handler after the other, in
    # one cancel scope, as long as they end without having been cancelled; and others stand by, who
    # have their turn only if it has to wait.

    def _start(self, handling: Handling, handler: Respond) -> None:
        handling.running = True
        self._running.add(handling)
        self._ready.append(handling)
        if not self._coming:
            self._call_task(handler, 1)

    def _call_task(self, handler: Respond, helpers: int = _HELPERS) -> None:
        """Start one, which calls `helpers` before it runs a handler."""
        self._coming += 1
        self._context.run(self._spawn, self._carry_out_what_is_ready, handler, helpers)

    async def _carry_out_what_is_ready(self, handler: Respond, helpers: int) -> None:
        self._coming -= 1
        while self._is_for_more():
            await self._carry_out_in_one_scope(handler, helpers)
            if self._ready:
                await trio.lowlevel.checkpoint()

    def _is_for_more(self) -> bool:
        """Whether there is a handler to run, and the task's context is what it has to begin with.

        A handler that has set context variables was the last one to see them. What it leaves
        behind is carried out by those who stand by.
        """
        try:
            return bool(self._ready) and copy_context() == self._context
        except Exception:  # of a value that cannot be compared
            return False

    def _next(self, handler: Respond, helpers: int) -> Handling | None:
        """The next that is ready, if this task is for it, with others called to stand by."""
        if not self._is_for_more():
            return None
        handling = self._ready.popleft()
        while self._coming < helpers and self._coming < len(self._ready):
            self._call_task(handler)
        return handling

    async def _carry_out_in_one_scope(self, handler: Respond, helpers: int) -> None:
        handling: Handling | None = None
        failure: Result | None = None
        scope = trio.CancelScope()
        deadline = NEVER  # the scope's: to set it costs more than to compare
        try:
            try:
                with scope:
                    for _ in range(_ROW):
                        handling = self._next(handler, helpers)
                        if handling is None:
                            break
                        if handling.deadline != deadline:
                            scope.deadline = deadline = handling.deadline
                        handling.scope = scope
                        if not await self._carry_out(handling, handler):
                            break  # which is no other handler's business
                        handling = None
            except Exception as error:  # in a group with what the scope has caught
                assert handling is not None
                if not self._has_only_noticed_the_end(handling, error):
                    failure = result_of_error(error, handling.headers.get(METHOD, ""))
            if scope.cancelled_caught:
                failure = result_of_error(_LATE, "")
            if failure is not None and handling is not None and not handling.given_up:
                self._outlet.tell(OpCode.RESPONSE, handling.ident, failure[0])
        finally:
            if handling is not None:
                self._done(handling, handler)

    async def _carry_out(self, handling: Handling, handler: Respond) -> bool:
        """Run its handler, and answer; whether it was not cut short, and is done with."""
        if handling.given_up:
            return self._is_done(handling, handler)
        try:
            program = handling.start(handler)
            if program is None:
                await trio.sleep_forever()  # it is cancelled
            try:
                lines, body = result_of(await unprotected(program), self._budget.longest)
                if handling.stream is not None:
                    handling.stream.check_whole()
            finally:
                program.close()
        except Exception as error:
            if self._has_only_noticed_the_end(handling, error):
                return self._is_done(handling, handler)
            lines, body = result_of_error(error, handling.headers.get(METHOD, ""))
        try:  # not `suppress`: this is the hot path
            if self._is_answered(handling, handler, lines, body):
                return True
            if handling.stream is not None:
                await handling.stream.send_result(lines, body)
            elif len(body) > PART_LEN:
                await self._outlet.send_parts(OpCode.RESPONSE, handling.ident, lines, body)
            else:
                await self._outlet.send(OpCode.RESPONSE, handling.ident, lines, body)
        except (NotSent, Unanswered, RemoteError, InvalidMessageIdException):
            pass  # nobody is there to hear it, or the request's id (0) is none to answer to
        return self._is_done(handling, handler)

    def _is_answered(self, handling: Handling, handler: Respond, lines: bytes, body: bytes) -> bool:
        """Whether nothing has to be waited for: then it is answered, and done with."""
        if (
            handling.stream is not None
            or len(body) > PART_LEN
            or handling.is_cut_short()
            or not self._outlet.post_in_turn(OpCode.RESPONSE, handling.ident, lines, body)
        ):
            return False
        self._done(handling, handler)
        return True

    def _has_only_noticed_the_end(self, handling: Handling, error: Exception) -> bool:
        """Whether a handler has failed to reach the peer that asked, since that is gone.

        It would have been cancelled, had its stream not told it first: that is no failure.
        """
        group = ExceptionGroup("", [error])
        if group.split((NotSent, Unanswered))[1] is not None:
            return False
        return handling.given_up or self._outlet.is_closed

    def _is_done(self, handling: Handling, handler: Respond) -> bool:
        """Whether it was not cut short, and is done with."""
        if handling.is_cut_short():
            return False
        self._done(handling, handler)
        return True

    def _done(self, handling: Handling, handler: Respond) -> None:
        handling.scope = None
        self._running.discard(handling)
        self._end(handling)
        if self._waiting:
            self._start_waiting(handler)

    def _start_waiting(self, handler: Respond) -> None:
        while self._waiting and len(self._running) < self._limit:
            handling = next(iter(self._waiting))
            self._stop_waiting(handling)
            self._start(handling, handler)

    def _stop_waiting(self, handling: Handling) -> None:
        assert handling.held is not None
        del self._waiting[handling]
        self._ampe.put(handling.held)

    def _end(self, handling: Handling) -> None:
        """Nothing of it is left: not in the tables, not in the budget, not from the pool."""
        if self._by_id.get(handling.ident) is handling:
            del self._by_id[handling.ident]
        if self._waiting and handling in self._waiting:
            self._stop_waiting(handling)
        if handling.assembly is not None:
            handling.assembly.drop()
        if handling.stream is not None:
            handling.stream.fail(RemoteError("CANCELLED", "its handler has ended"))
        if not self._running and not self._waiting:
            self._on_idle()


if compiled and not TYPE_CHECKING:
    Answering._next = twin(Answering._next)
    Answering._is_answered = twin(Answering._is_answered)
