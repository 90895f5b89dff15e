"""Conversations for tests, driven as an IO channel drives them, without one."""

from collections.abc import Sequence
from typing import Final

from pytofu.patterns.result import OK
from pytofu.protocol.conversation import Conversation, TimeLimits
from pytofu.protocol.lifecycle import State
from pytofu.values.header import BinaryHeader, OpCode
from pytofu.values.message import Message
from pytofu.values.status import AmpeError
from tests.support import Event, frame

NUMBER: Final = 4711
MESSAGE_ID: Final = 99
"""Of the HelloRequest."""

LIMITS: Final = TimeLimits(
    connect_timeout=10,
    hello_timeout=20,
    frame_timeout=30,
    send_timeout=40,
    bye_timeout=50,
    close_timeout=60,
)
"""All different, so that a deadline tells which it is."""


POSTABLE: Final[list[OpCode]] = [
    opcode for opcode in OpCode if opcode is not OpCode.WELCOME_RESPONSE
]
"""What may be posted; the engine refuses the rest before a conversation sees it."""


def message_of(opcode: OpCode, message_id: int = 1, body: bytes = b"") -> Message:
    """A message that the engine has found in order."""
    text = b"~connect_to:uds|x\r\n" if opcode is OpCode.HELLO_REQUEST else b""
    if opcode is OpCode.WELCOME_REQUEST:
        text = b"~listen_on:uds|x\r\n"
    message = Message(BinaryHeader(NUMBER, opcode, 0, message_id), text, body)
    assert message.check_and_prepare() is OK
    return message


def connecting(now: float = 0, limits: TimeLimits = LIMITS) -> Conversation:
    """One that has just been made by a HelloRequest; its link is not open yet."""
    conversation = Conversation(limits, now, accepted=False, message_id=MESSAGE_ID)
    conversation.number = NUMBER
    conversation.writer.push(message_of(OpCode.HELLO_REQUEST, MESSAGE_ID))
    return conversation


def accepted(now: float = 0, limits: TimeLimits = LIMITS) -> Conversation:
    """One that has just been accepted; its link is open."""
    conversation = Conversation(limits, now, accepted=True)
    conversation.number = NUMBER
    conversation.link_opened(now)
    return conversation


def post(
    conversation: Conversation, opcode: OpCode, message_id: int = 1, now: float = 0
) -> AmpeError | None:
    """Post a message as the engine does."""
    message = message_of(opcode, message_id)
    rule = conversation.post_rules[opcode]
    if rule is None:
        conversation.writer.push(message)
        return None
    return conversation.post(message, rule, now)


def write(conversation: Conversation, length: int = 1_000_000) -> bytes:
    """Let the link take up to so many bytes."""
    written = b""
    while conversation.writer.size and len(written) < length:
        block = bytes(conversation.writer.block()[: length - len(written)])
        conversation.writer.wrote(len(block))
        written += block
    return written


def events(messages: Sequence[Message]) -> list[Event]:
    """What the application sees."""
    return list(map(Event.of, messages))


def receive(
    conversation: Conversation, *opcodes: OpCode, now: float = 0, room: int = 99
) -> list[Event]:
    """Let messages arrive, with ids from 1 on (a HelloRequest's is its own)."""
    data = b"".join(
        frame(opcode, MESSAGE_ID if opcode is OpCode.HELLO_REQUEST else number)
        for number, opcode in enumerate(opcodes, 1)
    )
    return events(conversation.receive(data, room, now))


_WAYS: Final[dict[State, tuple[bool, str]]] = {
    State.HELLO_AWAITED: (True, ""),
    State.HELLO_RECEIVED: (True, "<HELLO_REQUEST"),
    State.HELLO_THEN_BYE_RECEIVED: (True, "<HELLO_REQUEST <BYE_REQUEST"),
    State.HELLO_SENT: (False, ""),
    State.HELLO_THEN_BYE_SENT: (False, ">BYE_REQUEST"),
    State.OPEN: (False, "<HELLO_RESPONSE"),
    State.BYE_SENT: (False, "<HELLO_RESPONSE >BYE_REQUEST"),
    State.BYE_RECEIVED: (False, "<HELLO_RESPONSE <BYE_REQUEST"),
    State.BYE_CROSSED: (False, "<HELLO_RESPONSE >BYE_REQUEST <BYE_REQUEST"),
    State.BYE_ANSWERED: (False, "<HELLO_RESPONSE <BYE_REQUEST >BYE_RESPONSE"),
    State.FINISHING: (False, "<HELLO_RESPONSE >BYE_REQUEST <BYE_REQUEST >BYE_RESPONSE"),
    State.CLOSED: (False, "<HELLO_RESPONSE <BYE_RESPONSE"),
}


def in_state(state: State, now: float = 0, limits: TimeLimits = LIMITS) -> Conversation:
    """One on which everything so far happened at once, by exchange of messages; all is written."""
    is_accepted, way = _WAYS[state]
    conversation = (accepted if is_accepted else connecting)(now, limits)
    conversation.link_opened(now)
    write(conversation)
    for step in way.split():
        opcode = OpCode[step[1:]]
        if step[0] == "<":
            assert receive(conversation, opcode, now=now)
        else:
            assert post(conversation, opcode, now=now) is None
            write(conversation)
    assert conversation.state is state
    return conversation
