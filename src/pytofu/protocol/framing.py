"""Bytes in, messages out; messages in, bytes out (PROTOCOL 1).

Pure and deterministic: the same bytes in any split give the same messages, and any bytes at all
give messages or one violation, never an exception.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final

from pytofu.protocol.lifecycle import Rule, State
from pytofu.values.header import HEADER_LEN, HEADER_STRUCT, MAX_PART_LEN, BinaryHeader
from pytofu.values.message import Message
from pytofu.values.status import AmpeError

BLOCK_LEN: Final = 64 * 1024
"""Bytes after which queued frames are sealed into a block, which one `send` then tries to write:
large enough that system calls do not matter, small enough to join and keep cheaply."""

BURST: Final = 32
"""Messages after which it is worth writing, so that the peer works on them while more are made."""

RECEIVE_LEN: Final = HEADER_LEN + MAX_PART_LEN
"""Bytes to ask of a socket: the longest message without text headers, so that a stream of such
comes whole, one a call, and nothing has to be pieced together. More at a time is not quicker: it
does not stay in the processor's cache."""

_LARGE: Final = 32 * 1024  # a frame whose rest is worth asking for by itself

_WIRE_BITS: Final = 0b0010_1111
"""What of a proto byte is sent: opcode and more. Origin is always application there, and the
internal bits belong to the receiving engine."""

_unpack_header: Final = HEADER_STRUCT.unpack_from
_pack_header: Final = HEADER_STRUCT.pack


class FrameReader:
    """Cuts the bytes of one channel into messages.

    `feed` what arrived, then `read` until it returns nothing. Bytes of a frame that is not yet
    whole are kept (at most one frame and one `feed` of them). After a violation nothing more is
    read.
    """

    __slots__ = ("_chunks", "_data", "_kept", "_needed", "_pos", "violation")

    def __init__(self) -> None:
        self._data = b""  # being cut, from _pos on
        self._pos = 0
        self._chunks: list[bytes] = []  # of a frame of which not enough is here to go on
        self._kept = 0  # bytes in _chunks
        self._needed = HEADER_LEN  # bytes with which going on makes sense
        self.violation: AmpeError | None = None

    @property
    def partial(self) -> bool:
        """Whether a frame has begun and is not yet whole."""
        return self._kept > 0

    @property
    def wanted(self) -> int:
        """How many bytes to ask for.

        That is the rest of a large frame, so that the next call begins with a frame, or else as
        much as makes sense.
        """
        if self._needed < _LARGE or not self._kept:
            return RECEIVE_LEN
        return self._needed - self._kept

    def feed(self, data: bytes) -> None:
        """Take in bytes that arrived. Everything fed before must have been read."""
        if self.violation is not None:
            return
        if not self._kept:
            self._data = data
            self._pos = 0
            return
        self._chunks.append(data)
        self._kept += len(data)
        if self._kept >= self._needed:
            self._data = b"".join(self._chunks)
            self._pos = 0
            self._chunks = []
            self._kept = 0

    def read(
        self, channel_number: int, rules: Sequence[Rule], limit: int
    ) -> tuple[list[Message], State | None]:
        """Up to `limit` messages.

        Their channel number is replaced by `channel_number`, internal bits and status are
        cleared: these have no meaning between applications (PROTOCOL 5).

        `rules` says for each proto byte what the channel's state makes of it. Reading stops
        behind a message that changes the state, and names the new state as the second value, so
        that the next call can bring that state's rules.
        """
        messages: list[Message] = []
        if not self._data:
            return messages, None
        data, pos, end = self._data, self._pos, len(self._data)
        proto: int
        while end - pos >= HEADER_LEN:
            _, proto, _, message_id, text_len, body_len = _unpack_header(data, pos)
            rule = rules[proto]
            if rule is not None and isinstance(rule, AmpeError):
                self.violation = rule
                self._data = b""
                self._pos = 0
                return messages, None
            text_at = pos + HEADER_LEN
            body_at = text_at + text_len
            stop = body_at + body_len
            if stop > end:
                self._needed = stop - pos
                break
            if len(messages) == limit:
                self._pos = pos
                return messages, None
            messages.append(
                Message(
                    BinaryHeader(
                        channel_number, proto & _WIRE_BITS, 0, message_id, text_len, body_len
                    ),
                    data[text_at:body_at] if text_len else b"",
                    data[body_at:stop] if body_len else b"",
                )
            )
            pos = stop
            if rule is not None:
                self._pos = pos
                return messages, rule
        else:
            self._needed = HEADER_LEN
        if pos < end:
            self._chunks = [data[pos:] if pos else data]
            self._kept = end - pos
        self._data = b""
        self._pos = 0
        return messages, None

    def has_unread(self) -> bool:
        """Whether `read` stopped before everything that was fed had been looked at."""
        return self._pos < len(self._data)


class FrameWriter:
    """The messages of one channel that wait to be sent, as bytes, in order.

    `push` freezes a message into bytes, so that nothing its poster does afterwards can change
    what is sent. `block` is what to write next, `wrote` says how far that went, `unsent` gives
    back, as messages, everything that was not written completely.
    """

    __slots__ = (
        "_begin",
        "_block",
        "_block_count",
        "_count",
        "_offset",
        "_open",
        "_open_len",
        "_sealed",
        "size",
    )

    def __init__(self) -> None:
        self._open: list[bytes] = []  # pieces of the newest block: header+text, or a body
        self._open_len = 0
        self._count = 0  # messages in the newest block
        self._sealed: deque[tuple[list[bytes], int]] = deque()  # older blocks: pieces, messages
        self._block = b""  # being written, from _offset on
        self._offset = 0
        self._begin = 0  # where in it the first message begins that is not completely written
        self._block_count = 0  # messages in it from there on
        self.size: int = 0
        """Bytes pushed and not yet written."""

    def push(self, message: Message) -> bool:
        """Queue a message that `Message.check_and_prepare` found in order.

        True when so much has come together since the last time that it should be written.
        """
        header = message._header
        text_len, body_len = header.text_headers_len, header.body_len
        frame = _pack_header(
            header.channel_number,
            header.proto_byte & _WIRE_BITS,
            0,
            header.message_id,
            text_len,
            body_len,
        )
        if text_len:
            text = message._text
            frame += text if isinstance(text, bytes) else text.to_bytes()
        pieces = self._open
        pieces.append(frame)
        if body_len:
            body = message._body
            pieces.append(body if isinstance(body, bytes) else bytes(body))
        self._count = count = self._count + 1
        length = HEADER_LEN + text_len + body_len
        self.size += length
        self._open_len = length = self._open_len + length
        if length >= BLOCK_LEN:
            self._sealed.append((pieces, count))
            self._open, self._open_len, self._count = [], 0, 0
            return True
        return count == BURST

    def block(self) -> bytes | memoryview:
        """The bytes to write next; empty when there are none."""
        if self._block:
            return memoryview(self._block)[self._offset :]
        if self._sealed:
            pieces, self._block_count = self._sealed.popleft()
            self._block = b"".join(pieces)
        else:
            self._block = b"".join(self._open)
            self._block_count = self._count
            self._open, self._open_len, self._count = [], 0, 0
        return self._block

    def wrote(self, length: int) -> int:
        """Note that the first `length` bytes of `block` are written.

        Returns how many messages are completely written by that.
        """
        self._offset += length
        self.size -= length
        if self._offset < len(self._block):
            return self._skip_written()
        self._block = b""
        self._offset = self._begin = 0
        return self._block_count

    def _skip_written(self) -> int:
        """Move `_begin` behind the messages that are completely written; how many those were."""
        count = 0
        while (end := _frame_end(self._block, self._begin)) <= self._offset:
            self._begin = end
            count += 1
        self._block_count -= count
        return count

    def unsent(self) -> list[Message]:
        """Every message that is not completely written, in order; the writer is empty then."""
        sealed = [b"".join(pieces) for pieces, _ in self._sealed]
        data = b"".join((self._block[self._begin :], *sealed, *self._open))
        self._block, self._offset, self._begin, self.size = b"", 0, 0, 0
        self._sealed.clear()
        self._open, self._open_len, self._count = [], 0, 0
        return list(_messages(data))


def _frame_end(data: bytes, begin: int) -> int:
    """Where the frame ends that begins at `begin`."""
    *_, text_len, body_len = _unpack_header(data, begin)
    return begin + HEADER_LEN + int(text_len) + int(body_len)


def _messages(data: bytes) -> Iterator[Message]:
    """The messages in bytes that `FrameWriter` made."""
    begin = 0
    while begin < len(data):
        end = _frame_end(data, begin)
        header = BinaryHeader.from_bytes(memoryview(data)[begin:end])
        text_at = begin + HEADER_LEN
        body_at = text_at + header.text_headers_len
        yield Message(header, data[text_at:body_at], data[body_at:end])
        begin = end
