"""Frames in captured bytes, and where and why they break the protocol."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytofu import AmpeError, OpCode
from pytofu.cli.frames import (
    Break,
    Frame,
    Side,
    describe_header,
    guess_side,
    hex_dump,
    read_frames,
)
from pytofu.protocol.framing import FrameReader
from pytofu.protocol.lifecycle import State, receive_rules
from tests.support import frame, hello

_STARTS = {
    Side.CONNECTING: (State.HELLO_AWAITED, True),
    Side.ACCEPTING: (State.HELLO_SENT, False),
    Side.UNKNOWN: (State.OPEN, False),
}


def test_whole_frames() -> None:
    request = frame(OpCode.REQUEST, 7, text=b"a:b\r\n", body=b"body", more=1, channel=3)
    data = hello() + request
    first, second = read_frames(data, Side.CONNECTING)
    assert isinstance(first, Frame)
    assert isinstance(second, Frame)
    assert (first.offset, first.opcode) == (0, OpCode.HELLO_REQUEST)
    assert (second.offset, second.length) == (len(hello()), len(request))
    assert data[second.text_at :][:5] == b"a:b\r\n"
    assert data[second.body_at :] == second.body == b"body"
    assert list(second.text_headers) == [("a", "b")]
    assert describe_header(second.header) == (
        "channel 3, id 7, from application, status 0, more follows"
    )


def test_nothing() -> None:
    assert list(read_frames(b"", Side.UNKNOWN)) == []


@pytest.mark.parametrize(
    ("data", "side", "offset", "error", "why"),
    [
        (frame(12), Side.UNKNOWN, 2, AmpeError.INVALID_OP_CODE, "opcode 12"),
        (frame(8), Side.UNKNOWN, 2, AmpeError.INVALID_OP_CODE, "WELCOME_REQUEST"),
        (frame(0, origin=1), Side.UNKNOWN, 2, AmpeError.INVALID_MESSAGE, "bit 4"),
        (frame(4, more=1), Side.ACCEPTING, 2, AmpeError.INVALID_MORE_USAGE, "bit 5"),
        (frame(0), Side.CONNECTING, 2, AmpeError.NOT_ALLOWED, "has to be a HELLO_REQUEST"),
        (frame(0), Side.ACCEPTING, 2, AmpeError.NOT_ALLOWED, "has to answer the HELLO_REQUEST"),
        (frame(3), Side.UNKNOWN, 2, AmpeError.NOT_ALLOWED, "in the middle of a channel"),
        (
            frame(5) + hello(),
            Side.UNKNOWN,
            18,
            AmpeError.NOT_ALLOWED,
            "HELLO_REQUEST, which is not allowed behind a BYE_REQUEST",
        ),
        (frame(6) + frame(2), Side.UNKNOWN, 18, AmpeError.NOT_ALLOWED, "the end of the channel"),
        (
            hello() + frame(4),
            Side.CONNECTING,
            len(hello()) + 2,
            AmpeError.NOT_ALLOWED,
            "behind a HELLO",
        ),
        (frame(0)[:-1], Side.UNKNOWN, 15, None, "the header has 16 bytes, and only 15 are here"),
        (
            frame(0, text=b"a:b")[:-1],
            Side.UNKNOWN,
            18,
            None,
            "the text headers should have 3 bytes, and only 2 are here",
        ),
        (
            frame(0, text=b"a:b", body=b"1234")[:-1],
            Side.UNKNOWN,
            22,
            None,
            "the body should have 4 bytes, and only 3 are here",
        ),
    ],
)
def test_what_breaks_the_protocol(
    data: bytes, side: Side, offset: int, error: AmpeError | None, why: str
) -> None:
    *_, found = read_frames(data, side)
    assert isinstance(found, Break)
    assert (found.offset, found.error) == (offset, error)
    assert why in found.why


_BYTES = st.lists(
    st.binary(max_size=40)
    | st.builds(
        frame,
        st.integers(0, 15),
        st.integers(0, 99),
        text=st.sampled_from([b"", b"a:b\r\n"]),
        body=st.binary(max_size=20),
        origin=st.integers(0, 7).map(lambda number: number == 7),
        more=st.integers(0, 1),
    )
    | st.just(hello()),
    max_size=6,
).map(b"".join)


@given(_BYTES, st.sampled_from(Side))
def test_it_reads_what_an_engine_reads_and_stops_where_an_engine_stops(
    data: bytes, side: Side
) -> None:
    state, accepted = _STARTS[side]
    reader = FrameReader()
    reader.feed(data)
    expected: list[tuple[OpCode, int, bytes]] = []
    while True:
        messages, new_state = reader.read(1, receive_rules(state, accepted), 1000)
        expected += [(message.opcode, message.message_id, message.payload) for message in messages]
        if new_state is None:
            break
        state = new_state
    found = list(read_frames(data, side))
    broken = next((item for item in found if isinstance(item, Break)), None)
    frames = [item for item in found if isinstance(item, Frame)]
    assert [(item.opcode, item.header.message_id, item.body) for item in frames] == expected
    assert (None if broken is None else broken.error) == reader.violation
    assert (broken is not None and broken.error is None) == (reader.kept > 0)


def test_the_side_is_guessed_from_the_first_message() -> None:
    assert guess_side(hello()) is Side.CONNECTING
    assert guess_side(frame(OpCode.HELLO_RESPONSE)) is Side.ACCEPTING
    assert guess_side(frame(OpCode.BYE_SIGNAL)) is Side.ACCEPTING
    assert guess_side(frame(OpCode.REQUEST)) is Side.UNKNOWN
    assert guess_side(b"\0\0") is Side.UNKNOWN


def test_hex_dump() -> None:
    assert list(hex_dump(b"tofu\0\xff" + bytes(range(65, 75)) + b"z", 0x1000)) == [
        "1000  74 6f 66 75 00 ff 41 42 43 44 45 46 47 48 49 4a  tofu..ABCDEFGHIJ",
        "1010  7a                                               z",
    ]
