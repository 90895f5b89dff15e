"""What a channel may do next: PROTOCOL 3 to 5 as tables.

A channel has a `State`. Two tables move it on: `RECEIVED` for messages from the peer, `POSTED` for
messages from this side's application. The diagram in the documentation is drawn from them, and
the engine runs on the same tables laid out by proto byte and by opcode (`receive_rules`,
`post_rules`), so that an ordinary message costs one look-up.
"""

from collections.abc import Mapping
from enum import Enum, auto
from functools import cache
from typing import Final

from pytofu.values.header import MORE_BIT, OPCODE_BITS, ORIGIN_BIT, OpCode
from pytofu.values.status import AmpeError


class State(Enum):
    """Where in its life an IO channel is."""

    HELLO_AWAITED = auto()
    """Accepted; the peer's HelloRequest has not come yet."""
    HELLO_RECEIVED = auto()
    """The peer's HelloRequest is here and not answered yet: nothing but the answer may go out."""
    HELLO_THEN_BYE_RECEIVED = auto()
    """As HELLO_RECEIVED, with the peer's ByeRequest behind its HelloRequest."""
    HELLO_SENT = auto()
    """Connecting, or connected and waiting for the answer to our HelloRequest."""
    HELLO_THEN_BYE_SENT = auto()
    """As HELLO_SENT, with a ByeRequest posted behind the HelloRequest."""
    OPEN = auto()
    """Both sides may send anything."""
    BYE_SENT = auto()
    """Our ByeRequest is posted; the peer may send on until its ByeResponse."""
    BYE_RECEIVED = auto()
    """The peer's ByeRequest is here; we may send on until our ByeResponse."""
    BYE_CROSSED = auto()
    """ByeRequests have gone both ways."""
    BYE_ANSWERED = auto()
    """Our ByeResponse is posted; the peer closes."""
    FINISHING = auto()
    """Nothing more is sent but what is queued, nothing more delivered; then this side closes."""
    CLOSED = auto()
    """Over."""


# Enum's own is a function in Python, and tables are asked often.
State.__hash__ = object.__hash__  # type: ignore[method-assign]


class Posting(Enum):
    """What becomes of a posted message that does not go out."""

    RETURN = auto()
    """Comes back at once with channel_closed: behind a Bye nothing is sent."""
    ABORT = auto()
    """Closes the channel at once, and comes back first."""
    DENY = auto()
    """A HelloRequest on a channel that had one: comes back as a HelloResponse with
    invalid_channel_number, and the channel closes."""
    REFUSE = auto()
    """`post` fails with not_allowed: a correct peer would punish it."""


type Rule = State | AmpeError | None
"""What a received message does: a violation closes the channel, a state is entered behind the
message, None leaves the state as it is."""

type PostRule = State | Posting | None
"""What a posted message does: a state is entered and the message sent, None just sends it."""


def _regular(state: State) -> dict[OpCode, State]:
    return {OpCode.REQUEST: state, OpCode.RESPONSE: state, OpCode.SIGNAL: state}


def _until_closed(state: State, bye: State) -> dict[OpCode, State]:
    """What the peer may send once it has greeted: ByeRequest leads to `bye`."""
    return {
        **_regular(state),
        OpCode.HELLO_RESPONSE: state,
        OpCode.BYE_REQUEST: bye,
        **_ENDS,
    }


_ENDS: Final = {OpCode.BYE_RESPONSE: State.CLOSED, OpCode.BYE_SIGNAL: State.CLOSED}

RECEIVED: Final[Mapping[State, Mapping[OpCode, State]]] = {
    State.HELLO_AWAITED: {OpCode.HELLO_REQUEST: State.HELLO_RECEIVED},
    State.HELLO_RECEIVED: _until_closed(State.HELLO_RECEIVED, State.HELLO_THEN_BYE_RECEIVED),
    State.HELLO_THEN_BYE_RECEIVED: _until_closed(
        State.HELLO_THEN_BYE_RECEIVED, State.HELLO_THEN_BYE_RECEIVED
    ),
    State.HELLO_SENT: {OpCode.HELLO_RESPONSE: State.OPEN, **_ENDS},
    State.HELLO_THEN_BYE_SENT: {OpCode.HELLO_RESPONSE: State.BYE_SENT, **_ENDS},
    State.OPEN: _until_closed(State.OPEN, State.BYE_RECEIVED),
    State.BYE_SENT: _until_closed(State.BYE_SENT, State.BYE_CROSSED),
    State.BYE_RECEIVED: _until_closed(State.BYE_RECEIVED, State.BYE_RECEIVED),
    State.BYE_CROSSED: _until_closed(State.BYE_CROSSED, State.BYE_CROSSED),
    State.BYE_ANSWERED: _until_closed(State.BYE_ANSWERED, State.BYE_ANSWERED),
    State.FINISHING: {},
    State.CLOSED: {},
}
"""Received message -> state behind it. What is not listed is not allowed and closes the channel;
on an accepted channel HelloResponse is not allowed either, whatever the state."""

_EVERYTHING_REFUSED: Final[Mapping[OpCode, Posting]] = dict.fromkeys(
    (
        *(OpCode.REQUEST, OpCode.RESPONSE, OpCode.SIGNAL),
        *(OpCode.HELLO_RESPONSE, OpCode.BYE_REQUEST, OpCode.BYE_RESPONSE),
    ),
    Posting.REFUSE,
)

POSTED: Final[Mapping[State, Mapping[OpCode, State | Posting]]] = {
    State.HELLO_AWAITED: _EVERYTHING_REFUSED,
    State.HELLO_RECEIVED: {
        **_EVERYTHING_REFUSED,
        OpCode.HELLO_RESPONSE: State.OPEN,
        OpCode.BYE_RESPONSE: State.BYE_ANSWERED,
    },
    State.HELLO_THEN_BYE_RECEIVED: {
        **_EVERYTHING_REFUSED,
        OpCode.HELLO_RESPONSE: State.BYE_RECEIVED,
        OpCode.BYE_RESPONSE: State.BYE_ANSWERED,
    },
    State.HELLO_SENT: {
        **_regular(State.HELLO_SENT),
        OpCode.BYE_REQUEST: State.HELLO_THEN_BYE_SENT,
    },
    State.HELLO_THEN_BYE_SENT: {},
    State.OPEN: {
        **_regular(State.OPEN),
        OpCode.HELLO_RESPONSE: State.OPEN,
        OpCode.BYE_REQUEST: State.BYE_SENT,
        OpCode.BYE_RESPONSE: State.BYE_ANSWERED,
    },
    State.BYE_SENT: {},
    State.BYE_RECEIVED: {
        **_regular(State.BYE_RECEIVED),
        OpCode.HELLO_RESPONSE: State.BYE_RECEIVED,
        OpCode.BYE_REQUEST: State.BYE_CROSSED,
        OpCode.BYE_RESPONSE: State.BYE_ANSWERED,
    },
    State.BYE_CROSSED: {OpCode.BYE_RESPONSE: State.FINISHING},
    State.BYE_ANSWERED: {},
    State.FINISHING: {},
    State.CLOSED: {},
}
"""Posted message -> state behind it. What is not listed comes back at once, except for the three
opcodes that mean the same in every state (`_EVERYWHERE`); on a connecting channel HelloResponse is
refused, whatever the state."""

_EVERYWHERE: Final = {
    OpCode.BYE_SIGNAL: Posting.ABORT,
    OpCode.HELLO_REQUEST: Posting.DENY,
    OpCode.WELCOME_REQUEST: Posting.REFUSE,
}


def _receive_rule(state: State, accepted: bool, proto: int) -> Rule:
    """The rule for one proto byte; the first line of PROTOCOL 5 that it breaks is its violation."""
    opcode = proto & OPCODE_BITS
    if opcode > OpCode.BYE_SIGNAL:  # 10-15, and the two Welcomes, which never travel
        return AmpeError.INVALID_OP_CODE
    if proto & ORIGIN_BIT:
        return AmpeError.INVALID_MESSAGE
    if proto & MORE_BIT and opcode > OpCode.SIGNAL:
        return AmpeError.INVALID_MORE_USAGE
    if opcode == OpCode.HELLO_RESPONSE and accepted:
        return AmpeError.NOT_ALLOWED
    new_state = RECEIVED[state].get(OpCode(opcode))
    if new_state is None:
        return AmpeError.NOT_ALLOWED
    return None if new_state is state else new_state


def _post_rule(state: State, accepted: bool, opcode: OpCode) -> PostRule:
    if opcode in _EVERYWHERE:
        return _EVERYWHERE[opcode]
    if opcode is OpCode.HELLO_RESPONSE and not accepted:
        return Posting.REFUSE
    rule = POSTED[state].get(opcode, Posting.RETURN)
    return None if rule is state else rule


@cache
def receive_rules(state: State, accepted: bool) -> tuple[Rule, ...]:
    """The rule for each of the 256 proto bytes, on an accepted or on a connecting channel."""
    return tuple(_receive_rule(state, accepted, proto) for proto in range(256))


listener_post_rules: Final[tuple[PostRule, ...]] = tuple(
    Posting.ABORT if opcode is OpCode.BYE_SIGNAL else Posting.REFUSE for opcode in OpCode
)
"""The rules of a listener: nothing can be sent there, and ByeSignal closes it."""


@cache
def post_rules(state: State, accepted: bool) -> tuple[PostRule, ...]:
    """The rule for each opcode; the engine refuses WelcomeResponse before it looks here."""
    return tuple(_post_rule(state, accepted, opcode) for opcode in OpCode)
