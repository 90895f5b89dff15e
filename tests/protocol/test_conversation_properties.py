"""What holds of a conversation whatever comes, and in whatever order it is called."""

import math
from collections.abc import Callable, Sequence

from hypothesis import event, given, settings
from hypothesis import strategies as st

from pytofu.protocol.conversation import Conversation
from pytofu.protocol.ending import ENDINGS, Cause, violated
from pytofu.protocol.lifecycle import State
from pytofu.values.header import OpCode
from pytofu.values.status import AmpeError
from tests.protocol.conversations import POSTABLE, accepted, connecting, in_state, post, write
from tests.protocol.reference import Outcome, Seen, cut
from tests.protocol.streams import (
    Stream,
    garbage,
    mutated_streams,
    properties,
    small_parts,
    small_texts,
    splits,
    valid_streams,
)
from tests.support import frame, hello

# ---------------------------------------------------------------------- any bytes in any split


def run(chunks: Sequence[bytes], stream: Stream, rooms: Sequence[int]) -> Outcome:
    """Receive as a channel does: what there is no room for is read before the next chunk."""
    conversation = in_state(stream.state)
    messages: list[Seen] = []
    allowances = list(rooms)

    def room() -> int:
        return allowances.pop() if allowances else 99

    for chunk in chunks:
        messages += map(Seen.of, conversation.receive(chunk, room(), 0))
        while conversation.unread:
            messages += map(Seen.of, conversation.read(room(), 0))
        assert (conversation.frame_began == math.inf) == (not conversation.reader.kept) or (
            conversation.ending is not None
        )
    ending = conversation.ending
    if ending is None:
        partial = conversation.reader.kept > 0
        return Outcome(messages, None, conversation.state, partial)
    assert conversation.state is State.CLOSED
    violation = conversation.reader.violation
    if violation is not None:
        assert ending == violated(violation)
    else:
        agreed = messages[-1].opcode == OpCode.BYE_RESPONSE
        assert ending is ENDINGS[Cause.AGREED if agreed else Cause.PEER_LEFT]
    return Outcome(messages, violation, State.CLOSED, partial=False)


def expected_of(stream: Stream) -> Outcome:
    outcome = cut(stream.data, stream.state, stream.accepted)
    return outcome if outcome.violation is None else outcome._replace(state=State.CLOSED)


def is_reachable(stream: Stream) -> bool:
    """Whether there is such a side in such a state, that looks at what arrives."""
    over = {State.FINISHING, State.CLOSED}
    return stream.state not in over and in_state(stream.state)._accepted == stream.accepted


@given(
    st.one_of(
        valid_streams(small_parts, small_texts), mutated_streams(), garbage.filter(is_reachable)
    ),
    st.lists(st.integers(0, 3), max_size=12),
    st.data(),
)
@settings(properties, max_examples=300)
def test_any_bytes_in_any_split_and_with_any_room_give_the_same(
    stream: Stream, rooms: list[int], data: st.DataObject
) -> None:
    # The streams of an accepted side that is open begin with its HelloRequest.
    expected = expected_of(stream)
    event(str(expected.violation))
    assert run([stream.data], stream, []) == expected
    assert run(data.draw(splits(stream.data)), stream, rooms) == expected
    assert run([bytes([byte]) for byte in stream.data], stream, rooms) == expected


# ---------------------------------------------------------------------- any calls in any order


class Caller:
    """Calls a conversation in any order, at times that only go forward, and looks at it."""

    def __init__(self, conversation: Conversation) -> None:
        self.conversation = conversation
        self.now = 0.0
        self.ended = conversation.ending

    def check(self) -> None:
        conversation = self.conversation
        deadline = conversation.deadline()
        assert not math.isnan(deadline)
        if self.ended is not None:
            assert conversation.ending is self.ended
        self.ended = conversation.ending
        if self.ended is not None:
            assert deadline == math.inf
            assert conversation.state is State.CLOSED
            assert not conversation.must_end_sending
        assert conversation.writer.held >= conversation.writer.size >= 0

    def post(self, opcode: OpCode) -> None:
        queued = self.conversation.writer.size
        returned = len(self.conversation._returned)
        error = post(self.conversation, opcode, now=self.now)
        came_back = len(self.conversation._returned) - returned
        is_sent = self.conversation.writer.size > queued
        assert error in {None, AmpeError.NOT_ALLOWED}
        assert (error is not None) + came_back + is_sent == 1

    def receive(self, data: bytes, room: int) -> None:
        conversation = self.conversation
        messages = (
            conversation.read(room, self.now)
            if conversation.unread
            else conversation.receive(data, room, self.now)
        )
        assert len(messages) <= room
        if conversation.reader.violation is not None:
            assert conversation.ending is not None

    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        conversation = self.conversation
        deadline = conversation.deadline()
        conversation.time_passed(self.now)
        if self.now < deadline:
            assert conversation.ending is self.ended
        else:
            assert conversation.ending is not None or conversation.deadline() > self.now

    def waits(self) -> None:
        """Time passes until the deadline, and for that it must have been finite."""
        deadline = self.conversation.deadline()
        if deadline < math.inf:
            self.time_passes(max(deadline - self.now, 0))


type Call = Callable[[Caller], object]

errors = st.sampled_from([AmpeError.PEER_DISCONNECTED, AmpeError.COMMUNICATION_FAILED])
pieces = st.one_of(
    st.sampled_from(OpCode).map(frame),
    st.just(hello()),
    st.just(frame(OpCode.SIGNAL)[:9]),
    st.just(frame(OpCode.SIGNAL)[9:]),
    small_parts,
)


def calls() -> st.SearchStrategy[Call]:
    """Anything that a conversation can be told."""
    plain: list[Call] = [
        lambda caller: caller.conversation.close(caller.now),
        lambda caller: caller.conversation.link_opened(caller.now),
        lambda caller: caller.conversation.link_is_quiet(),
        lambda caller: caller.conversation.all_written(caller.now),
        lambda caller: caller.conversation.pause(),
        lambda caller: caller.conversation.resume(caller.now),
        lambda caller: caller.conversation.take_returned(),
        Caller.waits,
    ]
    return st.one_of(
        st.sampled_from(plain),
        st.sampled_from(POSTABLE).map(lambda opcode: lambda caller: caller.post(opcode)),
        st.builds(
            lambda data, room: lambda caller: caller.receive(data, room),
            pieces,
            st.integers(0, 3),
        ),
        st.integers(1, 200).map(lambda length: lambda caller: write(caller.conversation, length)),
        st.booleans().map(
            lambda taken: lambda caller: caller.conversation.link_is_full(caller.now, taken=taken)
        ),
        errors.map(lambda error: lambda caller: caller.conversation.link_refuses(error, "")),
        errors.map(lambda error: lambda caller: caller.conversation.link_ended(error, "")),
        st.booleans().map(
            lambda answers: (
                lambda caller: caller.conversation.link_failed(
                    AmpeError.CONNECT_FAILED, "", answers_hello=answers
                )
            )
        ),
        st.sampled_from(Cause).map(lambda cause: lambda caller: caller.conversation.end(cause)),
        st.floats(0, 100).map(lambda seconds: lambda caller: caller.time_passes(seconds)),
    )


@given(st.booleans(), st.lists(calls(), max_size=30))
@settings(properties, max_examples=500)
def test_any_calls_in_any_order_have_an_effect_or_none_and_never_raise(
    is_accepted: bool, todo: list[Call]
) -> None:
    caller = Caller(accepted() if is_accepted else connecting())
    for call in todo:
        call(caller)
        caller.check()
    conversation = caller.conversation
    conversation.end(Cause.DEFECT)
    caller.check()
    *_, last = conversation.last_messages()
    assert caller.ended is not None
    assert last.text_headers.get("~reason") == caller.ended.reason.name
    assert conversation.writer.held == 0


@given(st.sampled_from(State), st.lists(calls(), max_size=8))
@settings(properties, max_examples=500)
def test_after_the_deadline_it_has_ended_or_the_deadline_has_moved(
    state: State, todo: list[Call]
) -> None:
    caller = Caller(in_state(state))
    for call in todo:
        call(caller)
        caller.waits()
        caller.check()
