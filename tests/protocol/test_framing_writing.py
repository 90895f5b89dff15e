import itertools
import struct
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import attrs
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pytofu.patterns.result import OK
from pytofu.protocol.framing import BLOCK_LEN, BURST, LONG_BURST, FrameReader, FrameWriter
from pytofu.protocol.lifecycle import Rule
from pytofu.values.header import OPCODE_BITS, BinaryHeader, OpCode, OriginFlag, ProtoFields
from pytofu.values.message import Message
from pytofu.values.status import AmpeStatus
from tests.protocol.reference import Seen, without_local_lines
from tests.protocol.streams import (
    LARGEST,
    PATTERN,
    big_properties,
    parts,
    properties,
    small_parts,
    small_texts,
    splits,
    texts,
)

CHANNEL: Final = 4711
"""The number of the receiving channel."""

ANYTHING_GOES: Final[Sequence[Rule]] = (None,) * 256
"""Rules for a channel on which everything is in order."""


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


def messages_of(
    part: st.SearchStrategy[bytes], text: st.SearchStrategy[bytes]
) -> st.SearchStrategy[Message]:
    return st.builds(
        message_of,
        st.sampled_from(OpCode),
        st.integers(0, 2**64 - 1),
        text=text,
        body=part,
        more=st.booleans(),
        internal=st.integers(0, 3),
    )


def on_the_wire(message: Message) -> bytes:
    """The frame of a message, put together without `FrameWriter`."""
    header = message.header
    proto = header.proto_byte & 0b0010_1111
    text, body = without_local_lines(message.text_headers.to_bytes()), message.payload
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


def seen_at_the_peer(message: Message) -> Seen:
    seen = Seen.of(message)
    return seen._replace(text=without_local_lines(seen.text))


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
    @given(st.lists(messages_of(parts, texts), max_size=8), some_lengths, st.data())
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
            received += reader.read(CHANNEL, ANYTHING_GOES, 99)[0]
        assert list(map(Seen.of, received)) == list(map(seen_at_the_peer, messages))
        assert all(message.channel_number == CHANNEL for message in received)
        assert all(message.is_from_application() for message in received)
        assert not reader.kept

    @given(messages_of(parts, parts))
    @big_properties
    def test_the_frame_is_that_of_the_message_without_its_internal_bits(
        self, message: Message
    ) -> None:
        writer = FrameWriter()
        writer.push(message)
        message.header.proto_byte &= 0b0011_1111
        assert bytes(writer.block()) == message.to_bytes()

    @given(texts, small_parts)
    @big_properties
    def test_what_only_an_engine_may_write_is_taken_off(self, text: bytes, body: bytes) -> None:
        writer = FrameWriter()
        message = message_of(OpCode.SIGNAL, 1, text=text, body=body)
        writer.push(message)
        (sent,) = writer.unsent()
        assert sent.text_headers.to_bytes() == without_local_lines(text)
        assert sent.payload == body
        assert sent.header.text_headers_len == message.header.text_headers_len


@attrs.frozen
class Push:
    message: Message


@attrs.frozen
class Write:
    length: int


@attrs.frozen
class Forget:
    """What was written is kept no longer."""


type Operation = Push | Write | Forget

operations = st.lists(
    st.one_of(
        st.builds(Push, messages_of(small_parts, small_texts)),
        st.builds(Write, st.sampled_from([1, 5, 16, 40, 100, 1000])),
        st.builds(Write, st.integers(1, 200)),
        st.builds(Forget),
    ),
    max_size=30,
)
large_operations = st.lists(
    st.one_of(
        st.builds(Push, messages_of(parts, texts)),
        st.builds(Write, st.sampled_from([1, 16, 65_551, 65_552, 131_086, BLOCK_LEN])),
        st.builds(Forget),
    ),
    max_size=25,
)


def check_unsent(todo: Sequence[Operation], keep: bool) -> None:
    writer = FrameWriter(keep=keep)
    pushed: list[Message] = []
    written, completed = b"", 0
    kept_from = 0 if keep else None  # since when what was written is kept
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
            case Forget():
                writer.forget_written()
                kept_from = None
        assert writer.size == sum(len(on_the_wire(message)) for message in pushed) - len(written)
        assert writer.held == writer.size + (0 if kept_from is None else len(written))
    frames = list(map(on_the_wire, pushed))
    assert b"".join(frames).startswith(written)
    ends = list(itertools.accumulate(map(len, frames)))
    assert completed == sum(end <= len(written) for end in ends)
    back_from = len(written) if kept_from is None else 0
    expected = [message for message, end in zip(pushed, ends, strict=True) if end > back_from]

    unsent = list(writer.unsent())
    assert list(map(on_the_wire, unsent)) == list(map(on_the_wire, expected))
    for message, original in zip(unsent, expected, strict=True):
        assert message.channel_number == original.channel_number
        assert message.status is AmpeStatus.SUCCESS
        assert message.header.text_headers_len == len(message.text_headers)
        assert message.header.body_len == original.header.body_len

    assert (writer.size, writer.held) == (0, 0)
    assert len(writer.block()) == 0
    assert list(writer.unsent()) == []
    for message in unsent:  # and the writer is as new
        writer.push(message)
    rest, count = drain(writer, itertools.repeat(BLOCK_LEN))
    assert rest == b"".join(map(on_the_wire, expected))
    assert count == len(expected)
    assert writer.held == 0


class TestUnsent:
    @given(operations, st.booleans())
    @settings(properties, max_examples=300)
    def test_is_what_was_not_written_completely_or_is_kept(
        self, todo: list[Operation], keep: bool
    ) -> None:
        check_unsent(todo, keep)

    @given(large_operations, st.booleans())
    @big_properties
    def test_is_the_same_across_blocks(self, todo: list[Operation], keep: bool) -> None:
        check_unsent(todo, keep)

    def test_messages_are_made_one_by_one(self) -> None:
        # A queue of many megabytes holds a million small messages, and each costs thirty times
        # its sixteen bytes. Whoever gives them back takes them in pieces.
        writer = FrameWriter()
        for number in range(1, 3 * BLOCK_LEN // 16 + 1):
            writer.push(message_of(OpCode.SIGNAL, number))
        unsent = writer.unsent()
        assert writer.size == 0
        tracemalloc.start()
        try:
            count = sum(1 for _ in unsent)
            _, most = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert count == 3 * BLOCK_LEN // 16
        assert most < 50_000  # which all of them would need for a hundred

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

    @pytest.mark.parametrize("written", range(0, 16 + 5 + 7 + 16 + 1))
    def test_at_every_byte_what_is_kept_comes_back_whole(self, written: int) -> None:
        messages = [
            message_of(OpCode.REQUEST, 1, text=b"a:b\r\n", body=b"1234567"),
            message_of(OpCode.BYE_REQUEST, 2),
        ]
        writer = FrameWriter(keep=True)
        for message in messages:
            writer.push(message)
        writer.block()
        writer.wrote(written)
        assert (writer.size, writer.held) == (44 - written, 44)
        assert list(map(Seen.of, writer.unsent())) == list(map(Seen.of, messages))
        assert writer.held == 0


def with_text_object(message: Message) -> None:
    assert len(message.text_headers) == 5


def with_body_object(message: Message) -> None:
    assert len(message.body) == 7


class TestFrameWriter:
    def test_nothing_to_write(self) -> None:
        writer = FrameWriter()
        assert writer.size == 0
        assert len(writer.block()) == 0
        assert list(writer.unsent()) == []

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

    def test_small_frames_are_joined_while_they_wait(self) -> None:
        # A frame of 16 bytes costs 49 as an object, and 8 more for its place in a list.
        writer = FrameWriter()
        for number in range(1, 100_001):
            writer.push(message_of(OpCode.SIGNAL, number))
        sealed = writer._sealed
        assert sealed is not None
        assert writer.size - sum(len(block) for block, _ in sealed) < BLOCK_LEN
        assert all(type(block) is bytes for block, _ in sealed)
        assert {len(block) for block, _ in sealed} == {BLOCK_LEN}
        assert {count for _, count in sealed} == {BLOCK_LEN // 16}
        _, count = drain(writer, itertools.repeat(BLOCK_LEN))
        assert count == 100_000

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
        writer.block()  # nothing was received meanwhile: the next burst is a long one
        said = [writer.push(small) for _ in range(2 * LONG_BURST)]
        assert said == [False] * (LONG_BURST - 1) + [True] + [False] * LONG_BURST
        while writer.size:
            writer.wrote(len(writer.block()))
        writer.burst = BURST
        assert [writer.push(small) for _ in range(BURST)] == [False] * (BURST - 1) + [True]
        assert [writer.push(large) for _ in range(3)] == [True, True, True]

    def test_origin_and_status_are_never_sent(self) -> None:
        message = message_of(OpCode.REQUEST, 1)
        message.header.proto = ProtoFields(OpCode.REQUEST, OriginFlag.ENGINE)
        message.header.status = AmpeStatus.POOL_EMPTY
        writer = FrameWriter()
        writer.push(message)
        assert bytes(writer.block())[2:4] == b"\0\0"


class TestOrdinaryMessages:
    @given(
        st.builds(
            BinaryHeader,
            st.sampled_from([0, 1, 4711]),
            st.integers(0, 255),
            st.integers(0, 255),
            st.sampled_from([-1, 0, 1, 7, 2**64 - 1, 2**64]),
        ),
        st.sampled_from([b"", b"a: b\r\n", PATTERN[:LARGEST], bytes(LARGEST + 1)])
        | st.sampled_from([b"~", b"~reason:SUCCESS\r\na: b\r\n", b"a: ~detail\r\n"]),
        st.sampled_from([b"", b"x", PATTERN[:LARGEST], bytes(LARGEST + 1)]),
        st.booleans(),
        st.booleans(),
    )
    @properties
    def test_one_pass_does_what_both_do_or_nothing(
        self, header: BinaryHeader, text: bytes, body: bytes, looked_at: bool, edited: bool
    ) -> None:
        message = Message(header, text, body)
        if looked_at:
            assert message.text_headers.to_bytes() == text
        if edited:
            assert message.body is not None  # no plain bytes any more
        before, twin = header.copy(), message.clone()
        writer, reference = FrameWriter(), FrameWriter()
        burst = writer.push_ordinary(message)
        in_order = twin.check_and_prepare() is OK
        if burst is None:
            assert message.header == before
            assert not writer.size
            special = before.proto_byte & OPCODE_BITS > OpCode.SIGNAL
            assert b"~reason" in text or edited or special or not in_order
        else:
            assert in_order
            if not before.message_id:  # each has got one of its own
                assert message.header.message_id > 0
                twin.header.message_id = message.header.message_id
            assert burst is reference.push(twin)
            assert message.header == twin.header
            assert (writer.size, writer.held) == (reference.size, reference.held)
            assert bytes(writer.block()) == bytes(reference.block())

    def test_bursts_are_the_same(self) -> None:
        writer, reference = FrameWriter(), FrameWriter()
        for number in range(1, 2 * LONG_BURST):
            for body in (b"", PATTERN[: 400 * (number % 3)]):
                one, other = (message_of(OpCode.SIGNAL, number, body=body) for _ in range(2))
                assert writer.push_ordinary(one) is reference.push(other)
        assert drain(writer, itertools.repeat(777)) == drain(reference, itertools.repeat(777))


class TestCompacting:
    @given(st.lists(st.one_of(st.integers(0, 300), st.just("compact"), st.just("block"))))
    @properties
    def test_changes_nothing_but_the_memory(self, steps: list[int | str]) -> None:
        writer, reference = FrameWriter(), FrameWriter()
        for step in steps:
            if step == "compact":
                writer.compact()
            elif step == "block":
                written = bytes(writer.block())
                assert written == bytes(reference.block())
                assert writer.wrote(len(written)) == reference.wrote(len(written))
            else:
                for number in range(int(step)):
                    for one in (writer, reference):
                        one.push(message_of(OpCode.SIGNAL, number + 1, body=b"x" * (number % 3)))
        assert (writer.size, writer.held) == (reference.size, reference.held)
        assert [m.to_bytes() for m in writer.unsent()] == [m.to_bytes() for m in reference.unsent()]
