"""Frames in captured bytes, and where and why bytes break the protocol (PROTOCOL 1 and 5).

This follows the tables that the engine runs on, so that what is called a violation here is what
an engine would close the channel for.
"""

from collections.abc import Iterator
from enum import Enum
from typing import Final, assert_never

import attrs

from pytofu import AmpeError, BinaryHeader, OpCode, OriginFlag, TextHeaders
from pytofu.protocol.lifecycle import State, receive_rules
from pytofu.values.header import HEADER_LEN, HEADER_STRUCT, MORE_BIT, OPCODE_BITS, ORIGIN_BIT

_PROTO_AT: Final = 2
_ANSWERS: Final = frozenset({OpCode.HELLO_RESPONSE, OpCode.BYE_RESPONSE, OpCode.BYE_SIGNAL})


class Side(Enum):
    """Who sent the bytes, as far as that is known."""

    CONNECTING = "the side that connects"
    ACCEPTING = "the side that accepts"
    UNKNOWN = "one side, in the middle of a channel"


@attrs.frozen
class Frame:
    """A whole frame."""

    offset: int
    """Of its first byte."""
    header: BinaryHeader
    text_headers: TextHeaders
    body: bytes

    @property
    def opcode(self) -> OpCode:
        """What it means."""
        return OpCode(self.header.proto_byte & OPCODE_BITS)

    @property
    def length(self) -> int:
        """Bytes of the whole frame."""
        return HEADER_LEN + self.header.text_headers_len + self.header.body_len

    @property
    def text_at(self) -> int:
        """The offset of the text headers."""
        return self.offset + HEADER_LEN

    @property
    def body_at(self) -> int:
        """The offset of the body."""
        return self.text_at + self.header.text_headers_len


@attrs.frozen
class Break:
    """Where the bytes stop making sense, and why; reading ends there."""

    offset: int
    """Of the byte that is wrong, or of the first one that is missing."""
    frame_offset: int
    """Of the frame that this is in."""
    why: str
    header: BinaryHeader | None = None
    """The header of that frame, if it is whole."""
    error: AmpeError | None = None
    """What an engine closes the channel with; None if the bytes only end too early."""


def guess_side(data: bytes) -> Side:
    """Who sent bytes that begin like this, if a channel begins with them."""
    if len(data) <= _PROTO_AT:
        return Side.UNKNOWN
    opcode = data[_PROTO_AT] & OPCODE_BITS
    if opcode == OpCode.HELLO_REQUEST:
        return Side.CONNECTING
    return Side.ACCEPTING if opcode in _ANSWERS else Side.UNKNOWN


def read_frames(data: bytes, side: Side) -> Iterator[Frame | Break]:
    """The frames that one side sent; a `Break` is the last."""
    match side:
        case Side.CONNECTING:
            state, accepted = State.HELLO_AWAITED, True
        case Side.ACCEPTING:
            state, accepted = State.HELLO_SENT, False
        case Side.UNKNOWN:
            # In the middle of a channel anything but a HelloRequest is possible.
            state, accepted = State.OPEN, False
        case _:
            assert_never(side)
    begin = 0
    while begin < len(data):
        if len(data) - begin < HEADER_LEN:
            why = f"the header has {HEADER_LEN} bytes, and only {len(data) - begin} are here"
            yield Break(len(data), begin, why)
            return
        header = BinaryHeader(*HEADER_STRUCT.unpack_from(data, begin))
        rule = receive_rules(state, accepted)[header.proto_byte]
        if isinstance(rule, AmpeError):
            why = _why(rule, header.proto_byte, state)
            yield Break(begin + _PROTO_AT, begin, why, header, rule)
            return
        text_at = begin + HEADER_LEN
        body_at = text_at + header.text_headers_len
        end = body_at + header.body_len
        if end > len(data):
            missing = "text headers" if body_at > len(data) else "body"
            at, length = (
                (text_at, header.text_headers_len)
                if body_at > len(data)
                else (body_at, header.body_len)
            )
            why = (
                f"the {missing} should have {length:,} bytes, and only {len(data) - at:,} are here"
            )
            yield Break(len(data), begin, why, header)
            return
        yield Frame(begin, header, TextHeaders(data[text_at:body_at]), data[body_at:end])
        if rule is not None:
            state = rule
        begin = end


def _why(error: AmpeError, proto: int, state: State) -> str:
    """The violation in words: the first line of PROTOCOL 5 that the proto byte breaks."""
    byte = f"the proto byte is 0x{proto:02x}"
    opcode = proto & OPCODE_BITS
    if opcode > OpCode.WELCOME_RESPONSE:
        return f"{byte}, opcode {opcode}; there are opcodes 0 to {OpCode.WELCOME_RESPONSE.value}"
    name = OpCode(opcode).name
    match error:
        case AmpeError.INVALID_OP_CODE:
            return f"{byte}, {name}, which is for a program's own engine and never travels"
        case AmpeError.INVALID_MESSAGE:
            return f"{byte}: its bit 4 says that an engine made this {name}, which never travels"
        case AmpeError.INVALID_MORE_USAGE:
            return f"{byte}: its bit 5 says that more follows, which a {name} cannot say"
        case _:
            return f"{byte}, {name}, {_NOT_NOW[state]}"


_NOT_NOW: Final = {
    State.HELLO_AWAITED: "where the first message has to be a HELLO_REQUEST",
    State.HELLO_SENT: "where the first message has to answer the HELLO_REQUEST",
    State.HELLO_RECEIVED: "which is not allowed behind a HELLO_REQUEST",
    State.OPEN: "which is not allowed in the middle of a channel",
    State.HELLO_THEN_BYE_RECEIVED: "which is not allowed behind a BYE_REQUEST",
    State.BYE_RECEIVED: "which is not allowed behind a BYE_REQUEST",
    State.CLOSED: "behind the end of the channel",
}


def describe_header(header: BinaryHeader) -> str:
    """The fields of a header in a line, without opcode and lengths."""
    origin = OriginFlag.ENGINE if header.proto_byte & ORIGIN_BIT else OriginFlag.APPLICATION
    return (
        f"channel {header.channel_number}, id {header.message_id}, from {origin.name.lower()},"
        f" status {header.status}{', more follows' if header.proto_byte & MORE_BIT else ''}"
    )


def hex_dump(data: bytes, offset: int = 0) -> Iterator[str]:
    """Lines of sixteen bytes: offset, hexadecimal, and what prints."""
    for begin in range(0, len(data), 16):
        line = data[begin : begin + 16]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in line)
        yield f"{offset + begin:04x}  {line.hex(' '):47}  {text}"
