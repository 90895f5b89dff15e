"""Bytes in, messages out; messages in, bytes out (PROTOCOL 1).

Pure and deterministic: the same bytes in any split give the same messages, and any bytes at all
give messages or one violation, never an exception.
"""

from collections import deque
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from pytofu._choice import compiled, twin
from pytofu.protocol.lifecycle import Rule, State
from pytofu.values.header import (
    HEADER_LEN,
    HEADER_STRUCT,
    MAX_MESSAGE_ID,
    MAX_PART_LEN,
    OPCODE_BITS,
    ORIGIN_BIT,
    BinaryHeader,
    OpCode,
)
from pytofu.values.message import Account, Message, next_message_id
from pytofu.values.status import AmpeError
from pytofu.values.text_headers import without_local_headers

BLOCK_LEN: Final = 64 * 1024
"""Bytes after which queued frames are sealed into a block, which one `send` then tries to write:
large enough that system calls do not matter, small enough to join and keep cheaply."""

BURST: Final = 32
"""Messages after which it is worth writing, so that the peer works on them while more are made."""

LONG_BURST: Final = 128
"""The same while nothing is received: then nobody waits, and fewer system calls count for more."""

RECEIVE_LEN: Final = HEADER_LEN + MAX_PART_LEN
"""Bytes to ask of a socket: the longest message without text headers, so that a stream of such
comes whole, one a call, and nothing has to be pieced together. More at a time is not quicker: it
does not stay in the processor's cache."""

LONGEST_FRAME: Final = HEADER_LEN + 2 * MAX_PART_LEN

_LOOSE: Final = 128
"""Pieces in memory above which it pays to join them: one of 16 bytes takes four times as much."""

_LARGE: Final = 32 * 1024  # a frame whose rest is worth asking for by itself

_WIRE_BITS: Final = 0b0010_1111
"""What of a proto byte is sent: opcode and more. Origin is always application there, and the
internal bits belong to the receiving engine."""

_NOT_ORIGIN_BIT: Final = 0xFF & ~ORIGIN_BIT
# Plain ints: quicker to compare with.
_RESPONSE: Final = int(OpCode.RESPONSE)
_SIGNAL: Final = int(OpCode.SIGNAL)

_unpack_header: Final = HEADER_STRUCT.unpack_from
_pack_header: Final = HEADER_STRUCT.pack


class FrameReader:
    """Cuts the bytes of one channel into messages.

    `feed` what arrived, then `read` until it returns nothing. Bytes of a frame that is not yet
    whole are kept (at most one frame and one `feed` of them). After a violation nothing more is
    read.
    """

    __slots__ = (
        "_account",
        "_chunks",
        "_data",
        "_needed",
        "_pos",
        "kept",
        "longest",
        "oversized",
        "read_len",
        "refused",
        "violation",
    )

    def __init__(self, account: Account | None = None) -> None:
        self._account = account  # which the messages are charged to
        self.longest: int = LONGEST_FRAME
        """Bytes of the longest frame that is taken; no more than that is asked for at once."""
        self.oversized: bool = False
        """Whether a frame was longer: then nothing more is read."""
        self.read_len: int = 0
        """Bytes of all messages read so far."""
        self._data = b""  # being cut, from _pos on
        self._pos = 0
        self._chunks: list[bytes] = []  # of a frame of which not enough is here to go on
        self.kept: int = 0
        """Bytes of a frame that has begun and is not yet whole."""
        self._needed = HEADER_LEN  # bytes with which going on makes sense
        self.violation: AmpeError | None = None
        self.refused: bytes = b""
        """How the frame begins that was the violation, or too long."""

    @property
    def unread(self) -> int:
        """Bytes that were fed and that `read` has not looked at yet, stopped by its limit."""
        return len(self._data) - self._pos

    @property
    def busy(self) -> bool:
        """Whether there is more than what was read: unread bytes, or a part of a frame."""
        return self.kept > 0 or self._pos < len(self._data)

    @property
    def wanted(self) -> int:
        """How many bytes to ask for.

        That is the rest of a large frame, so that the next call begins with a frame, or else as
        much as makes sense.
        """
        if self._needed < _LARGE or not self.kept:
            return RECEIVE_LEN if self.longest > RECEIVE_LEN else self.longest
        return self._needed - self.kept

    def feed(self, data: bytes) -> None:
        """Take in bytes that arrived. Everything fed before must have been read."""
        if self.violation is not None or self.oversized:
            return
        if not self.kept:
            self._data = data
            self._pos = 0
            return
        chunks = self._chunks
        chunks.append(data)
        self.kept += len(data)
        if self.kept >= self._needed:
            self._data = b"".join(chunks)
            self._pos = 0
            self._chunks = []
            self.kept = 0
            return
        # Each chunk stays more than twice as long as the next: a frame that comes in pieces of two
        # bytes must not cost thirty times its size, nor be copied again at each piece.
        while len(chunks) > 1 and len(chunks[-2]) <= 2 * len(chunks[-1]):
            last = chunks.pop()
            chunks[-1] += last

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
        account, longest = self._account, self.longest
        data, pos, end = self._data, self._pos, len(self._data)
        proto: int
        while end - pos >= HEADER_LEN:
            _, proto, _, message_id, text_len, body_len = _unpack_header(data, pos)
            rule = rules[proto]
            if rule is not None and isinstance(rule, AmpeError):
                self.violation = rule
                self.refused = data[pos : pos + HEADER_LEN]
                self.read_len += pos - self._pos
                self._data = b""
                self._pos = 0
                return messages, None
            text_at = pos + HEADER_LEN
            body_at = text_at + text_len
            stop = body_at + body_len
            length = stop - pos
            if length > longest:
                self.oversized = True
                self.read_len += pos - self._pos
                self._data = b""
                self._pos = 0
                return messages, None
            if stop > end:
                self._needed = length
                break
            if len(messages) == limit:
                self.read_len += pos - self._pos
                self._pos = pos
                return messages, None
            text = b""
            if text_len:
                text = without_local_headers(data[text_at:body_at])
                text_len = len(text)
            messages.append(
                Message(
                    BinaryHeader(
                        channel_number, proto & _WIRE_BITS, 0, message_id, text_len, body_len
                    ),
                    text,
                    data[body_at:stop] if body_len else b"",
                    account,
                    length,
                )
            )
            pos = stop
            if rule is not None:
                self.read_len += pos - self._pos
                self._pos = pos
                return messages, rule
        else:
            self._needed = HEADER_LEN
        self.read_len += pos - self._pos
        if pos < end:
            self._chunks = [data[pos:] if pos else data]
            self.kept = end - pos
        self._data = b""
        self._pos = 0
        return messages, None

    def discard(self) -> None:
        """Drop what is unread or kept: nobody will read on."""
        self._data = b""
        self._pos = 0
        self._chunks = []
        self.kept = 0


class FrameWriter:
    """The messages of one channel that wait to be sent, as bytes, in order.

    `push` freezes a message into bytes, so that nothing its poster does afterwards can change
    what is sent. `block` is what to write next, `wrote` says how far that went, `unsent` gives
    back, as messages, everything that was not written completely. While `keep` is true what was
    written is kept as well, and counts as unsent: nobody has answered yet.
    """

    __slots__ = (
        "_begin",
        "_block",
        "_block_count",
        "_count",
        "_joined",
        "_keep",
        "_kept",
        "_offset",
        "_open",
        "_open_len",
        "_sealed",
        "burst",
        "held",
        "size",
    )

    def __init__(self, *, keep: bool = False) -> None:
        self._open: list[bytes] = []  # pieces of the newest block: header+text, or a body
        self._joined = 0  # the first of these are many, joined
        self._open_len = 0
        self._count = 0  # messages in the newest block
        # Older blocks, and their messages; None while there are none, as with most channels.
        self._sealed: deque[tuple[bytes, int]] | None = None
        self._block = b""  # being written, from _offset on
        self._offset = 0
        self._begin = 0  # where in it the first message begins that is not completely written
        self._block_count = 0  # messages in it from there on
        self._keep = keep
        self._kept: list[bytes] = []
        self.size: int = 0
        """Bytes pushed and not yet written."""
        self.burst: int = BURST
        """Messages of the newest block after which `push` says that they should be written."""
        self.held: int = 0
        """Bytes in memory: those not yet written, and those kept."""

    def push(self, message: Message) -> bool:
        """Queue a message that `Message.check_and_prepare` found in order.

        True when so much has come together since the last time that it should be written.
        """
        header, body = message._header, message.payload
        text = without_local_headers(message._text_bytes())
        header.text_headers_len = text_len = len(text)
        frame = _pack_header(
            header.channel_number,
            header.proto_byte & _WIRE_BITS,
            0,
            header.message_id,
            text_len,
            header.body_len,
        )
        self._open.append(frame + text if text else frame)
        if body:
            self._open.append(body)
        length = HEADER_LEN + text_len + len(body)
        self.size += length
        self.held += length
        self._open_len = open_len = self._open_len + length
        self._count = count = self._count + 1
        return (count == self.burst or open_len >= BLOCK_LEN) and self._close_burst()

    def push_ordinary(self, message: Message) -> bool | None:
        """`Message.check_and_prepare` and `push` in one pass, as most messages allow.

        None, and nothing is done, but for a Request, a Response or a Signal that is in order, has
        a channel number, plain bytes as its body, and no local text headers.
        """
        header, text, body = message._header, message._text, message._body
        if not isinstance(text, bytes):
            text = text.to_bytes()
        proto, message_id = header.proto_byte & _NOT_ORIGIN_BIT, header.message_id
        opcode = proto & OPCODE_BITS
        if (
            type(body) is not bytes
            or message._released
            or (text and (len(text) > MAX_PART_LEN or without_local_headers(text) is not text))
            or opcode > _SIGNAL
            or (not 0 < message_id <= MAX_MESSAGE_ID and (message_id or opcode == _RESPONSE))
            or not header.channel_number
            or (length := len(body)) > MAX_PART_LEN
        ):
            return None
        if not message_id:
            message_id = header.message_id = next_message_id()
        header.proto_byte = proto
        header.status = 0
        header.text_headers_len = text_len = len(text)
        header.body_len = length
        pieces = self._open
        frame = _pack_header(
            header.channel_number, proto & _WIRE_BITS, 0, message_id, text_len, length
        )
        pieces.append(frame + text if text else frame)
        if length:
            pieces.append(body)
        length += HEADER_LEN + text_len
        self.size += length
        self.held += length
        self._open_len = open_len = self._open_len + length
        self._count = count = self._count + 1
        return (count == self.burst or open_len >= BLOCK_LEN) and self._close_burst()

    def _close_burst(self) -> bool:
        if self._open_len < BLOCK_LEN:
            self.burst = LONG_BURST
            return True
        # Joined now: a frame of 16 bytes in a list takes five times as much.
        if self._sealed is None:
            self._sealed = deque()
        self._sealed.append((b"".join(self._open), self._count))
        self._open, self._joined, self._open_len, self._count = [], 0, 0, 0
        return True

    def compact(self) -> None:
        """Take up little more memory than what waits has bytes, for it may wait long."""
        pieces, joined = self._open, self._joined
        if len(pieces) - joined > _LOOSE:
            pieces[joined:] = [b"".join(pieces[joined:])]
            self._joined += 1

    def block(self) -> bytes | memoryview:
        """The bytes to write next; empty when there are none."""
        if self._block:
            return memoryview(self._block)[self._offset :]
        if self._sealed is not None:
            self._block, self._block_count = self._sealed.popleft()
            if not self._sealed:
                self._sealed = None
        else:
            self._block = b"".join(self._open)
            self._block_count = self._count
            self._open, self._joined, self._open_len, self._count = [], 0, 0, 0
        return self._block

    def wrote(self, length: int) -> int:
        """Note that the first `length` bytes of `block` are written.

        Returns how many messages are completely written by that.
        """
        self._offset += length
        self.size -= length
        if not self._keep:
            self.held -= length
        if self._offset < len(self._block):
            return self._skip_written()
        if self._keep:
            self._kept.append(self._block)
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

    def forget_written(self) -> None:
        """Keep no longer what was written: it has been answered."""
        self._keep = False
        self._kept = []
        self.held = self.size

    def unsent(self) -> Iterator[Message]:
        """Every message that is not completely written, in order; the writer is empty then.

        Made one by one: a long queue must not become messages all at once.
        """
        begin = 0 if self._keep else self._begin
        blocks = deque(self._kept) if self._keep else deque[bytes]()
        blocks.append(self._block[begin:])
        blocks.extend(block for block, _ in self._sealed or ())
        blocks.append(b"".join(self._open))
        self._block, self._offset, self._begin, self.size = b"", 0, 0, 0
        self._sealed = None
        self._open, self._joined, self._open_len, self._count = [], 0, 0, 0
        self.forget_written()
        return _messages(blocks)


def _frame_end(data: bytes, begin: int) -> int:
    """Where the frame ends that begins at `begin`."""
    *_, text_len, body_len = _unpack_header(data, begin)
    return begin + HEADER_LEN + int(text_len) + int(body_len)


def _messages(blocks: deque[bytes]) -> Iterator[Message]:
    """The messages in blocks that `FrameWriter` made."""
    while blocks:
        data = blocks.popleft()
        begin = 0
        while begin < len(data):
            end = _frame_end(data, begin)
            header = BinaryHeader.from_bytes(memoryview(data)[begin:end])
            text_at = begin + HEADER_LEN
            body_at = text_at + header.text_headers_len
            yield Message(header, data[text_at:body_at], data[body_at:end])
            begin = end


if compiled and not TYPE_CHECKING:
    FrameReader = twin(FrameReader)
    FrameWriter = twin(FrameWriter)
