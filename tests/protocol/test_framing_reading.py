import gc
import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pytofu.protocol.framing import LONGEST_FRAME, RECEIVE_LEN, FrameReader
from pytofu.protocol.lifecycle import Rule, State, receive_rules
from pytofu.values.header import BinaryHeader, OpCode
from pytofu.values.message import Account, Message
from pytofu.values.status import AmpeError, AmpeStatus
from tests.protocol.reference import Outcome, Seen, cut
from tests.protocol.streams import (
    LARGEST,
    PATTERN,
    Stream,
    big_properties,
    garbage,
    mutated_streams,
    properties,
    small_parts,
    small_texts,
    splits,
    valid_streams,
    wire_frames,
)
from tests.support import frame

CHANNEL: Final = 4711
"""The number of the receiving channel."""

ANYTHING_GOES: Final[Sequence[Rule]] = (None,) * 256
"""Rules for a channel on which everything is in order."""


def run(
    chunks: Sequence[bytes], state: State, accepted: bool, limits: Iterator[int] | None = None
) -> Outcome:
    """Read as a channel does: all of each chunk, up to what the pool allows at a time."""
    reader = FrameReader()
    messages: list[Seen] = []
    fed = 0
    for chunk in chunks:
        reader.feed(chunk)
        fed += len(chunk)
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
                assert not reader.busy
                return Outcome(messages, reader.violation, state, partial=False)
            elif not reader.unread:
                break
            assert reader.busy == (reader.unread > 0)
            assert not reader.kept
        assert 1 <= reader.wanted <= LONGEST_FRAME
        assert reader.busy == bool(reader.kept)
        assert reader.kept == fed - reader.read_len
    return Outcome(messages, None, state, partial=reader.kept > 0)


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

    @given(valid_streams(small_parts, small_texts))
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
        st.one_of(valid_streams(small_parts, small_texts), mutated_streams()),
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
        assert (reader.kept, reader.unread, reader.busy) == (0, 0, False)
        reader.feed(b"")
        assert read_all(reader) == []

    def test_part_of_a_frame(self) -> None:
        data = frame(OpCode.REQUEST, 5, body=b"1234567")
        reader = FrameReader()
        for count, byte in enumerate(data[:-1], 1):
            reader.feed(bytes([byte]))
            assert read_all(reader) == []
            assert (reader.kept, reader.unread, reader.busy) == (count, 0, True)
        assert reader.read_len == 0
        reader.feed(data[-1:])
        assert len(read_all(reader)) == 1
        assert (reader.kept, reader.unread, reader.busy) == (0, 0, False)
        assert reader.read_len == len(data)

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
            assert not reader.unread, f"looked at again after {start + len(piece)} bytes"
            assert read_all(reader) == []
        reader.feed(data[-1:])
        assert reader.unread == len(data)
        (message,) = read_all(reader)
        assert message.payload == PATTERN[:LARGEST]

    @pytest.mark.parametrize("piece_len", [1, 2, 3, 16, 1000])
    @pytest.mark.parametrize("before", [b"", frame(OpCode.REQUEST, 1, body=PATTERN[:300])])
    def test_what_a_frame_in_small_pieces_costs(self, piece_len: int, before: bytes) -> None:
        # A peer that sends a frame in pieces of a byte each must not fill our memory with the 33
        # bytes that each of them costs as an object, nor be answered by copying all at each piece.
        data = frame(OpCode.REQUEST, 5, text=PATTERN[:LARGEST], body=PATTERN[:LARGEST])
        reader = FrameReader()
        reader.feed(before + data[:17])
        assert len(read_all(reader)) == bool(before)
        for start in range(17, len(data) - piece_len, piece_len):
            reader.feed(data[start : start + piece_len])
            kept = start + piece_len
            assert reader.kept == kept
            chunks = reader._chunks
            assert sum(map(len, chunks)) == kept
            if len(chunks) > 1:
                assert len(chunks[0]) > 2 ** (len(chunks) - 2)
            assert sys.getsizeof(chunks) + sum(map(sys.getsizeof, chunks)) < 2 * kept + 500

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
            assert reader.kept == begun
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
            assert reader.unread == 16 * (5 - len(seen))
            assert reader.busy == (len(seen) < 5)
            assert reader.read_len == 16 * len(seen)
        assert seen == [1, 2, 3, 4, 5]

    def test_a_limit_does_not_hide_that_a_frame_is_cut(self) -> None:
        reader = FrameReader()
        reader.feed(frame(OpCode.REQUEST, 1) + frame(OpCode.REQUEST, 2)[:15])
        messages, _ = reader.read(CHANNEL, ANYTHING_GOES, 1)
        assert len(messages) == 1
        assert (reader.kept, reader.unread) == (15, 0)

    def test_reading_stops_behind_a_change_of_state(self) -> None:
        reader = FrameReader()
        reader.feed(frame(OpCode.HELLO_REQUEST, 1) + frame(OpCode.REQUEST, 2))
        messages, new_state = reader.read(CHANNEL, receive_rules(State.HELLO_AWAITED, True), 9)
        assert [message.message_id for message in messages] == [1]
        assert new_state is State.HELLO_RECEIVED
        assert reader.unread == reader.read_len == 16
        messages, new_state = reader.read(CHANNEL, receive_rules(State.HELLO_RECEIVED, True), 9)
        assert [message.message_id for message in messages] == [2]
        assert new_state is None
        assert not reader.busy

    def test_a_violation_is_seen_in_the_header_alone(self) -> None:
        reader = FrameReader()
        good, bad = frame(OpCode.REQUEST, 1), frame(OpCode.REQUEST, 2, origin=1, body=b"body")
        reader.feed(good + bad[:16])
        messages, new_state = reader.read(CHANNEL, receive_rules(State.OPEN, True), 9)
        assert [message.message_id for message in messages] == [1]
        assert new_state is None
        assert reader.violation is AmpeError.INVALID_MESSAGE
        assert not reader.busy
        assert reader.read_len == 16

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

    @pytest.mark.parametrize(
        ("text", "left"),
        [
            (b"~reason:SUCCESS\r\n", b""),
            (b"~reason:SUCCESS", b""),
            (b"a:b\r\n~reason:x\r\nc:d", b"a:b\r\nc:d"),
            (b"a:b\r\n~detail:x", b"a:b\r\n"),
            (b"~detail:x\r\n~reason:x\r\n\r\n", b"\r\n"),
            (b"~reason", b""),
            (b"~reasons:x\r\n", b"~reasons:x\r\n"),
            (b"~reason :x\r\n", b"~reason :x\r\n"),
            (b"a:~reason:x\n~reason:x\r\n", b"a:~reason:x\n~reason:x\r\n"),
        ],
    )
    def test_what_only_an_engine_may_write_is_taken_off(self, text: bytes, left: bytes) -> None:
        reader = FrameReader()
        data = frame(OpCode.REQUEST, 5, text=text, body=b"body")
        reader.feed(data)
        (message,) = read_all(reader)
        assert message.text_headers.to_bytes() == left
        assert message.header.text_headers_len == len(left)
        assert message.payload == b"body"
        assert reader.read_len == len(data)

    @pytest.mark.parametrize("data", [b"\0" * 5, frame(OpCode.SIGNAL, 1), b"\0" * 40])
    def test_what_nobody_will_read_is_discarded(self, data: bytes) -> None:
        reader = FrameReader()
        reader.feed(data)
        assert reader.read(CHANNEL, ANYTHING_GOES, 0) == ([], None)
        assert reader.busy
        reader.discard()
        assert (reader.kept, reader.unread, reader.busy) == (0, 0, False)
        assert reader._chunks == []
        assert read_all(reader) == []
        reader.feed(frame(OpCode.SIGNAL, 7))
        assert [message.message_id for message in read_all(reader)] == [7]


class TestLongestFrame:
    SIZE: Final = 16 + 5 + 20

    @given(st.integers(SIZE - 5, SIZE + 5), st.data())
    @properties
    def test_one_that_is_longer_is_not_taken_in_any_split(
        self, longest: int, data: st.DataObject
    ) -> None:
        wire = frame(OpCode.SIGNAL, 1, text=b"a:b\r\n", body=PATTERN[:20])
        reader = FrameReader()
        reader.longest = longest
        messages: list[Message] = []
        for chunk in data.draw(splits(wire)):
            assert reader.wanted == longest
            reader.feed(chunk)
            messages += read_all(reader)
        assert reader.violation is None
        assert reader.oversized == (longest < self.SIZE)
        assert len(messages) == (longest >= self.SIZE)
        assert not reader.unread

    def test_is_seen_in_the_header_alone_and_nothing_is_read_after_it(self) -> None:
        reader = FrameReader()
        reader.longest = 50
        good = frame(OpCode.SIGNAL, 1)
        reader.feed(good + frame(OpCode.SIGNAL, 2, body=PATTERN[:35])[:16])
        assert len(read_all(reader)) == 1
        assert reader.oversized
        assert not reader.busy
        assert reader.read_len == 16
        reader.feed(good)
        assert read_all(reader) == []
        assert not reader.busy

    def test_a_large_one_that_is_allowed_is_asked_for_alone(self) -> None:
        reader = FrameReader()
        reader.longest = 40_000
        data = frame(OpCode.SIGNAL, 1, body=PATTERN[:39_984])
        reader.feed(data[:16])
        assert read_all(reader) == []
        assert not reader.oversized
        assert reader.wanted == 39_984

    def test_another_limit_holds_from_the_next_frame_on(self) -> None:
        reader = FrameReader()
        reader.longest = 50
        reader.feed(frame(OpCode.SIGNAL, 1))
        assert len(read_all(reader)) == 1
        reader.longest = LONGEST_FRAME
        reader.feed(frame(OpCode.SIGNAL, 1, body=PATTERN[:35]))
        assert len(read_all(reader)) == 1


class Ledger(Account):
    """Notes what messages cost when they are given back or dropped."""

    def __init__(self) -> None:
        self.credited: list[int] = []
        self.forgotten: list[int] = []

    def credit(self, cost: int) -> None:
        self.credited.append(cost)

    def forget(self, cost: int) -> None:
        self.forgotten.append(cost)


class TestAccount:
    def test_a_message_costs_what_it_was_on_the_wire(self) -> None:
        ledger = Ledger()
        reader = FrameReader(ledger)
        reader.feed(
            frame(OpCode.SIGNAL, 1, text=b"~reason:x\r\n", body=b"1234567")
            + frame(OpCode.SIGNAL, 2)
            + frame(OpCode.SIGNAL, 3)[:9]
        )
        first, second = read_all(reader)
        assert reader.read_len == 16 + 11 + 7 + 16
        assert (ledger.credited, ledger.forgotten) == ([], [])
        first.release()
        assert (ledger.credited, ledger.forgotten) == ([34], [])
        del second
        gc.collect()
        assert (ledger.credited, ledger.forgotten) == ([34], [16])

    @given(valid_streams(small_parts, small_texts), st.data())
    @properties
    def test_read_len_is_what_all_messages_cost(self, stream: Stream, data: st.DataObject) -> None:
        ledger = Ledger()
        reader = FrameReader(ledger)
        state = stream.state
        for chunk in data.draw(splits(stream.data)):
            reader.feed(chunk)
            new_state: State | None = state
            while new_state is not None:
                state = new_state
                messages, new_state = reader.read(
                    CHANNEL, receive_rules(state, stream.accepted), 99
                )
                for message in messages:
                    message.release()
                assert sum(ledger.credited) == reader.read_len
        assert ledger.forgotten == []
