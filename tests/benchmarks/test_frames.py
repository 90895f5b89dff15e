"""The framing of the contenders that carry bytes."""

from hypothesis import given
from hypothesis import strategies as st

from benchmarks.frames import Cutter, frame, pack, unpack

_MESSAGES = st.lists(st.tuples(st.integers(0, 2**64 - 1), st.binary(max_size=100)))


@given(messages=_MESSAGES, size=st.integers(1, 300))
def test_any_split_gives_the_same_messages(messages: list[tuple[int, bytes]], size: int) -> None:
    data = b"".join(frame(message_id, body) for message_id, body in messages)
    cutter = Cutter()

    found: list[tuple[int, bytes]] = []
    for at in range(0, len(data), size):
        found += cutter.feed(data[at : at + size])

    assert found == messages


@given(message_id=st.integers(0, 2**64 - 1), body=st.binary(max_size=100))
def test_a_message_of_its_own(message_id: int, body: bytes) -> None:
    assert unpack(pack(message_id, body)) == (message_id, body)
