"""The binary header: the sixteen bytes in front of every message (PROTOCOL 1).

`OpCode` says what a message means, `ProtoFields` is the byte it travels in, `BinaryHeader` the
whole header. The proto byte is looked up, never computed: all 256 values are laid out once.
"""

import struct
from enum import IntEnum
from typing import TYPE_CHECKING, Final, Self

import attrs

from pytofu._choice import compiled, twin
from pytofu.patterns.arguments import as_bytes, must_be, shown, whole_number
from pytofu.patterns.result import Err, Ok, Result
from pytofu.values.errors import AmpeException
from pytofu.values.status import AmpeError, AmpeStatus

HEADER_LEN: Final = 16
"""Bytes in a binary header."""

MAX_MESSAGE_ID: Final = 2**64 - 1

MAX_PART_LEN: Final = 65535
"""The most bytes that the text headers, or the body, of one message can have."""

HEADER_STRUCT: Final = struct.Struct(">HBBQHH")
"""channel_number, proto byte, status, message_id, text_headers_len, body_len: big-endian."""

OPCODE_BITS: Final = 0b0000_1111
ORIGIN_BIT: Final = 0b0001_0000
MORE_BIT: Final = 0b0010_0000


class MessageType(IntEnum):
    """What part of a channel's life a message belongs to (PROTOCOL 1)."""

    REGULAR = 0
    WELCOME = 1
    HELLO = 2
    BYE = 3


class MessageRole(IntEnum):
    """Whether a message asks, answers, or does neither (PROTOCOL 1)."""

    REQUEST = 0
    RESPONSE = 1
    SIGNAL = 2


class OriginFlag(IntEnum):
    """Who made a message: an application, or the engine on this side (PROTOCOL 1)."""

    APPLICATION = 0
    ENGINE = 1


class MoreMessagesFlag(IntEnum):
    """Whether more messages with the same message_id follow (PROTOCOL 1)."""

    LAST = 0
    MORE = 1


class OpCode(IntEnum):
    """What a message means; the low four bits of the proto byte (PROTOCOL 1)."""

    REQUEST = 0
    RESPONSE = 1
    SIGNAL = 2
    HELLO_REQUEST = 3
    HELLO_RESPONSE = 4
    BYE_REQUEST = 5
    BYE_RESPONSE = 6
    BYE_SIGNAL = 7
    WELCOME_REQUEST = 8
    WELCOME_RESPONSE = 9

    @property
    def type(self) -> MessageType:
        """The part of a channel's life this opcode belongs to."""
        return _TYPES[self]

    @property
    def role(self) -> MessageRole:
        """Whether this opcode asks, answers, or does neither."""
        return _ROLES[self]

    def echo(self) -> "Result[OpCode, AmpeError]":
        """The opcode that answers this one: a request's response, SIGNAL for SIGNAL.

        Everything else has no answer: `Err(AmpeError.INVALID_OP_CODE)`.
        """
        if self is OpCode.SIGNAL:
            return Ok(OpCode.SIGNAL)
        if self.role is MessageRole.REQUEST:
            return Ok(OpCode(self + 1))
        return Err(AmpeError.INVALID_OP_CODE)


_TYPES: Final = (
    *(MessageType.REGULAR,) * 3,
    *(MessageType.HELLO,) * 2,
    *(MessageType.BYE,) * 3,
    *(MessageType.WELCOME,) * 2,
)
_ROLES: Final = (
    *(MessageRole.REQUEST, MessageRole.RESPONSE, MessageRole.SIGNAL),
    *(MessageRole.REQUEST, MessageRole.RESPONSE),
    *(MessageRole.REQUEST, MessageRole.RESPONSE, MessageRole.SIGNAL),
    *(MessageRole.REQUEST, MessageRole.RESPONSE),
)


@attrs.frozen
class ProtoFields:
    """The proto byte, field by field (PROTOCOL 1). Immutable; `attrs.evolve` makes a changed one.

    The internal bits belong to the engines: they are cleared on everything pytofu sends and
    ignored on what it receives.
    """

    opcode: OpCode = attrs.field(converter=OpCode)
    origin: OriginFlag = attrs.field(default=OriginFlag.APPLICATION, converter=OriginFlag)
    more: MoreMessagesFlag = attrs.field(default=MoreMessagesFlag.LAST, converter=MoreMessagesFlag)
    internal_a: bool = attrs.field(default=False, converter=bool)
    internal_b: bool = attrs.field(default=False, converter=bool)

    @classmethod
    def default(cls, opcode: OpCode) -> Self:
        """The fields of a new message with this opcode; BYE_SIGNAL has internal A set."""
        return cls(opcode, internal_a=opcode == OpCode.BYE_SIGNAL)

    def to_byte(self) -> int:
        """The byte on the wire, 0-255."""
        return (
            self.opcode
            | self.origin << 4
            | self.more << 5
            | self.internal_a << 6
            | self.internal_b << 7
        )

    @staticmethod
    def from_byte(byte: int) -> "Result[ProtoFields, AmpeError]":
        """Read a byte; opcodes 10-15 are `Err(AmpeError.INVALID_OP_CODE)`.

        Raises `TypeError` for what is no whole number, `ValueError` for one outside of 0 to 255.
        """
        return _PROTO_FIELDS[in_a_byte("byte", byte)]


def byte_of(fields: ProtoFields) -> int:
    """The byte of what a program gives as fields. Raises `TypeError` for what are none."""
    must_be("BinaryHeader.proto", "ProtoFields", ProtoFields, fields)
    return fields.to_byte()


def in_a_byte(what: str, number: int) -> int:
    """A whole number from 0 to 255. Raises `TypeError` or `ValueError`."""
    if not 0 <= (byte := whole_number(what, number)) <= 255:
        raise ValueError(f"{what} is 0 to 255, not {byte}")
    return byte


def _read_proto_byte(byte: int) -> Result[ProtoFields, AmpeError]:
    opcode = byte & OPCODE_BITS
    if opcode > OpCode.WELCOME_RESPONSE:
        return Err(AmpeError.INVALID_OP_CODE)
    return Ok(ProtoFields(opcode, byte >> 4 & 1, byte >> 5 & 1, byte >> 6 & 1, byte >> 7 & 1))


_PROTO_FIELDS: Final = tuple(map(_read_proto_byte, range(256)))

_FIELDS: Final = (
    *("channel_number", "proto_byte", "status", "message_id"),
    *("text_headers_len", "body_len"),
)  # in the order of the wire

_LARGEST: Final = (65535, 255, 255, MAX_MESSAGE_ID, MAX_PART_LEN, MAX_PART_LEN)


def out_of_range(fields: tuple[int, ...]) -> ValueError:
    """The exception (not raised) for the first field of a header that has no room on the wire."""
    name, value, largest = next(
        one for one in zip(_FIELDS, fields, _LARGEST, strict=True) if not 0 <= one[1] <= one[2]
    )
    return ValueError(f"BinaryHeader.{name} is 0 to {largest}, not {shown(value)}")


class BinaryHeader:
    """The sixteen bytes in front of a message, field by field; every attribute can be written.

    channel_number (0-65535), proto (fields, or the byte as an int, which is what is stored:
    `proto_byte`), status (0-255, an `AmpeStatus` or any other byte), message_id (0 to 2**64-1,
    0 = not set), text_headers_len and body_len (bytes, 0-65535). Equality compares all six
    fields. PROTOCOL 1.
    """

    __slots__ = (
        "body_len",
        "channel_number",
        "message_id",
        "proto_byte",
        "status",
        "text_headers_len",
    )

    channel_number: int
    proto_byte: int
    status: int
    message_id: int
    text_headers_len: int
    body_len: int

    def __init__(
        self,
        channel_number: int = 0,
        proto: ProtoFields | int = 0,
        status: int = AmpeStatus.SUCCESS,
        message_id: int = 0,
        text_headers_len: int = 0,
        body_len: int = 0,
    ) -> None:
        self.channel_number = channel_number
        self.proto_byte = proto if isinstance(proto, int) else byte_of(proto)
        self.status = status
        self.message_id = message_id
        self.text_headers_len = text_headers_len
        self.body_len = body_len

    @property
    def proto(self) -> ProtoFields:
        """The proto byte as fields.

        Reading an opcode of 10-15 raises `AmpeException` (INVALID_OP_CODE); `from_bytes` never
        makes such a header.
        """
        result = ProtoFields.from_byte(self.proto_byte)
        if isinstance(result, Err):
            raise AmpeException.from_error(result.error)
        return result.value

    @proto.setter
    def proto(self, fields: ProtoFields) -> None:
        self.proto_byte = byte_of(fields)

    def _fields(self) -> tuple[int, int, int, int, int, int]:
        return (
            self.channel_number,
            self.proto_byte,
            self.status,
            self.message_id,
            self.text_headers_len,
            self.body_len,
        )

    def to_bytes(self) -> bytes:
        """The header as it goes on the wire, 16 bytes.

        Raises `ValueError` for fields out of range, `TypeError` for those that are no numbers.
        """
        try:
            return HEADER_STRUCT.pack(*self._fields())
        except struct.error:
            self.check_numbers()
            raise out_of_range(self._fields()) from None

    def check_numbers(self) -> None:
        """Raise `TypeError` for a field that is no whole number: any may be written into it."""
        for name, value in zip(_FIELDS, self._fields(), strict=True):
            whole_number(f"BinaryHeader.{name}", value)

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> Self:
        """Read the first 16 bytes of `data`.

        Raises `AmpeException`: INVALID_MESSAGE when there are fewer, INVALID_OP_CODE when the
        opcode is 10-15.
        """
        data = as_bytes("BinaryHeader.from_bytes", data)
        if len(data) < HEADER_LEN:
            raise AmpeException.from_error(
                AmpeError.INVALID_MESSAGE, f"a header has {HEADER_LEN} bytes, here are {len(data)}"
            )
        header = cls(*HEADER_STRUCT.unpack_from(data))
        _ = header.proto  # raises
        return header

    def copy(self) -> Self:
        """Another header with the same fields."""
        return type(self)(*self._fields())

    __copy__ = copy

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), self._fields()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, BinaryHeader):
            return NotImplemented
        return self._fields() == other._fields()

    def __repr__(self) -> str:
        opcode = self.proto_byte & OPCODE_BITS
        name = OpCode(opcode).name if opcode in OpCode else f"opcode {opcode}"
        origin = OriginFlag.ENGINE if self.proto_byte & ORIGIN_BIT else OriginFlag.APPLICATION
        more = ", more" if self.proto_byte & MORE_BIT else ""
        return (
            f"<BinaryHeader {name} channel={self.channel_number} id={self.message_id}"
            f" {origin.name.lower()} {AmpeStatus.from_wire(self.status).name.lower()}{more}"
            f" headers={self.text_headers_len}B body={self.body_len}B>"
        )


if compiled and not TYPE_CHECKING:
    BinaryHeader = twin(BinaryHeader)
