"""A conversation: everything that one IO channel decides, without socket, clock or Trio.

Theory of operation
===================
A channel is a link (bytes to and from one peer) and a conversation (this class). The engine's IO
channel carries out; the conversation decides. Into it go: what arrived (`receive`), what was
posted (`writer.push` or `post`), what became of the link (`link_opened`, `link_failed`,
`link_ended`, `link_refuses`, `link_is_quiet`, `link_is_full`, `all_written`), whether this side
reads (`pause`, `resume`), that the application leaves (`close`, `end`), and the time, as seconds on
any clock that only goes forward. Out of it come: messages for the application, bytes for the link
(`writer`), whether to say that nothing more will be sent (`must_end_sending`), a `deadline`, and
one `ending`.

The life of a channel, told in order
------------------------------------
1. It is made by a HelloRequest (connecting) or by a listener (accepted). The connecting side's
   link opens within `connect_timeout`; what is posted meanwhile waits in the writer.
2. The Hello. The connecting side keeps what it has written until the peer answers, because it all
   comes back if no answer comes within `hello_timeout`. The accepted side waits as long, from when
   it was made, for a whole HelloRequest; then it may say nothing but HelloResponse, or ByeResponse
   to decline.
3. Open. Any side sends anything. A message that has begun has `frame_timeout` to be whole; a peer
   that takes nothing of what is queued has `send_timeout`.
4. The Bye. Behind a ByeRequest nothing is sent: what is posted comes back at once. The peer has
   `bye_timeout` to answer, counted from when it has taken the ByeRequest. Who has received
   ByeResponse closes; who has sent it waits `close_timeout` for that. Where two ByeRequests
   crossed, who has sent both finishes: sends the rest, says that it was all, and waits for the
   peer to close.
5. The end. The first ending stays, whatever comes after it. `last_messages` are what was posted
   and not sent, in order, and the last event.

`protocol/lifecycle.py` has this as tables (what may arrive and be posted in which state), and
`protocol/ending.py` what follows from each cause. No time limit strikes by itself: whoever finds
`deadline()` passed first gives the conversation what has arrived, then calls `time_passed`. While
this side does not read, no time runs for the peer but `send_timeout`, and then all of it anew.

What is a fact is kept (when a state was entered, when a frame began, since when the link has been
full); what follows from facts, the deadline above all, is derived when somebody asks.
"""

import math
from collections.abc import Iterator
from typing import Final

import attrs

from pytofu.protocol.ending import ENDINGS, Cause, Ending, broken, not_connected, violated
from pytofu.protocol.framing import LONGEST_FRAME, FrameReader, FrameWriter
from pytofu.protocol.lifecycle import Posting, PostRule, Rule, State, post_rules, receive_rules
from pytofu.protocol.signals import channel_closed
from pytofu.values.header import HEADER_LEN, OpCode
from pytofu.values.message import Account, Message
from pytofu.values.status import AmpeError, AmpeStatus

# Tuples: to look into a set, a member of an Enum is hashed by a function in Python.
_GREETING: Final = (State.HELLO_SENT, State.HELLO_THEN_BYE_SENT)
_BYE_UNANSWERED: Final = (State.BYE_SENT, State.BYE_CROSSED)
_CLOSING: Final = (State.BYE_ANSWERED, State.FINISHING)

_TLS_HANDSHAKE: Final = b"\x16\x03"
_SPEAKS_TLS: Final = "the peer speaks TLS: TLS at a plain port"


@attrs.frozen(kw_only=True)
class TimeLimits:
    """The time limits of a conversation, in seconds; `Options` describes each."""

    connect_timeout: float
    hello_timeout: float
    frame_timeout: float
    send_timeout: float
    bye_timeout: float
    close_timeout: float


class Conversation:
    """See the theory of operation above."""

    __slots__ = (
        "_accepted",
        "_entered_at",
        "_full_since",
        "_limits",
        "_made_at",
        "_opened_at",
        "_receive_rules",
        "_refused",
        "_resumed_at",
        "_returned",
        "_taken_at",
        "ending",
        "frame_began",
        "message_id",
        "number",
        "paused",
        "post_rules",
        "reader",
        "state",
        "writer",
    )

    def __init__(
        self,
        limits: TimeLimits,
        now: float,
        *,
        accepted: bool,
        message_id: int = 0,
        account: Account | None = None,
        max_hello_bytes: int = LONGEST_FRAME,
    ) -> None:
        self._accepted = accepted
        self._limits = limits
        self.number: int = 0
        """The channel's number, once it has one."""
        self.message_id: int = message_id
        """Of the message that opened the channel; 0 until it has come."""
        self.reader: FrameReader = FrameReader(account)
        if accepted:
            self.reader.longest = min(HEADER_LEN + max_hello_bytes, LONGEST_FRAME)
        self.writer: FrameWriter = FrameWriter(keep=not accepted)
        self.ending: Ending | None = None
        """How it ended, once it has."""
        self.paused: bool = False
        """Whether nothing is read because this side has no room; `pause` and `resume` set it."""
        self._refused: Ending | None = None  # to end with when all that had arrived is read
        self._returned: list[Message] = []  # posted, and on its way back to the application
        self._made_at = now
        self._opened_at = math.inf  # when the link opened
        self._resumed_at = now  # since when this side reads, or read until it paused
        self.frame_began: float = math.inf
        """When that part of a frame came which is not yet whole; infinity if there is none."""
        self._full_since = math.inf  # since when the link has taken nothing
        self._taken_at = -math.inf  # when it had last taken everything, having been full
        self._enter(State.HELLO_AWAITED if accepted else State.HELLO_SENT, now)

    def _enter(self, state: State, now: float) -> None:
        self.state: State = state
        self._entered_at = now
        self._receive_rules: tuple[Rule, ...] = receive_rules(state, self._accepted)
        self.post_rules: tuple[PostRule, ...] = post_rules(state, self._accepted)
        """What becomes of a posted message, by opcode; None: it is just pushed to the writer."""
        if state is State.FINISHING:
            self.reader.discard()

    # ------------------------------------------------------------------ the application

    def post(self, message: Message, rule: State | Posting, now: float) -> AmpeError | None:
        """Do with a validated message what its rule says; the error if it stays with its poster.

        Where the rule is None the message goes to `writer.push` without coming here.
        """
        match rule:
            case Posting.REFUSE:
                return AmpeError.NOT_ALLOWED
            case Posting.RETURN:
                self._return(message)
            case Posting.ABORT:
                self._return(message)
                self.end(Cause.ABORTED)
            case Posting.DENY:
                self._return(message, AmpeStatus.INVALID_CHANNEL_NUMBER, OpCode.HELLO_RESPONSE)
                self.end(Cause.DENIED)
            case State():
                self.writer.push(message)
                self._enter(rule, now)
        return None

    def _return(
        self,
        message: Message,
        status: AmpeStatus = AmpeStatus.CHANNEL_CLOSED,
        opcode: OpCode | None = None,
    ) -> None:
        returned = message.clone()
        returned.mark_from_engine(status, opcode)
        self._returned.append(returned)

    def take_returned(self) -> list[Message]:
        """What was posted and comes back at once, marked as from the engine."""
        returned, self._returned = self._returned, []
        return returned

    def close(self, now: float) -> None:
        """The application leaves: send what is queued, then close."""
        if self.state is State.HELLO_AWAITED:
            self.end(Cause.AGREED)  # it has not said a word, and there is nothing to say to it
        elif self.state is not State.FINISHING and self.ending is None:
            self._enter(State.FINISHING, now)

    def end(self, cause: Cause | Ending) -> None:
        """End at once; the first cause stays."""
        if self.ending is None:
            self.ending = ENDINGS[cause] if isinstance(cause, Cause) else cause
            self.state = State.CLOSED
            self.post_rules = post_rules(State.CLOSED, self._accepted)
            self._receive_rules = receive_rules(State.CLOSED, self._accepted)
            self.reader.discard()

    def last_messages(self) -> Iterator[Message]:
        """After the end: what was posted and not sent, in order, then the last event."""
        ending = self.ending
        assert ending is not None
        yield from self.take_returned()
        if self.writer.held:
            if not ending.unanswered:
                self.writer.forget_written()
            opcode = OpCode.HELLO_RESPONSE if ending.answers_hello else None
            for message in self.writer.unsent():
                message.mark_from_engine(ending.unsent, opcode)
                opcode = None  # of the HelloRequest alone, which is the first
                yield message
        yield channel_closed(self.number, self.message_id, ending)

    # ------------------------------------------------------------------ the peer

    def receive(self, data: bytes, room: int, now: float) -> list[Message]:
        """Take in what arrived; up to `room` messages of it, for the application.

        Nothing may be `unread`: the link keeps what this side has no room for.
        """
        if self.state is State.FINISHING:
            return []
        self.reader.feed(data)
        return self.read(room, now)

    def read(self, room: int, now: float) -> list[Message]:
        """Up to `room` messages of what arrived before and was left `unread`."""
        reader = self.reader
        messages, state = reader.read(self.number, self._receive_rules, room)
        if state is not None or reader.violation is not None or reader.oversized:
            self.follow(messages, state, room, now)
        if not reader.kept:
            self.frame_began = math.inf
        elif messages or self.frame_began == math.inf:
            self.frame_began = now
        return messages

    def follow(self, messages: list[Message], state: State | None, room: int, now: float) -> None:
        """Go where the last of these messages leads, and add those behind it; or end."""
        reader = self.reader
        while state is not None:
            self._advance(state, messages[-1], now)
            if self.ending is not None:
                return
            more, state = reader.read(self.number, self._receive_rules, room - len(messages))
            messages += more
        if reader.violation is not None:
            first = self.state is State.HELLO_AWAITED
            tls = first and reader.refused.startswith(_TLS_HANDSHAKE)
            self.end(violated(reader.violation, _SPEAKS_TLS if tls else ""))
        elif reader.oversized:
            self.end(Cause.HELLO_TOO_LARGE)

    def pause(self) -> None:
        """This side reads nothing from now on, because it has no room."""
        self.paused = True

    def resume(self, now: float) -> None:
        """This side reads again: the peer has as much time as if it had just begun."""
        self.paused = False
        self._resumed_at = now

    @property
    def unread(self) -> bool:
        """Whether there is more to `read` as soon as there is room for it."""
        return self.reader.unread > 0

    def _advance(self, state: State, message: Message, now: float) -> None:
        """Enter the state behind a message from the peer."""
        if self.state is State.HELLO_AWAITED:
            self.message_id = message.message_id
            self.reader.longest = LONGEST_FRAME
        elif self.state in _GREETING:
            self.writer.forget_written()
        if state is State.CLOSED:
            agreed = message.opcode is OpCode.BYE_RESPONSE
            self.end(Cause.AGREED if agreed else Cause.PEER_LEFT)
        else:
            self._enter(state, now)

    # ------------------------------------------------------------------ the link

    def link_opened(self, now: float) -> None:
        """The link is ready for data."""
        self._opened_at = now

    def link_failed(self, error: AmpeError, detail: str, *, answers_hello: bool = False) -> None:
        """There will be no link; `answers_hello` if that is because its address leads nowhere."""
        self.end(not_connected(error, detail, answers_hello=answers_hello))

    def link_refuses(self, error: AmpeError, detail: str) -> None:
        """The link takes nothing more, ever; what it still has to give is to be read first.

        A peer that closed in good order can be heard only by reading.
        """
        orderly = error is AmpeError.PEER_DISCONNECTED
        self._refused = ENDINGS[Cause.PEER_LEFT] if orderly else broken(error, detail)

    @property
    def may_send(self) -> bool:
        """Whether it makes sense to offer the link what is queued."""
        return self._refused is None

    def link_is_quiet(self) -> None:
        """Everything that had arrived is read, or as much of it as is of use."""
        if self._refused is not None:
            self.end(self._refused)

    def link_ended(self, error: AmpeError, detail: str) -> None:
        """The link gives nothing more, ever: the peer closed it, or it broke."""
        if self.state in _CLOSING and not self.writer.size:
            self.end(Cause.AGREED)
        elif self._refused is not None and self._refused.reset:
            self.end(self._refused)
        elif error is AmpeError.PEER_DISCONNECTED:
            self.end(Cause.PEER_LEFT)
        else:
            self.end(broken(error, detail))

    def link_is_full(self, now: float, *, taken: bool) -> None:
        """The link takes nothing now; `taken` if it had taken something since the last time."""
        if taken or self._full_since == math.inf:
            self._full_since = now

    def all_written(self, now: float) -> None:
        """The link has taken everything, having been full before."""
        self._full_since = math.inf
        self._taken_at = now

    @property
    def must_end_sending(self) -> bool:
        """Whether everything is sent that will ever be, and the peer should be told."""
        return self.state is State.FINISHING and not self.writer.size

    # ------------------------------------------------------------------ the time

    @property
    def is_at_ease(self) -> bool:
        """Whether it is open, both sides read, and nothing is half received or half sent.

        Then there is no deadline, and nothing to do but to receive and to send.
        """
        return (
            self.state is State.OPEN
            and not self.paused
            and self._full_since == math.inf
            and not self.reader.busy
        )

    def deadline(self) -> float:
        """When time will be up if nothing happens before; infinity if never."""
        state, limits = self.state, self._limits
        if self.ending is not None:
            return math.inf
        if state in _CLOSING:
            return self._entered_at + limits.close_timeout
        if self.paused:
            return self._full_since + limits.send_timeout
        if state is State.HELLO_AWAITED:
            return self._runs_from(self._made_at) + limits.hello_timeout
        if self._opened_at == math.inf:
            return self._made_at + limits.connect_timeout
        deadline = math.inf
        if self.frame_began != math.inf:
            deadline = self._runs_from(self.frame_began) + limits.frame_timeout
        if self._full_since != math.inf:
            deadline = min(deadline, self._full_since + limits.send_timeout)
        if state is State.OPEN:
            return deadline
        if state in _GREETING:
            deadline = min(deadline, self._runs_from(self._opened_at) + limits.hello_timeout)
        elif state in _BYE_UNANSWERED and self._full_since == math.inf:
            asked_at = max(self._entered_at, self._taken_at)
            deadline = min(deadline, self._runs_from(asked_at) + limits.bye_timeout)
        return deadline

    def _runs_from(self, began_at: float) -> float:
        """Since when time runs for the peer to do what it could begin then."""
        return max(began_at, self._resumed_at)

    def time_passed(self, now: float) -> None:
        """End if the deadline has passed, with the cause that it stands for."""
        if now < self.deadline():
            return
        if self.must_end_sending:
            self.end(Cause.AGREED)  # everything is out; only the peer's closing is missing
        elif self.state in _CLOSING:
            self.end(Cause.NOT_CLOSED_IN_TIME)
        elif now >= self._full_since + self._limits.send_timeout:
            self.end(Cause.NOTHING_TAKEN)
        elif self.state is State.HELLO_AWAITED:
            self.end(Cause.HELLO_LATE)
        elif self._opened_at == math.inf:
            self.end(Cause.NOT_CONNECTED_IN_TIME)
        elif now >= self._runs_from(self.frame_began) + self._limits.frame_timeout:
            self.end(Cause.FRAME_LATE)
        elif self.state in _GREETING:
            self.end(Cause.HELLO_UNANSWERED)
        else:
            self.end(Cause.BYE_UNANSWERED)
