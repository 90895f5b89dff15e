"""The message: what applications make, post and receive (PROTOCOL 1-3; pattern guide, section 8).

A message has one owner. Posting it, or putting it back to the pool, releases it: from then on
every use of the old reference raises `MessageReleasedError`. Message objects are never used a
second time, so an old reference stays dead for good.
"""

import itertools
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, Never, Self

from pytofu._choice import compiled, twin
from pytofu.patterns.arguments import as_bytes, must_be, whole_number, wrong_type
from pytofu.patterns.buffer import Appendable
from pytofu.patterns.result import OK, Err, Result
from pytofu.values.errors import AmpeException
from pytofu.values.header import (
    MAX_MESSAGE_ID,
    MAX_PART_LEN,
    MORE_BIT,
    OPCODE_BITS,
    ORIGIN_BIT,
    BinaryHeader,
    MoreMessagesFlag,
    OpCode,
    in_a_byte,
)
from pytofu.values.status import AmpeError, AmpeStatus
from pytofu.values.text_headers import TextHeaders

next_message_id: Final[Callable[[], int]] = itertools.count(1).__next__
"""The next message_id, unique in this process (PROTOCOL 3, step 7)."""

_OPCODES: Final = tuple(OpCode)
_FLAG_BITS: Final = 0xFF & ~OPCODE_BITS
_NOT_ORIGIN_BIT: Final = 0xFF & ~ORIGIN_BIT
_RESPONSES: Final = frozenset(opcode for opcode in OpCode if opcode.role.name == "RESPONSE")
_OPENERS: Final = frozenset({OpCode.HELLO_REQUEST, OpCode.WELCOME_REQUEST})
# As plain ints, for the hot path: comparing with the members themselves takes twice as long.
_SIGNAL: Final = int(OpCode.SIGNAL)
_LAST_OPCODE: Final = int(OpCode.WELCOME_RESPONSE)
_PACKAGE: Final = __name__.partition(".")[0]

_tracing = os.environ.get("PYTOFU_TRACE_RELEASES", "0") not in {"", "0"}


def _opcode_of(opcode: Any) -> int:
    """The opcode as it is in the proto byte: one of `OpCode`, or another of the four bits."""
    if isinstance(opcode, str) and opcode in OpCode.__members__:
        raise wrong_type("opcode", "an OpCode", opcode, f"OpCode.{opcode}")
    number = whole_number("opcode", opcode)
    if not 0 <= number <= OPCODE_BITS:
        raise ValueError(f"opcode is one of OpCode, 0 to {_LAST_OPCODE}, not {number}")
    return number


def _bytes_of(what: str, data: Any) -> bytes:
    return bytes(data if isinstance(data, Appendable) else as_bytes(what, data))


def _checked(header: Any, text: Any, body: Any) -> tuple[BinaryHeader | None, bytes, bytes]:
    """What `Message` was given, by a program; the engine's own is right."""
    if header is not None and not isinstance(header, BinaryHeader):
        raise wrong_type("Message", "a BinaryHeader first", header)
    return header, _bytes_of("Message's text_headers", text), _bytes_of("Message's body", body)


class MessageReleasedError(RuntimeError):
    """A message was used after it had been posted or put back: a bug in the caller.

    Pattern guide, section 8 (direct invalidation). With `trace_releases(True)` the text names the
    file and line that released the message.
    """


def trace_releases(enabled: bool) -> None:
    """Record, or stop recording, where each message is released (some microseconds a message).

    Also switched on by the environment variable PYTOFU_TRACE_RELEASES=1 at import.
    """
    must_be("trace_releases", "True or False", bool, enabled)
    _trace(enabled)


def _trace(enabled: bool) -> None:
    global _tracing
    _tracing = enabled


def release_site() -> str:
    """File and line of the nearest caller outside this package; empty unless traced."""
    if not _tracing:
        return ""
    frame = sys._getframe(1)
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] == _PACKAGE:
        frame = frame.f_back
    return f"{frame.f_code.co_filename}:{frame.f_lineno}"


class Account(ABC):
    """Whom a message is charged to, from when it was received or lent until it is given back."""

    __slots__ = ()

    number: int = 0
    """The channel that brought the message, if one did."""
    closed: bool = False
    """Whether that channel has closed."""
    budget: Any = None
    """Which engine's budget it is charged to."""

    @abstractmethod
    def credit(self, cost: int) -> None:
        """The message was given back: posted, or put back to the pool."""

    @abstractmethod
    def forget(self, cost: int) -> None:
        """The message was dropped: Python's garbage collection has found it, in any thread."""


class Message:
    """A binary header, text headers and a body.

    `Ampe.get` hands them out; `Message()` makes one as well, outside the pool. Text headers and
    body have at most 65,535 bytes each; longer payloads travel as several messages with the same
    message_id and the `more` flag. Every access to a released message raises
    `MessageReleasedError`. Pattern guide, sections 4 and 8; PROTOCOL 1.
    """

    # Text headers and body are plain bytes until somebody asks for the object: most received
    # messages are read once, and most posted ones written once, as bytes.
    __slots__ = ("_account", "_body", "_cost", "_header", "_released", "_text")

    def __init__(
        self,
        header: BinaryHeader | None = None,
        text_headers: bytes = b"",
        body: bytes = b"",
        _account: Account | None = None,
        _cost: int = 0,
    ) -> None:
        if _account is None and (body or text_headers or header is not None):
            header, text_headers, body = _checked(header, text_headers, body)
        self._account = _account  # to credit, when the message is given back,
        self._cost = _cost  # with so many bytes
        self._header = BinaryHeader() if header is None else header
        self._text: bytes | TextHeaders = text_headers
        self._body: bytes | Appendable = body
        self._released: bool | str = False

    # ------------------------------------------------------------------ ownership

    def release(self) -> Self:
        """Give up the message: every later use of it raises. Returns it, for chaining.

        Raises `MessageReleasedError` when that has happened before. Pattern guide, section 8.
        """
        if self._released:
            raise self._misuse()
        self._released = release_site() if _tracing else True
        account = self._account
        if account is not None:
            self._account = None
            account.credit(self._cost)
        return self

    def __del__(self) -> None:
        try:
            if self._account is not None:
                self._account.forget(self._cost)
        except AttributeError:  # Ctrl-C came before __init__ had done anything
            pass

    def _misuse(self) -> MessageReleasedError:
        return MessageReleasedError(
            f"this message was posted or put back{self._where_released()}; it is gone"
        )

    def _where_released(self) -> str:
        return f" at {self._released}" if isinstance(self._released, str) else ""

    # ------------------------------------------------------------------ header

    @property
    def header(self) -> BinaryHeader:
        """The binary header, to read and to write."""
        if self._released:
            raise self._misuse()
        return self._header

    binary_header = header

    @property
    def opcode(self) -> OpCode:
        """What the message means. `AmpeException` (INVALID_OP_CODE) when it is 10-15."""
        if self._released:
            raise self._misuse()
        try:
            return _OPCODES[self._header.proto_byte & OPCODE_BITS]
        except IndexError:
            raise AmpeException.from_error(AmpeError.INVALID_OP_CODE) from None

    @opcode.setter
    def opcode(self, opcode: OpCode) -> None:
        if self._released:
            raise self._misuse()
        number = opcode if type(opcode) is OpCode else _opcode_of(opcode)
        header = self._header
        header.proto_byte = header.proto_byte & _FLAG_BITS | number

    @property
    def channel_number(self) -> int:
        """The channel, 1-65534; 0 for a message that opens one."""
        if self._released:
            raise self._misuse()
        return self._header.channel_number

    @channel_number.setter
    def channel_number(self, channel_number: int) -> None:
        if self._released:
            raise self._misuse()
        if type(channel_number) is not int:
            channel_number = whole_number("channel_number", channel_number)
        self._header.channel_number = channel_number

    @property
    def message_id(self) -> int:
        """The correlation id, 0 to 2**64-1; 0 lets the engine assign one."""
        if self._released:
            raise self._misuse()
        return self._header.message_id

    @message_id.setter
    def message_id(self, message_id: int) -> None:
        if self._released:
            raise self._misuse()
        if type(message_id) is not int:
            message_id = whole_number("message_id", message_id)
        self._header.message_id = message_id

    @property
    def status(self) -> AmpeStatus:
        """How it went; a byte that has no name reads as UNKNOWN_ERROR."""
        return AmpeStatus.from_wire(self.header.status)

    @status.setter
    def status(self, status: AmpeStatus) -> None:
        self.header.status = in_a_byte("status", status)

    @property
    def more(self) -> MoreMessagesFlag:
        """MORE (true) while further messages with the same message_id follow, else LAST."""
        if self._released:
            raise self._misuse()
        byte = self._header.proto_byte
        return MoreMessagesFlag.MORE if byte & MORE_BIT else MoreMessagesFlag.LAST

    @more.setter
    def more(self, more: MoreMessagesFlag | bool) -> None:
        header = self.header
        if type(more) is not bool:
            more = MoreMessagesFlag(whole_number("more", more))
        header.proto_byte = header.proto_byte & ~MORE_BIT | (MORE_BIT if more else 0)

    def has_more(self) -> bool:
        """Whether further messages with the same message_id follow."""
        return bool(self.header.proto_byte & MORE_BIT)

    def is_from_engine(self) -> bool:
        """Whether the engine on this side made the message, or handed it back."""
        return bool(self.header.proto_byte & ORIGIN_BIT)

    def is_from_application(self) -> bool:
        """Whether an application made the message."""
        return not self.header.proto_byte & ORIGIN_BIT

    @property
    def text_headers(self) -> TextHeaders:
        """The text headers, to read and to extend."""
        if self._released:
            raise self._misuse()
        if isinstance(self._text, bytes):
            self._text = TextHeaders(self._text)
        return self._text

    @property
    def body(self) -> Appendable:
        """The body, growable. To read or replace it whole `payload`, `set_payload` are quicker."""
        if self._released:
            raise self._misuse()
        if isinstance(self._body, bytes):
            self._body = Appendable(self._body)
        return self._body

    @property
    def payload(self) -> bytes:
        """The bytes of the body."""
        if self._released:
            raise self._misuse()
        body = self._body
        return body if isinstance(body, bytes) else bytes(body)

    @payload.setter
    def payload(self, data: Never) -> None:
        raise AttributeError("`payload` is for reading: message.set_payload(data) sets the body")

    def set_payload(self, data: bytes | bytearray | memoryview) -> None:
        """Make `data` the body. `bytes` are kept as they are, anything else is copied.

        More than 65,535 bytes are refused by `ChannelGroup.post` (INVALID_BODY_LEN). Raises
        `TypeError`, and changes nothing, for what is no bytes: text, numbers, lists.
        """
        if self._released:
            raise self._misuse()
        self._body = data if type(data) is bytes else _bytes_of("set_payload", data)

    @property
    def raw_text_headers(self) -> bytes:
        """The bytes of the text headers, as they go on the wire: quicker than `text_headers`."""
        if self._released:
            raise self._misuse()
        return self._text_bytes()

    def set_text_headers(self, raw: bytes) -> None:
        """Make these bytes the text headers, as `TextHeaders.to_bytes` has made them.

        For headers that many messages have. Raises `TypeError` for what is no bytes.
        """
        if self._released:
            raise self._misuse()
        self._text = raw if type(raw) is bytes else _bytes_of("set_text_headers", raw)

    def copy_header_to_body(self) -> None:
        """Replace the body by the 16 bytes of the binary header, to carry it inside a message."""
        self.set_payload(self.header.to_bytes())

    def _text_bytes(self) -> bytes:
        text = self._text
        return text if isinstance(text, bytes) else text.to_bytes()

    def clone(self) -> "Message":
        """An independent message with the same header, text headers and body."""
        return Message(self.header.copy(), self._text_bytes(), self.payload)

    __copy__ = clone

    def __deepcopy__(self, memo: object) -> "Message":
        return self.clone()

    def __reduce__(self) -> tuple[object, ...]:
        return Message, (self.header.copy(), self._text_bytes(), self.payload)

    def hand_over(self) -> "Message":
        """The same message for a new owner; this one is released.

        What was charged for it is charged for the new one.
        """
        successor = self.clone()
        successor._account, successor._cost = self._account, self._cost
        self._account = None
        self.release()
        return successor

    def reset(self) -> None:
        """Make the message as new: REQUEST, everything else zero or empty."""
        if self._released:
            raise self._misuse()
        self._header = BinaryHeader()
        self._text = b""
        self._body = b""

    def check_and_prepare(self) -> Result[None, AmpeError]:
        """Validate and complete the message for sending: steps 1-7 of PROTOCOL 3, in that order.

        Sets origin, status, both lengths and, where it is 0, the message_id. An error is also
        written to the message's status. Raises only `MessageReleasedError`.
        """
        if self._released:
            raise self._misuse()
        header = self._header
        proto = header.proto_byte & _NOT_ORIGIN_BIT
        opcode = proto & OPCODE_BITS
        if opcode > _LAST_OPCODE:
            return self.refuse(AmpeError.INVALID_OP_CODE)
        header.proto_byte = proto
        header.status = header.text_headers_len = header.body_len = 0
        message_id = header.message_id
        if not 0 < message_id <= MAX_MESSAGE_ID and (message_id or opcode in _RESPONSES):
            return self.refuse(AmpeError.INVALID_MESSAGE_ID)
        if opcode > _SIGNAL and proto & MORE_BIT:
            return self.refuse(AmpeError.INVALID_MORE_USAGE)
        if not header.channel_number and opcode not in _OPENERS:
            return self.refuse(AmpeError.INVALID_CHANNEL_NUMBER)
        length = len(self._text)
        if length > MAX_PART_LEN:
            return self.refuse(AmpeError.INVALID_HEADERS_LEN)
        header.text_headers_len = length
        if opcode > _SIGNAL and not length and opcode in _OPENERS:
            return self.refuse(AmpeError.WRONG_ADDRESS)
        length = len(self._body)
        if length > MAX_PART_LEN:
            return self.refuse(AmpeError.INVALID_BODY_LEN)
        header.body_len = length
        if not message_id:
            header.message_id = next_message_id()
        return OK

    def refuse(self, error: AmpeError) -> Err[AmpeError]:
        """Write `error` to the message's status and return it as an `Err`."""
        self.header.status = error
        return Err(error)

    # ------------------------------------------------------------------ for the engine

    def mark_from_engine(self, status: AmpeStatus, opcode: OpCode | None = None) -> None:
        """Make it a message from the engine with this status, and this opcode if one is given."""
        header = self.header
        if opcode is not None:
            header.proto_byte = header.proto_byte & ~OPCODE_BITS | opcode
        header.proto_byte |= ORIGIN_BIT
        header.status = status

    def mark_from_application(self, status: AmpeStatus) -> None:
        """Make it a message from an application with this status."""
        header = self.header
        header.proto_byte &= ~ORIGIN_BIT
        header.status = status

    def to_bytes(self) -> bytes:
        """The whole frame as it stands: header, text headers, body, with the lengths made true."""
        header = self.header.copy()
        text = self._text_bytes()
        body = self.payload
        header.text_headers_len, header.body_len = len(text), len(body)
        return header.to_bytes() + text + body

    def __repr__(self) -> str:
        if self._released:
            return f"<Message released{self._where_released()}>"
        header = repr(self._header).removeprefix("<BinaryHeader ").removesuffix(">")
        return f"<Message {header.partition(' headers=')[0]} {len(self._body)}B>"


if compiled and not TYPE_CHECKING:
    Message = twin(Message)
    _trace = twin(_trace)
    _trace(_tracing)
