import itertools
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytofu.patterns.result import OK
from pytofu.protocol.framing import BLOCK_LEN, BURST, RECEIVE_LEN, FrameReader, FrameWriter
from pytofu.protocol.lifecycle import Rule, State, receive_rules
from pytofu.values.header import BinaryHeader, OpCode, OriginFlag, ProtoFields
from pytofu.values.message import Message
from pytofu.values.status import AmpeError, AmpeStatus
from tests.protocol.reference import Outcome, Seen, cut
from tests.support import frame

CHANNEL: Final = 4711
"""The number of the receiving channel."""

ANYTHING_GOES: Final[Sequence[Rule]] = (None,) * 256
"""Rules for a channel on which everything is in order."""

LARGEST: Final = 65535
PATTERN: Final = bytes(range(256)) * 256

properties = settings(deadline=None)
big_properties = settings(properties, max_examples=50)


# ---------------------------------------------------------------------- strategies

lengths = st.one_of(
    st.integers(0, 30), st.sampled_from([0, 1, 15, 16, 17, 255, 256, LARGEST - 1, LARGEST])
)
# Of large parts only length and start are drawn: content of its own would take Hypothesis for ever.
parts = st.builds(
    lambda start, length: PATTERN[start : start + length], st.integers(0, 255), lengths
)
small_parts = st.binary(max_size=20)
wire_frames = st.builds(
    frame,
    st.integers(0, 7),
    st.integers(0, 2**64 - 1),
    text=parts,
    body=parts,
    channel=st.integers(0, 65535),
    status=st.integers(0, 255),
    internal=st.integers(0, 3),
)
states = st.sampled_from(State)
sides = st.booleans()


@attrs.frozen
class Stream:
    """The bytes of a channel, and the state in which the first of them find it."""

    data: bytes
    state: State
    accepted: bool


@st.composite
def valid_streams(draw: st.DrawFn, part: st.SearchStrategy[bytes] = parts) -> Stream:
    """Frames that a peer may send, as far as the channel's life goes, perhaps a cut one last."""
    accepted = draw(sides)
    start = (
        State.HELLO_AWAITED if accepted else draw(st.sampled_from([State.HELLO_SENT, State.OPEN]))
    )
    state, data = start, b""
    for _ in range(draw(st.integers(0, 8))):
        rules = receive_rules(state, accepted)
        allowed = [proto for proto in range(256) if not isinstance(rules[proto], AmpeError)]
        if not allowed:
            break
        proto = draw(st.sampled_from(allowed))
        new_state = rules[proto]
        state = new_state if isinstance(new_state, State) else state
        data += frame(
            proto & 15,
            draw(st.integers(0, 2**64 - 1)),
            text=draw(part),
            body=draw(part),
            channel=draw(st.integers(0, 65535)),
            status=draw(st.integers(0, 255)),
            more=proto >> 5 & 1,
            internal=proto >> 6,
        )
    kept = draw(st.one_of(st.just(len(data)), st.integers(0, len(data))))
    return Stream(data[:kept], start, accepted)


@st.composite
def mutated_streams(draw: st.DrawFn) -> Stream:
    """Valid streams with some bytes changed, put in, or left out."""
    stream = draw(valid_streams(small_parts))
    data = bytearray(stream.data)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 3))] = draw(st.binary(max_size=3))
    return Stream(bytes(data), stream.state, stream.accepted)


garbage = st.builds(Stream, st.binary(max_size=400), states, sides)


@st.composite
def splits(draw: st.DrawFn, data: bytes) -> list[bytes]:
    """The same bytes in any pieces, empty ones among them."""
    cuts = draw(st.lists(st.integers(0, len(data)), max_size=12).map(sorted))
    return [data[start:stop] for start, stop in itertools.pairwise((0, *cuts, len(data)))]


# ---------------------------------------------------------------------- reading


def run(
    chunks: Sequence[bytes], state: State, accepted: bool, limits: Iterator[int] | None = None
) -> Outcome:
    """Read as a channel does: all of each chunk, up to what the pool allows at a time."""
    reader = FrameReader()
    messages: list[Seen] = []
    for chunk in chunks:
        reader.feed(chunk)
        while True:
            limit = next(limits) if limits is not None else 1_000_000
            found, new_state = reader.read(CHANNEL, receive_rules(state, accepted), limit)
            assert len(found) <= limit
            assert all(message.channel_number == CHANNEL for message in found)
            messages += map(Seen.of, found)
            if new_state is not None:
                assert new_state is not state
                state = new_state
                if state is State.CLOSED:
                    return Outcome(messages, None, state, partial=False)
            elif reader.violation is not None:
                assert not reader.has_unread()
                assert not reader.partial
                return Outcome(messages, reader.violation, state, partial=False)
            elif not reader.has_unread():
                break
        assert 1 <= reader.wanted <= 131_086
    return Outcome(messages, None, state, reader.partial)


def expected_of(stream: Stream) -> Outcome:
    return cut(stream.data, stream.state, stream.accepted)


class TestAnyBytesInAnySplit:
    @given(valid_streams(), st.data())
    @properties
    def test_valid(self, stream: Stream, data: st.DataObject) -> None:
        expected = expected_of(stream)
        assert expected.violation is None
        for chunks in ([stream.data], data.draw(splits(stream.data))):
            assert run(chunks, stream.state, stream.accepted) == expected

    @given(valid_streams(small_parts))
    @properties
    def test_valid_byte_by_byte(self, stream: Stream) -> None:
        chunks = [bytes([byte]) for byte in stream.data]
        assert run(chunks, stream.state, stream.accepted) == expected_of(stream)

    @given(st.one_of(garbage, mutated_streams()), st.data())
    @settings(properties, max_examples=300)
    def test_garbage(self, stream: Stream, data: st.DataObject) -> None:
        expected = expected_of(stream)
        chunks = data.draw(splits(stream.data))
        assert run([stream.data], stream.state, stream.accepted) == expected
        assert run(chunks, stream.state, stream.accepted) == expected
        single = [bytes([byte]) for byte in stream.data]
        assert run(single, stream.state, stream.accepted) == expected

    @given(
        st.one_of(valid_streams(small_parts), mutated_streams()),
        st.lists(st.integers(0, 4), max_size=20),
        st.data(),
    )
    @properties
    def test_any_limits(self, stream: Stream, limits: list[int], data: st.DataObject) -> None:
        chunks = data.draw(splits(stream.data))
        allowances = itertools.chain(limits, itertools.repeat(1))
        assert run(chunks, stream.state, stream.accepted, allowances) == expected_of(stream)

    @given(st.lists(wire_frames, max_size=5), st.data())
    @big_properties
    def test_large_frames(self, frames: list[bytes], data: st.DataObject) -> None:
        stream = Stream(b"".join(frames), State.OPEN, False)
        assert run(data.draw(splits(stream.data)), State.OPEN, False) == expected_of(stream)


def read_all(reader: FrameReader) -> list[Message]:
    messages, new_state = reader.read(CHANNEL, ANYTHING_GOES, 1_000_000)
    assert new_state is None
    return messages


class TestFrameReader:
    def test_what_means_nothing_between_applications_is_cleared(self) -> None:
        reader = FrameReader()
        reader.feed(frame(OpCode.REQUEST, 5, channel=9, status=200, internal=3, more=1))
        (message,) = read_all(reader)
        assert message.header == BinaryHeader(CHANNEL, 0b10_0000, 0, 5)
        assert message.status is AmpeStatus.SUCCESS
        assert message.is_from_application()

    def test_lengths_are_in_the_header(self) -> None:
        reader = FrameReader()
        reader.feed(frame(OpCode.REQUEST, 5, text=b"a:b\r\n", body=b"1234567"))
        (message,) = read_all(reader)
        assert (message.header.text_headers_len, message.header.body_len) == (5, 7)
        assert [*message.text_headers] == [("a", "b")]
        assert message.payload == b"1234567"

    @pytest.mark.parametrize("text", [0, 1, LARGEST])
    @pytest.mark.parametrize("body", [0, 1, LARGEST])
    def test_smallest_and_largest_parts(self, text: int, body: int) -> None:
        data = frame(OpCode.SIGNAL, 1, text=PATTERN[:text], body=PATTERN[1 : body + 1])
        for chunks in ([data], [data[:15], data[15:]], [data[:16], data[16:18], data[18:]]):
            assert run(chunks, State.OPEN, True) == cut(data, State.OPEN, True)

    def test_nothing_fed(self) -> None:
        reader = FrameReader()
        assert read_all(reader) == []
        assert not reader.partial
        assert not reader.has_unread()
        reader.feed(b"")
        assert read_all(reader) == []

    def test_partial(self) -> None:
        data = frame(OpCode.REQUEST, 5, body=b"1234567")
        reader = FrameReader()
        for byte in data[:-1]:
            reader.feed(bytes([byte]))
            assert read_all(reader) == []
            assert reader.partial
        reader.feed(data[-1:])
        assert len(read_all(reader)) == 1
        assert not reader.partial

    def test_bytes_that_cannot_complete_a_frame_are_only_kept(self) -> None:
        # Looking at a large frame anew with every piece of it would cost a peer nothing and us
        # much: pieces are put together once, when the last of them is here.
        data = frame(OpCode.REQUEST, 5, body=PATTERN[:LARGEST])
        reader = FrameReader()
        reader.feed(data[:20])
        assert read_all(reader) == []
        for start in range(20, len(data) - 1, 1000):
            piece = data[start : min(start + 1000, len(data) - 1)]
            reader.feed(piece)
            assert not reader.has_unread(), f"looked at again after {start + len(piece)} bytes"
            assert read_all(reader) == []
        reader.feed(data[-1:])
        assert reader.has_unread()
        (message,) = read_all(reader)
        assert message.payload == PATTERN[:LARGEST]

    @pytest.mark.parametrize("before", [b"", frame(OpCode.REQUEST, 1, body=PATTERN[:30_000])])
    @pytest.mark.parametrize("body", [0, 100, 40_000, LARGEST])
    @pytest.mark.parametrize("text", [0, LARGEST])
    def test_wanted_never_reaches_into_the_frame_behind_a_large_one(
        self, before: bytes, text: int, body: int
    ) -> None:
        data = frame(OpCode.REQUEST, 2, text=PATTERN[:text], body=PATTERN[:body])
        for begun in sorted({0, 1, 15, min(16, len(data) - 1), len(data) - 1}):
            reader = FrameReader()
            reader.feed(before + data[:begun])
            assert len(read_all(reader)) == bool(before)
            assert reader.partial == bool(begun)
            if begun >= 16 and len(data) >= 40_000:
                assert reader.wanted == len(data) - begun
            else:
                assert reader.wanted == RECEIVE_LEN

    def test_a_limit_stops_before_the_next_whole_message(self) -> None:
        reader = FrameReader()
        reader.feed(b"".join(frame(OpCode.REQUEST, number) for number in range(1, 6)))
        seen = []
        for limit in (0, 2, 0, 1, 2):
            messages, new_state = reader.read(CHANNEL, ANYTHING_GOES, limit)
            assert new_state is None
            assert len(messages) == limit
            seen += [message.message_id for message in messages]
            assert reader.has_unread() == (len(seen) < 5)
        assert seen == [1, 2, 3, 4, 5]

    def test_a_limit_does_not_hide_that_a_frame_is_cut(self) -> None:
        reader = FrameReader()
        reader.feed(frame(OpCode.REQUEST, 1) + frame(OpCode.REQUEST, 2)[:15])
        messages, _ = reader.read(CHANNEL, ANYTHING_GOES, 1)
        assert len(messages) == 1
        assert not reader.has_unread()
        assert reader.partial

    def test_reading_stops_behind_a_change_of_state(self) -> None:
        reader = FrameReader()
        reader.feed(frame(OpCode.HELLO_REQUEST, 1) + frame(OpCode.REQUEST, 2))
        messages, new_state = reader.read(CHANNEL, receive_rules(State.HELLO_AWAITED, True), 9)
        assert [message.message_id for message in messages] == [1]
        assert new_state is State.OPEN
        assert reader.has_unread()
        messages, new_state = reader.read(CHANNEL, receive_rules(State.OPEN, True), 9)
        assert [message.message_id for message in messages] == [2]
        assert new_state is None
        assert not reader.has_unread()

    def test_a_violation_is_seen_in_the_header_alone(self) -> None:
        reader = FrameReader()
        good, bad = frame(OpCode.REQUEST, 1), frame(OpCode.REQUEST, 2, origin=1, body=b"body")
        reader.feed(good + bad[:16])
        messages, new_state = reader.read(CHANNEL, receive_rules(State.OPEN, True), 9)
        assert [message.message_id for message in messages] == [1]
        assert new_state is None
        assert reader.violation is AmpeError.INVALID_MESSAGE
        assert not reader.has_unread()
        assert not reader.partial

    def test_nothing_is_read_after_a_violation(self) -> None:
        reader = FrameReader()
        reader.feed(frame(OpCode.REQUEST, 1, origin=1) + frame(OpCode.REQUEST, 2))
        rules = receive_rules(State.OPEN, True)
        assert reader.read(CHANNEL, rules, 9) == ([], None)
        assert reader.read(CHANNEL, rules, 9) == ([], None)
        for more in (frame(OpCode.REQUEST, 3), frame(15, 4), frame(OpCode.REQUEST, 5)[:9]):
            reader.feed(more)
            assert reader.read(CHANNEL, rules, 9) == ([], None)
            assert reader.violation is AmpeError.INVALID_MESSAGE


# ---------------------------------------------------------------------- writing


def message_of(
    opcode: OpCode,
    message_id: int = 0,
    *,
    text: bytes = b"",
    body: bytes = b"",
    more: bool = False,
    internal: int = 0,
) -> Message:
    """A message that `check_and_prepare` finds in order and has completed."""
    if opcode in {OpCode.HELLO_REQUEST, OpCode.WELCOME_REQUEST}:
        text = text or b"~connect_to:uds|x\r\n"
    if opcode.role.name == "RESPONSE":
        message_id = message_id or 1
    more = more and opcode <= OpCode.SIGNAL
    header = BinaryHeader(1 + message_id % 65534, opcode | more << 5 | internal << 6, 0, message_id)
    message = Message(header, text, body)
    assert message.check_and_prepare() is OK
    return message


def messages_of(part: st.SearchStrategy[bytes]) -> st.SearchStrategy[Message]:
    return st.builds(
        message_of,
        st.sampled_from(OpCode),
        st.integers(0, 2**64 - 1),
        text=part,
        body=part,
        more=st.booleans(),
        internal=st.integers(0, 3),
    )


def on_the_wire(message: Message) -> bytes:
    """The frame of a message, put together without `FrameWriter`."""
    header = message.header
    proto = header.proto_byte & 0b0010_1111
    text, body = message.text_headers.to_bytes(), message.payload
    return (
        struct.pack(
            ">HBBQHH",
            header.channel_number,
            proto,
            0,
            header.message_id,
            len(text),
            len(body),
        )
        + text
        + body
    )


def drain(writer: FrameWriter, lengths: Iterator[int]) -> tuple[bytes, int]:
    """Write everything, so many bytes at a time: what was written, and how many messages."""
    written, messages = b"", 0
    while writer.size:
        block = writer.block()
        length = min(next(lengths), len(block))
        written += block[:length]
        messages += writer.wrote(length)
    assert len(writer.block()) == 0
    return written, messages


some_lengths = st.lists(st.sampled_from([1, 2, 15, 16, 17, 100, 70_000, BLOCK_LEN]), min_size=1)


class TestWriteAndReadBack:
    @given(st.lists(messages_of(parts), max_size=8), some_lengths, st.data())
    @big_properties
    @example(
        [message_of(OpCode.REQUEST, 1, body=PATTERN[:LARGEST]) for _ in range(9)], [70_000], None
    )
    def test_round_trip(
        self, messages: list[Message], lengths: list[int], data: st.DataObject | None
    ) -> None:
        writer = FrameWriter()
        for message in messages:
            writer.push(message)
        assert writer.size == sum(len(on_the_wire(message)) for message in messages)
        cycle = itertools.cycle([*lengths, BLOCK_LEN])
        written, count = drain(writer, cycle)
        assert written == b"".join(map(on_the_wire, messages))
        assert count == len(messages)
        reader = FrameReader()
        received: list[Message] = []
        for chunk in [written] if data is None else data.draw(splits(written)):
            reader.feed(chunk)
            received += read_all(reader)
        assert list(map(Seen.of, received)) == list(map(Seen.of, messages))
        assert all(message.channel_number == CHANNEL for message in received)
        assert all(message.is_from_application() for message in received)
        assert not reader.partial

    @given(messages_of(parts))
    @big_properties
    def test_the_frame_is_that_of_the_message_without_its_internal_bits(
        self, message: Message
    ) -> None:
        writer = FrameWriter()
        writer.push(message)
        message.header.proto_byte &= 0b0011_1111
        assert bytes(writer.block()) == message.to_bytes()


@attrs.frozen
class Push:
    message: Message


@attrs.frozen
class Write:
    length: int


operations = st.lists(
    st.one_of(
        st.builds(Push, messages_of(small_parts)),
        st.builds(Write, st.sampled_from([1, 5, 16, 40, 100, 1000])),
        st.builds(Write, st.integers(1, 200)),
    ),
    max_size=30,
)
large_operations = st.lists(
    st.one_of(
        st.builds(Push, messages_of(parts)),
        st.builds(Write, st.sampled_from([1, 16, 65_551, 65_552, 131_086, BLOCK_LEN])),
    ),
    max_size=25,
)


def check_unsent(todo: Sequence[Push | Write]) -> None:
    writer = FrameWriter()
    pushed: list[Message] = []
    written, completed = b"", 0
    for operation in todo:
        match operation:
            case Push(message):
                writer.push(message)
                pushed.append(message)
            case Write(length):
                block = writer.block()
                if block:
                    length = min(length, len(block))
                    written += block[:length]
                    completed += writer.wrote(length)
        assert writer.size == sum(len(on_the_wire(message)) for message in pushed) - len(written)
    frames = list(map(on_the_wire, pushed))
    assert b"".join(frames).startswith(written)
    ends = itertools.accumulate(map(len, frames))
    expected = [message for message, end in zip(pushed, ends, strict=True) if end > len(written)]
    assert completed == len(pushed) - len(expected)

    unsent = writer.unsent()
    assert list(map(on_the_wire, unsent)) == list(map(on_the_wire, expected))
    for message, original in zip(unsent, expected, strict=True):
        assert message.channel_number == original.channel_number
        assert message.status is AmpeStatus.SUCCESS
        assert message.header.text_headers_len == original.header.text_headers_len
        assert message.header.body_len == original.header.body_len

    assert writer.size == 0
    assert len(writer.block()) == 0
    assert writer.unsent() == []
    for message in unsent:  # and the writer is as new
        writer.push(message)
    rest, count = drain(writer, itertools.repeat(BLOCK_LEN))
    assert rest == b"".join(map(on_the_wire, expected))
    assert count == len(expected)


class TestUnsent:
    @given(operations)
    @settings(properties, max_examples=300)
    def test_is_what_was_not_written_completely(self, todo: list[Push | Write]) -> None:
        check_unsent(todo)

    @given(large_operations)
    @big_properties
    def test_is_what_was_not_written_completely_across_blocks(
        self, todo: list[Push | Write]
    ) -> None:
        check_unsent(todo)

    @pytest.mark.parametrize("written", range(0, 16 + 5 + 7 + 16 + 1))
    def test_at_every_byte(self, written: int) -> None:
        messages = [
            message_of(OpCode.REQUEST, 1, text=b"a:b\r\n", body=b"1234567"),
            message_of(OpCode.BYE_REQUEST, 2),
        ]
        writer = FrameWriter()
        for message in messages:
            writer.push(message)
        writer.block()
        writer.wrote(written)
        expected = messages[0 if written < 28 else 1 if written < 44 else 2 :]
        assert list(map(Seen.of, writer.unsent())) == list(map(Seen.of, expected))


def with_text_object(message: Message) -> None:
    assert len(message.text_headers) == 5


def with_body_object(message: Message) -> None:
    assert len(message.body) == 7


class TestFrameWriter:
    def test_nothing_to_write(self) -> None:
        writer = FrameWriter()
        assert writer.size == 0
        assert len(writer.block()) == 0
        assert writer.unsent() == []

    @pytest.mark.parametrize("touch", [with_text_object, with_body_object])
    def test_a_pushed_message_is_frozen(self, touch: Callable[[Message], None]) -> None:
        message = message_of(OpCode.REQUEST, 1, text=b"a:b\r\n", body=b"1234567")
        touch(message)
        frozen = on_the_wire(message)
        writer = FrameWriter()
        writer.push(message)
        message.text_headers.append("c", "d")
        message.body.append(b"more")
        message.opcode = OpCode.SIGNAL
        message.message_id = 99
        message.channel_number = 98
        assert writer.size == len(frozen)
        assert bytes(writer.block()) == frozen

    def test_messages_go_out_together(self) -> None:
        writer = FrameWriter()
        for number in range(1, 11):
            writer.push(message_of(OpCode.REQUEST, number, body=b"x"))
        assert len(writer.block()) == writer.size == 170
        assert [writer.wrote(length) for length in (16, 1, 33, 1, 17 * 7)] == [0, 1, 1, 1, 7]
        assert writer.size == 0

    def test_what_is_pushed_while_a_block_is_written_comes_behind_it(self) -> None:
        writer = FrameWriter()
        first, second = message_of(OpCode.REQUEST, 1), message_of(OpCode.REQUEST, 2)
        writer.push(first)
        assert bytes(writer.block()) == on_the_wire(first)
        writer.push(second)
        assert writer.wrote(10) == 0
        assert bytes(writer.block()) == on_the_wire(first)[10:]
        assert writer.wrote(6) == 1
        assert bytes(writer.block()) == on_the_wire(second)
        assert writer.wrote(16) == 1

    def test_blocks_stay_below_their_length_and_one_frame(self) -> None:
        writer = FrameWriter()
        for number in range(1, 21):
            writer.push(message_of(OpCode.REQUEST, number, body=PATTERN[:LARGEST]))
        lengths = []
        while writer.size:
            lengths.append(len(writer.block()))
            writer.wrote(lengths[-1])
        assert sum(lengths) == 20 * (16 + LARGEST)
        assert max(lengths) < BLOCK_LEN + 131_086

    def test_push_says_when_it_is_time_to_write(self) -> None:
        writer = FrameWriter()
        small, large = (
            message_of(OpCode.REQUEST, 1),
            message_of(OpCode.REQUEST, 1, body=PATTERN[:LARGEST]),
        )
        said = [writer.push(small) for _ in range(2 * BURST)]
        assert said == [False] * (BURST - 1) + [True] + [False] * BURST
        writer.block()
        assert [writer.push(small) for _ in range(BURST)] == said[:BURST]
        assert [writer.push(large) for _ in range(3)] == [True, True, True]

    def test_origin_and_status_are_never_sent(self) -> None:
        message = message_of(OpCode.REQUEST, 1)
        message.header.proto = ProtoFields(OpCode.REQUEST, OriginFlag.ENGINE)
        message.header.status = AmpeStatus.POOL_EMPTY
        writer = FrameWriter()
        writer.push(message)
        assert bytes(writer.block())[2:4] == b"\0\0"
