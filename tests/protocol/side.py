"""One side of a link and everything that can happen to it, for `test_search`.

A `Side` is a tuple: a conversation, what is known of it, and what it must give back. An action is
played on a copy of the real conversation (`play`), which is compared with what is known; `Wrong` is
raised where they differ.

Left out is what the tables do not look at: bodies and ids (all messages of one opcode are the
same), pieces of messages, and the clock. Everything happens at the moment 0, and time passes by
jumping to a deadline: so every limit can strike whenever it runs.
"""

import math
from typing import Any, Final, NamedTuple

import attrs

from pytofu.protocol.conversation import Conversation
from pytofu.protocol.ending import ENDINGS, Cause, Ending
from pytofu.protocol.lifecycle import Posting, State
from pytofu.values.header import OpCode
from pytofu.values.message import Message
from pytofu.values.status import AmpeError
from tests.protocol.conversations import MESSAGE_ID, POSTABLE, accepted, connecting, message_of
from tests.protocol.frozen import Frozen, freeze, thaw

MESSAGES: Final[dict[OpCode, Message]] = {
    opcode: message_of(opcode, MESSAGE_ID) for opcode in POSTABLE
}
FRAMES: Final[dict[OpCode, bytes]] = {
    opcode: message.to_bytes() for opcode, message in MESSAGES.items()
}


class Wrong(AssertionError):
    """Something is so that must not be."""


def check(condition: bool, what: str) -> None:
    """Raise `Wrong` unless it is so."""
    if not condition:
        raise Wrong(what)


class Side(NamedTuple):
    """One side of a link."""

    conversation: Frozen | None
    """None before it has begun, and after it is over."""
    over: bool = False
    lossy: bool = False
    """Whether the application has left or aborted, a limit was reached, or the link failed: then
    what is on the way to it may be lost."""
    agreed: bool = False
    """Whether it is over by agreement."""
    queued: tuple[OpCode, ...] = ()
    """Posted and not written."""
    kept: tuple[OpCode, ...] = ()
    """Written, and to come back if the peer never answers."""
    unread: tuple[OpCode, ...] = ()
    """Has come, and there is no room for it."""
    linked: bool = False
    """Whether there is a link."""
    said: str = ""
    """What its link says behind all that was written: "closed" or "reset"."""


CONNECTING: Final = Side(freeze(connecting()), queued=(OpCode.HELLO_REQUEST,))
NOT_BEGUN: Final = Side(None)
ACCEPTED: Final = Side(freeze(accepted()), linked=True)


class Action(NamedTuple):
    """The name of a method of `Play`, and its argument."""

    name: str
    what: Any = None

    def __str__(self) -> str:
        words = self.name.replace("_", " ")
        return words if self.what is None else f"{words}: {getattr(self.what, 'name', self.what)}"


def play(side: Side, action: Action) -> Side:
    """The side behind an action."""
    assert side.conversation is not None
    work = Play(thaw(side.conversation), side)
    if action.what is None:
        getattr(work, action.name)()
    else:
        getattr(work, action.name)(action.what)
    return work.done()


@attrs.define
class Play:
    """A side at work."""

    conversation: Conversation
    me: Side
    first_back: tuple[OpCode, ...] = ()
    """What comes back before all else, if this is the end."""

    def note(self, **changes: Any) -> None:
        """Change what is known of this side."""
        self.me = self.me._replace(**changes)

    def done(self) -> Side:
        """The side behind this action."""
        conversation = self.conversation
        if conversation.ending is not None:
            return self._finished(conversation.ending)
        if conversation.must_end_sending and self.me.linked:
            self.note(said="closed")
        check(not conversation.take_returned(), "something comes back unasked")
        check(conversation.unread == bool(self.me.unread), "what is unread was read or dropped")
        return self.me._replace(conversation=freeze(conversation))

    def _finished(self, ending: Ending) -> Side:
        conversation, me = self.conversation, self.me
        lossy = me.lossy or ending.reset or ending.by_limit
        check(lossy or not me.unread, "it ends and does not read what has come")
        for too_late in (
            lambda: conversation.end(Cause.DEFECT),
            lambda: conversation.close(0),
            lambda: conversation.receive(FRAMES[OpCode.BYE_REQUEST], 9, 0),
            lambda: conversation.link_refuses(AmpeError.COMMUNICATION_FAILED, ""),
            conversation.link_is_quiet,
            lambda: conversation.link_ended(AmpeError.COMMUNICATION_FAILED, ""),
            lambda: conversation.time_passed(1e18),
        ):
            too_late()
            check(conversation.ending is ending, "its ending changes")
            check(conversation.state is State.CLOSED, "it is not over")
        check(conversation.deadline() == math.inf, "its time runs on")
        unanswered = ending.unanswered
        back = [*self.first_back, *(me.kept if unanswered else ()), *me.queued]
        if ending.answers_hello:
            back[0] = OpCode.HELLO_RESPONSE
        *found, last = (message.opcode for message in conversation.last_messages())
        check(found == back, f"{found} comes back, and not {back}")
        check(last is OpCode.SIGNAL, "there is no last event")
        said = "reset" if ending.reset else "closed"
        # In crossed byes one may have closed before it can take the other's answer.
        agreed = ending is ENDINGS[Cause.AGREED] or back == [OpCode.BYE_RESPONSE]
        return Side(None, True, lossy=lossy, agreed=agreed, linked=me.linked, said=said)

    # ------------------------------------------------------------------ the application

    def post(self, opcode: OpCode) -> None:
        """Post a message; what becomes of it is what its rule says."""
        conversation, message = self.conversation, MESSAGES[opcode]
        before = conversation.state
        rule = conversation.post_rules[opcode]
        if rule is None:
            conversation.writer.push(message)
            self.note(queued=(*self.me.queued, opcode))
            return
        error = conversation.post(message, rule, 0)
        check((error is not None) == (rule is Posting.REFUSE), "it is refused, or it is not")
        match rule:
            case State():
                check(conversation.state is rule, "the state is another one")
                self.note(queued=(*self.me.queued, opcode))
                self._drop_unread()
            case Posting.REFUSE | Posting.RETURN:
                back = [message.opcode for message in conversation.take_returned()]
                check(back == ([] if error else [opcode]), f"{back} comes back")
                check(conversation.state is before, "the state changes without a message")
            case Posting.ABORT:
                self.first_back = (OpCode.BYE_SIGNAL,)
            case Posting.DENY:
                self.first_back = (OpCode.HELLO_RESPONSE,)

    def close(self) -> None:
        """The application leaves."""
        self.note(lossy=True)
        self.conversation.close(0)
        self._drop_unread()

    def abort(self) -> None:
        """The application leaves at once, by an exception."""
        self.conversation.end(Cause.ABORTED)

    def make_room(self) -> None:
        """The application takes messages, and what has come can be read."""
        conversation, unread = self.conversation, self.me.unread
        found = [message.opcode for message in conversation.read(9, 0)]
        self.note(unread=())
        self._check_delivered(found, unread)
        conversation.resume(0)

    def _drop_unread(self) -> None:
        if self.conversation.state is State.FINISHING:
            self._check_not_missed(*self.me.unread)
            self.note(unread=())

    # ------------------------------------------------------------------ the link

    def link_opens(self) -> None:
        """There is a link."""
        self.conversation.link_opened(0)
        self.note(linked=True)

    def link_fails(self, answers_hello: bool) -> None:
        """There will be no link."""
        self.note(lossy=True)
        self.conversation.link_failed(AmpeError.CONNECT_FAILED, "", answers_hello=answers_hello)

    def write(self) -> None:
        """The link takes the next message."""
        writer = self.conversation.writer
        opcode, *queued = self.me.queued
        frame = FRAMES[opcode]
        check(bytes(writer.block()[: len(frame)]) == frame, "another message is sent")
        check(writer.wrote(len(frame)) == 1, "it does not count as sent")
        kept = (*self.me.kept, opcode) if writer.held > writer.size else ()
        self.note(queued=tuple(queued), kept=kept)
        if not queued:
            self.conversation.all_written(0)

    def find_it_full(self) -> None:
        """The link takes nothing now."""
        self.conversation.link_is_full(0, taken=False)

    def find_it_refuses(self, said: str) -> None:
        """The link takes nothing more, ever."""
        self.conversation.link_refuses(_error(said), "")

    def read(self, opcode: OpCode) -> None:
        """The next message comes."""
        finishing = self.conversation.state is State.FINISHING
        found = [message.opcode for message in self.conversation.receive(FRAMES[opcode], 9, 0)]
        if finishing:
            self._check_not_missed(opcode)
            check(not found, "it is delivered to one that has left")
        else:
            self._check_delivered(found, (opcode,))

    def read_without_room(self, opcode: OpCode) -> None:
        """The next message comes, and there is no room for it."""
        check(not self.conversation.receive(FRAMES[opcode], 0, 0), "it needs no room")
        if self.conversation.state is State.FINISHING:
            self._check_not_missed(opcode)
        else:
            self.note(unread=(opcode,))
            self.conversation.pause()

    def _check_delivered(self, found: list[OpCode], came: tuple[OpCode, ...]) -> None:
        check(self.conversation.reader.violation is None, f"{came} is a violation")
        check(found == list(came), f"{came} is lost")
        self.note(kept=())

    def _check_not_missed(self, *dropped: OpCode) -> None:
        # Who has answered in crossed byes waits for no answer.
        check(self.me.lossy or set(dropped) <= {OpCode.BYE_RESPONSE}, f"{dropped} is dropped")

    def read_the_end(self, said: str) -> None:
        """See how the link has ended."""
        self.conversation.link_ended(_error(said), "")
        check(self.conversation.ending is not None, "it does not end with its link")

    def read_nothing(self) -> None:
        """Find that nothing has come."""
        self.conversation.link_is_quiet()

    # ------------------------------------------------------------------ the time

    def wait(self) -> None:
        """Time passes until the deadline."""
        conversation = self.conversation
        self.note(lossy=True)
        conversation.time_passed(conversation.deadline())
        check(conversation.ending is not None, "a deadline passes, and nothing happens")


def _error(said: str) -> AmpeError:
    return AmpeError.PEER_DISCONNECTED if said == "closed" else AmpeError.COMMUNICATION_FAILED
