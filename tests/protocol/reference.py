"""PROTOCOL 3 to 5 written down a second time, by hand, for the tests to compare with.

Nothing here comes from the tables in `pytofu.protocol.lifecycle`: the grids are the text of the
protocol state by state, `receive_rule` is section 5 line by line, and `cut` is the plainest
possible reader, which has all the bytes at once.
"""
# ruff: noqa: E501 (a table that is cut in two is none)

import struct
from typing import Final, NamedTuple

from pytofu.protocol.lifecycle import Posting, PostRule, Rule, State
from pytofu.values.header import OpCode
from pytofu.values.message import Message
from pytofu.values.status import AmpeError

# What a received message does, without flags: "=" is delivered and nothing changes, "-" is not
# allowed, a name is the state entered behind it. HelloResponse is as seen by the connecting side.
_RECEIVE_GRID: Final = """
                        | Request Response Signal HelloRequest   HelloResponse ByeRequest              ByeResponse ByeSignal
HELLO_AWAITED           | -       -        -      HELLO_RECEIVED -             -                       -           -
HELLO_RECEIVED          | =       =        =      -              =             HELLO_THEN_BYE_RECEIVED CLOSED      CLOSED
HELLO_THEN_BYE_RECEIVED | =       =        =      -              =             =                       CLOSED      CLOSED
HELLO_SENT              | -       -        -      -              OPEN          -                       CLOSED      CLOSED
HELLO_THEN_BYE_SENT     | -       -        -      -              BYE_SENT      -                       CLOSED      CLOSED
OPEN                    | =       =        =      -              =             BYE_RECEIVED            CLOSED      CLOSED
BYE_SENT                | =       =        =      -              =             BYE_CROSSED             CLOSED      CLOSED
BYE_RECEIVED            | =       =        =      -              =             =                       CLOSED      CLOSED
BYE_CROSSED             | =       =        =      -              =             =                       CLOSED      CLOSED
BYE_ANSWERED            | =       =        =      -              =             =                       CLOSED      CLOSED
FINISHING               | -       -        -      -              -             -                       -           -
CLOSED                  | -       -        -      -              -             -                       -           -
"""

# What a posted message does: "=" is sent and nothing changes, a state is entered and the message
# sent, the rest are members of `Posting`. HelloResponse is as posted by the accepted side. The
# engine refuses WelcomeResponse before anybody looks here.
_POST_GRID: Final = """
                        | Request Response Signal HelloRequest HelloResponse ByeRequest          ByeResponse  ByeSignal WelcomeRequest
HELLO_AWAITED           | refuse  refuse   refuse deny         refuse        refuse              refuse       abort     refuse
HELLO_RECEIVED          | refuse  refuse   refuse deny         OPEN          refuse              BYE_ANSWERED abort     refuse
HELLO_THEN_BYE_RECEIVED | refuse  refuse   refuse deny         BYE_RECEIVED  refuse              BYE_ANSWERED abort     refuse
HELLO_SENT              | =       =        =      deny         return        HELLO_THEN_BYE_SENT return       abort     refuse
HELLO_THEN_BYE_SENT     | return  return   return deny         return        return              return       abort     refuse
OPEN                    | =       =        =      deny         =             BYE_SENT            BYE_ANSWERED abort     refuse
BYE_SENT                | return  return   return deny         return        return              return       abort     refuse
BYE_RECEIVED            | =       =        =      deny         =             BYE_CROSSED         BYE_ANSWERED abort     refuse
BYE_CROSSED             | return  return   return deny         return        return              FINISHING    abort     refuse
BYE_ANSWERED            | return  return   return deny         return        return              return       abort     refuse
FINISHING               | return  return   return deny         return        return              return       abort     refuse
CLOSED                  | return  return   return deny         return        return              return       abort     refuse
"""


def _cells(grid: str) -> dict[State, list[str]]:
    _, *lines = grid.strip("\n").splitlines()
    named = (line.partition("|") for line in lines)
    return {State[name.strip()]: cells.split() for name, _, cells in named}


_RECEIVE_CELLS: Final = _cells(_RECEIVE_GRID)
_POST_CELLS: Final = _cells(_POST_GRID)


def receive_rule(state: State, accepted: bool, proto: int) -> Rule:
    """What a received proto byte does: PROTOCOL 5, the first of its lines that is broken."""
    opcode, from_engine, more = proto & 15, proto >> 4 & 1, proto >> 5 & 1
    if opcode >= 10 or opcode in {8, 9}:
        return AmpeError.INVALID_OP_CODE
    if from_engine:
        return AmpeError.INVALID_MESSAGE
    if more and opcode not in {0, 1, 2}:
        return AmpeError.INVALID_MORE_USAGE
    cell = _RECEIVE_CELLS[state][opcode]
    if cell == "-" or (accepted and opcode == 4):
        return AmpeError.NOT_ALLOWED
    return None if cell == "=" else State[cell]


def post_rule(state: State, accepted: bool, opcode: OpCode) -> PostRule:
    """What a posted opcode other than WelcomeResponse does."""
    if opcode == 4 and not accepted:
        return Posting.REFUSE
    match _POST_CELLS[state][opcode]:
        case "=":
            return None
        case "return" | "deny" | "abort" | "refuse" as name:
            return Posting[name.upper()]
        case name:
            return State[name]


class Seen(NamedTuple):
    """What counts of a message between two applications."""

    opcode: int
    more: bool
    message_id: int
    text: bytes
    body: bytes

    @classmethod
    def of(cls, message: Message) -> "Seen":
        """What an application sees of a received message."""
        return cls(
            message.opcode,
            message.has_more(),
            message.message_id,
            message.text_headers.to_bytes(),
            message.payload,
        )


class Outcome(NamedTuple):
    """What the bytes of a channel come to."""

    messages: list[Seen]
    violation: AmpeError | None
    state: State
    partial: bool
    """Whether they end in the middle of a frame."""


def without_local_lines(text: bytes) -> bytes:
    """PROTOCOL 5: the text headers without the lines that only the local engine may write."""
    kept = b""
    while text:
        end = text.find(b"\r\n") + 2
        line, text = (text[:end], text[end:]) if end >= 2 else (text, b"")
        if line.removesuffix(b"\r\n").split(b":")[0] not in {b"~reason", b"~detail"}:
            kept += line
    return kept


def cut(data: bytes, state: State, accepted: bool) -> Outcome:
    """The outcome of all bytes of a channel that is in this state when the first one comes."""
    messages: list[Seen] = []
    while len(data) >= 16:
        _, proto, _, message_id, text_len, body_len = struct.unpack(">HBBQHH", data[:16])
        rule = receive_rule(state, accepted, proto)
        if isinstance(rule, AmpeError):
            return Outcome(messages, rule, state, partial=False)
        frame, data_behind = data[: 16 + text_len + body_len], data[16 + text_len + body_len :]
        if len(frame) < 16 + text_len + body_len:
            break
        text, body = frame[16 : 16 + text_len], frame[16 + text_len :]
        text = without_local_lines(text)
        messages.append(Seen(proto & 15, bool(proto & 32), message_id, text, body))
        data = data_behind
        if rule is not None:
            state = rule
            if state is State.CLOSED:
                return Outcome(messages, None, state, partial=False)
    return Outcome(messages, None, state, partial=bool(data))
