"""Hypothesis strategies for the bytes of a channel, in order or not, and for how they are split."""

import itertools
from typing import Final

import attrs
from hypothesis import settings
from hypothesis import strategies as st

from pytofu.protocol.lifecycle import State, receive_rules
from pytofu.values.status import AmpeError
from tests.support import frame

LARGEST: Final = 65535
PATTERN: Final = bytes(range(256)) * 256

properties = settings(deadline=None)
big_properties = settings(properties, max_examples=50)

lengths = st.one_of(
    st.integers(0, 30), st.sampled_from([0, 1, 15, 16, 17, 255, 256, LARGEST - 1, LARGEST])
)
# Of large parts only length and start are drawn: content of its own would take Hypothesis for ever.
parts = st.builds(
    lambda start, length: PATTERN[start : start + length], st.integers(0, 255), lengths
)
small_parts = st.binary(max_size=20)
_lines = st.sampled_from(
    [
        *(b"~reason:SUCCESS", b"~detail:some text", b"~reason:", b"~detail", b"~reason:a:b"),
        *(b"a:b", b"", b"~reasons:x", b"~reason :x", b" ~reason:x", b"~REASON:x", b"x:~reason:y"),
        *(b"~", b"~connect_to:uds|x", b"\r", b"\n~reason:x", b"~det"),
    ]
)
local_texts = st.lists(_lines, max_size=6).map(b"\r\n".join)
"""Text headers among which are some that only an engine may write, well-formed or not."""

texts = st.one_of(parts, local_texts)
small_texts = st.one_of(small_parts, local_texts)
wire_frames = st.builds(
    frame,
    st.integers(0, 7),
    st.integers(0, 2**64 - 1),
    text=texts,
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
def valid_streams(
    draw: st.DrawFn,
    part: st.SearchStrategy[bytes] = parts,
    text: st.SearchStrategy[bytes] = texts,
) -> Stream:
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
            text=draw(text),
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
    stream = draw(valid_streams(small_parts, small_texts))
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
