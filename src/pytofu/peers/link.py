"""One open channel between two peers: Hello, what arrives and where it goes, Bye, the end."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import trio

from pytofu.peers.answering import Answering, Spawn
from pytofu.peers.asking import Asking
from pytofu.peers.assembly import Budget
from pytofu.peers.ctrl_c import protected
from pytofu.peers.errors import (
    NotSent,
    RemoteError,
    Unanswered,
    error_lines,
    error_of,
    to_error,
)
from pytofu.peers.flow import frame_cost
from pytofu.peers.inbox import Inbox
from pytofu.peers.incoming import NO_HEADERS, Incoming
from pytofu.peers.outlet import Outlet
from pytofu.peers.signalling import Signalling
from pytofu.peers.wire import (
    ASK,
    CANCEL,
    CREDIT,
    FEATURES,
    HEARTBEAT,
    HERE,
    METHOD,
    Features,
    Headers,
    encoded,
    read_count,
    read_features,
    read_headers,
    user_headers,
)
from pytofu.public.ampe import Ampe
from pytofu.public.channel_group import ChannelGroup
from pytofu.values.header import OPCODE_BITS, ORIGIN_BIT, OpCode
from pytofu.values.holder import Holder
from pytofu.values.message import Message
from pytofu.values.peer_info import PeerInfo
from pytofu.values.status import AmpeStatus
from pytofu.values.text_headers import DETAIL, REASON

BYE_TIME: Final = 5.0
"""Seconds for what is under way to end, when one of the two has said Bye."""

# As plain ints, for the hot path.
_REQUEST: Final = int(OpCode.REQUEST)
_RESPONSE: Final = int(OpCode.RESPONSE)

_HERE: Final = encoded((HEARTBEAT, HERE))

_SIGNALS: Final = 2
"""message_ids below this, counted on each side, stand for no call: the first is that of credit
for plain Signals."""


class Link:
    """A channel with everything that is open on it.

    `receive` is called by the hub's task for each message of the channel, never waits and never
    fails for anything that a peer can send. `closed` is set behind the channel's last event.
    """

    __slots__ = (
        "_budget",
        "_ampe",
        "_companions",
        "_early",
        "_failure",
        "_failure_detail",
        "_hello_id",
        "_identity",
        "_idle",
        "_is_bye_awaited",
        "_own",
        "_own_signals",
        "_peer_signals",
        "_said_bye",
        "_spawn",
        "answering",
        "asking",
        "closed",
        "detail",
        "heard",
        "hello",
        "inbox",
        "outlet",
        "reason",
        "refusal",
        "settled",
        "signalling",
    )

    def __init__(
        self,
        ampe: Ampe,
        chnls: ChannelGroup,
        spawn: Spawn,
        number: int,
        *,
        hello_id: int,
        connecting: bool,
        own: Features,
    ) -> None:
        self.outlet: Outlet = Outlet(ampe, chnls, number)
        self.settled: trio.Event = trio.Event()
        """Set when the Hellos are exchanged, or when they never will be."""
        self.closed: trio.Event = trio.Event()
        self.reason: AmpeStatus = AmpeStatus.SUCCESS
        self.detail: str = ""
        self.hello: Mapping[str, str] = {}
        """The program's headers of the peer's Hello, or of its answer."""
        self.refusal: RemoteError | NotSent | None = None
        """Why the peer has not let us in, if it said so in its answer to our Hello."""
        self._identity = PeerInfo()
        self._ampe = ampe
        self._early: list[Holder[Message]] | None = None
        self._spawn = spawn
        self.heard: float | None = None
        """When the peer's last message came, on Trio's clock; noted once a heartbeat has begun.

        What comes back of our own is none: a question that does would be asked again at once.
        """
        self._own = own
        self._hello_id = hello_id
        self._budget = Budget()
        # Ids are odd on the connecting side and even on the other: see docs/conventions.md.
        self._own_signals, self._peer_signals = (1, 2) if connecting else (2, 1)
        self.asking: Asking = Asking(
            self.outlet, self._budget, self._own_signals + _SIGNALS, self._one_is_idle
        )
        self.answering: Answering = Answering(
            ampe, self.outlet, self._budget, own.calls, spawn, self._one_is_idle
        )
        self.inbox: Inbox = Inbox(self._grant_signals)
        # What comes back of our Signals without a header must not look like the last event.
        plain = 1 if hello_id != 1 else 2
        self.signalling: Signalling = Signalling(self.asking, self.outlet, plain)
        self._idle = trio.lowlevel.ParkingLot()
        self._said_bye = False
        self._is_bye_awaited = False  # by the peer, until nothing is under way
        self._companions: set[trio.CancelScope] = set()
        # Better than the last event's: how the HelloRequest came back, or why this side gave up.
        self._failure: AmpeStatus | None = None
        self._failure_detail = ""

    # ------------------------------------------------------------------ Hello

    def greeted(self, headers: Headers, side: str) -> None:
        """The peer has said Hello, or answered ours; `side` is what it is."""
        self.hello = user_headers(headers)
        self.asking.begin(read_features(headers.get(FEATURES), side))
        self.settled.set()

    def _hello_answered(self, message: Message, headers: Headers) -> None:
        self.refusal = error_of(headers, message.payload)
        if self.refusal is None:
            self.greeted(headers, "server")
        self.settled.set()

    @property
    def identity(self) -> PeerInfo:
        """Who is at the other end, as the system and TLS say it; once known, it stays."""
        if not self._identity.scheme and not self.closed.is_set():
            self._identity = self.outlet.peer()
        return self._identity

    @property
    def features(self) -> Features | None:
        """What the peer knows of the conventions; None if nothing."""
        return self.asking.features

    def answer_hello(self) -> None:
        """Say that the peer is welcome.

        Raises `NotSent`, and `InvalidMessageIdException` for a Hello whose id, 0, none can answer.
        """
        lines = encoded((FEATURES, self._own.to_text("server")))
        self.outlet.post(OpCode.HELLO_RESPONSE, self._hello_id, lines)

    # What comes before the peer is let in keeps its messages from the pool, so that the engine soon
    # stops reading: it cannot be answered yet, not even to say no.

    def keep_waiting(self, headers: Headers) -> None:
        """Look at nothing that this peer sends, but for what it said in its Hello."""
        self.hello = user_headers(headers)
        self.answering.refusing = True  # for the compiled core, which passes by `receive`
        self._early = []

    def let_in(self) -> None:
        """Look at what has come meanwhile, and from now on at everything at once."""
        self.answering.refusing = False
        early, self._early = self._early or [], None
        for holder in early:
            self.receive(holder.unwrap(), holder)
            self._ampe.put(holder)

    def turn_away(self) -> None:
        """Say Bye in place of an answer to its Hello."""
        self.outlet.tell(OpCode.BYE_RESPONSE, self._hello_id)

    async def refuse(self, error: RemoteError) -> None:
        """Say in the answer to its Hello that the peer is not let in, and close."""
        self.outlet.tell(OpCode.HELLO_RESPONSE, self._hello_id, error_lines(error))
        await self.drain(0)

    def accompany(self, task: Callable[[], Awaitable[None]]) -> None:
        """Run a task that ends with the link at the latest."""
        self._spawn(self._accompany, task)

    async def _accompany(self, task: Callable[[], Awaitable[None]]) -> None:
        with trio.CancelScope() as scope:
            self._companions.add(scope)
            if self.closed.is_set():
                scope.cancel()
            try:
                await task()
            finally:
                self._companions.discard(scope)

    # ------------------------------------------------------------------ what arrives

    def receive(self, message: Message, holder: Holder[Message]) -> bool:
        """Take a message of this channel; whether it was the last.

        What stays in the holder goes back to the pool.
        """
        header = message.header
        opcode = header.proto_byte & OPCODE_BITS
        from_engine = header.proto_byte & ORIGIN_BIT
        if self.heard is not None and not from_engine:
            self.heard = trio.current_time()
        # The length is the wire's: what the engine adds is not in it. Most have no headers.
        headers = read_headers(message) if header.text_headers_len or from_engine else NO_HEADERS
        if from_engine:
            self._from_engine(message, opcode, headers)
        elif self._early is not None:
            self._early.append(Holder(holder.take()))
        elif opcode == _REQUEST:
            self.answering.arrived(message, headers, holder)
        elif opcode == _RESPONSE:
            if not self.asking.arrived(message, headers):
                self._to_inbox(message, headers)
        elif opcode == OpCode.SIGNAL:
            self._signal(message, headers)
        elif opcode == OpCode.HELLO_RESPONSE:
            if not self.settled.is_set():  # who waits for a slot goes by the first
                self._hello_answered(message, headers)
        elif opcode == OpCode.BYE_REQUEST:
            self._answer_bye(message.message_id)
        if self._budget.left < 0:
            self.abort()
        return bool(from_engine) and self.closed.is_set()

    def _from_engine(self, message: Message, opcode: int, headers: Headers) -> None:
        status = message.status
        if status is AmpeStatus.CHANNEL_CLOSED and self._is_last_event(message, headers):
            self._close(headers)
        elif opcode == OpCode.REQUEST:
            self.asking.came_back(message, headers)
        elif opcode in (OpCode.HELLO_REQUEST, OpCode.HELLO_RESPONSE):
            self._failure = status

    def _is_last_event(self, message: Message, headers: Headers) -> bool:
        """Whether it is that, and no Signal of ours that comes back, for these have another id."""
        return (
            message.opcode is OpCode.SIGNAL
            and message.message_id == self._hello_id
            and headers.keys() <= {REASON, DETAIL}
        )

    def _signal(self, message: Message, headers: Headers) -> None:
        ident = message.message_id
        if CANCEL in headers:
            self.answering.cancel(ident)
        elif HEARTBEAT in headers:
            if headers[HEARTBEAT] == ASK:
                self.outlet.tell(OpCode.SIGNAL, self.signalling.ident, _HERE)
        elif (credit := read_count(headers.get(CREDIT))) is not None:
            if ident == self._own_signals:
                self.signalling.granted(credit)
            elif ident % 2 == self._own_signals % 2:
                self.asking.granted(ident, credit)
            else:
                self.answering.granted(ident, credit)
        else:
            self._to_inbox(message, headers)

    def _to_inbox(self, message: Message, headers: Headers) -> None:
        incoming = Incoming(message.payload, user_headers(headers), headers.get(METHOD, ""))
        signal = message.opcode is OpCode.SIGNAL
        self.inbox.add(incoming, frame_cost(message.header), credited=signal)

    def _grant_signals(self, credit: int) -> None:
        if self.features is not None:
            self.outlet.tell(OpCode.SIGNAL, self._peer_signals, encoded((CREDIT, str(credit))))

    # ------------------------------------------------------------------ the end

    @property
    def usable(self) -> bool:
        """Whether something new can be asked."""
        return self.settled.is_set() and not self.asking.left.is_set()

    async def bye(self) -> None:
        """Close in good order, and wait until the channel has closed.

        A checkpoint; cancelled, the channel closes when the peer answers, or in time.
        """
        self.asking.leave()
        if not self._said_bye:
            self._said_bye = True
            self.outlet.tell(OpCode.BYE_REQUEST)
        await self.closed.wait()

    async def finish_answering(self) -> None:
        """Take no more calls, and wait until those that were taken are answered.

        Their handlers may still ask, this peer and others: their answers may depend on it.
        """
        self.answering.refusing = True
        while self.answering.busy:
            await self._idle.park()

    @protected
    async def drain(self, seconds: float) -> None:
        """Take no more calls, let those of both sides end within the time, then say Bye.

        If some have not, close at once: whoever waits for them would not agree to a Bye.
        """
        with trio.move_on_after(seconds):
            await self.finish_answering()
            self.asking.leave()
            await self._wait_idle()
        self.asking.leave()
        if not self._is_idle():
            self.abort()
        with trio.move_on_after(BYE_TIME):
            await self.bye()

    def abort(self, reason: AmpeStatus | None = None, detail: str = "") -> None:
        """Close at once; the link's reason is this one then."""
        if self._failure is None and reason is not None:
            self._failure = reason
            self._failure_detail = detail
        self.outlet.tell(OpCode.BYE_SIGNAL)

    @protected
    async def see_off(self) -> None:
        """Of a peer that is about to leave: close when nothing is under way, should it not.

        Ends with the link at the latest.
        """
        await self._accompany(self._close_when_idle)

    async def _close_when_idle(self) -> None:
        await self._wait_idle()
        await trio.sleep(BYE_TIME)
        with trio.move_on_after(BYE_TIME):
            await self.bye()
        self.abort()

    def _answer_bye(self, ident: int) -> None:
        self.asking.leave()
        if not ident:
            self.abort()  # no answer can have it, and nobody would ever close
        elif self._said_bye or self._is_idle():
            self.outlet.tell(OpCode.BYE_RESPONSE, ident)
        elif not self._is_bye_awaited:
            self._is_bye_awaited = True  # one answer is enough, however often it says so
            self._spawn(self._answer_bye_when_idle, ident)

    async def _answer_bye_when_idle(self, ident: int) -> None:
        with trio.move_on_after(BYE_TIME):
            await self._wait_idle()
        self.outlet.tell(OpCode.BYE_RESPONSE, ident)

    def _is_idle(self) -> bool:
        return not self.asking.busy and not self.answering.busy

    def _one_is_idle(self) -> None:
        if self._idle:
            self._idle.unpark_all()

    async def _wait_idle(self) -> None:
        while not self._is_idle():
            await self._idle.park()

    def _close(self, headers: Headers) -> None:
        self.detail = self._failure_detail or headers.get(DETAIL, "")
        found = AmpeStatus.__members__[headers[REASON]]
        self._end(self._failure or found)

    def shut_down(self) -> None:
        """The engine, or the group, has gone: no last event will come."""
        self._end(AmpeStatus.SHUTDOWN_STARTED)

    def _end(self, reason: AmpeStatus) -> None:
        self.reason = reason
        self.closed.set()
        self.settled.set()
        error = Unanswered(to_error(reason), self.detail or "the channel has closed")
        self.asking.close(error)
        self.answering.close(error)
        self.inbox.close()
        for early in self._early or ():
            self._ampe.put(early)
        self._early = None
        self.signalling.close()
        self._one_is_idle()
        for scope in self._companions:
            scope.cancel()
