"""When a conversation ends for want of time: every limit, in every state in which it runs."""

import math
from typing import Final

import attrs
import pytest

from pytofu.protocol.conversation import Conversation
from pytofu.protocol.ending import ENDINGS, Cause
from pytofu.protocol.lifecycle import State
from pytofu.values.header import OpCode
from pytofu.values.status import AmpeError
from tests.protocol.conversations import (
    LIMITS,
    accepted,
    connecting,
    in_state,
    message_of,
    post,
    receive,
    write,
)
from tests.support import frame, hello

START: Final = 1000.0
"""When the conversation was made, unless a test says otherwise."""

PIECE: Final = frame(OpCode.SIGNAL)[:9]
REST: Final = frame(OpCode.SIGNAL)[9:]

every_state = pytest.mark.parametrize("state", State, ids=lambda state: state.name)
OPENLY: Final = [State.OPEN, State.BYE_RECEIVED, State.HELLO_RECEIVED]
"""States in which nothing is waited for but parts of messages and room for them."""

ASKING: Final = [State.BYE_SENT, State.BYE_CROSSED]
GREETING: Final = [State.HELLO_SENT, State.HELLO_THEN_BYE_SENT]
CLOSING: Final = [State.BYE_ANSWERED, State.FINISHING]


def strikes(conversation: Conversation, at: float, cause: Cause) -> bool:
    """Whether time is up at that moment and not before it, with that cause."""
    assert conversation.deadline() == at
    conversation.time_passed(math.nextafter(at, 0))
    assert conversation.ending is None
    conversation.time_passed(at)
    assert conversation.deadline() == math.inf
    return conversation.ending is ENDINGS[cause]


class TestEachStateAlone:
    """When everything is written, nothing arrives, and the link takes what it is given."""

    def test_hello_awaited(self) -> None:
        assert strikes(in_state(State.HELLO_AWAITED, START), START + 20, Cause.HELLO_LATE)

    @pytest.mark.parametrize("state", GREETING)
    def test_no_link(self, state: State) -> None:
        conversation = connecting(START)
        if state is State.HELLO_THEN_BYE_SENT:
            post(conversation, OpCode.BYE_REQUEST, now=START + 5)
        assert strikes(conversation, START + 10, Cause.NOT_CONNECTED_IN_TIME)

    @pytest.mark.parametrize("state", GREETING)
    def test_unanswered_hello(self, state: State) -> None:
        conversation = connecting(START)
        conversation.link_opened(START + 7)
        if state is State.HELLO_THEN_BYE_SENT:
            post(conversation, OpCode.BYE_REQUEST, now=START + 8)
        assert conversation.state is state
        assert strikes(conversation, START + 7 + 20, Cause.HELLO_UNANSWERED)

    @pytest.mark.parametrize("state", [*OPENLY, State.HELLO_THEN_BYE_RECEIVED])
    def test_without_limit(self, state: State) -> None:
        conversation = in_state(state, START)
        assert conversation.deadline() == math.inf
        conversation.time_passed(1e18)
        assert conversation.ending is None

    @pytest.mark.parametrize("state", ASKING)
    def test_unanswered_bye(self, state: State) -> None:
        assert strikes(in_state(state, START), START + 50, Cause.BYE_UNANSWERED)

    def test_not_closed_by_the_peer(self) -> None:
        conversation = in_state(State.BYE_ANSWERED, START)
        assert strikes(conversation, START + 60, Cause.NOT_CLOSED_IN_TIME)

    def test_finishing_with_everything_sent(self) -> None:
        assert strikes(in_state(State.FINISHING, START), START + 60, Cause.AGREED)

    def test_finishing_with_something_left(self) -> None:
        conversation = in_state(State.OPEN, START)
        post(conversation, OpCode.SIGNAL)
        conversation.close(START + 3)
        assert strikes(conversation, START + 3 + 60, Cause.NOT_CLOSED_IN_TIME)

    def test_over(self) -> None:
        assert in_state(State.CLOSED, START).deadline() == math.inf


class TestFrameTimeout:
    @pytest.mark.parametrize("state", [*OPENLY, *ASKING])
    def test_from_when_the_first_byte_came(self, state: State) -> None:
        conversation = in_state(state, START)
        for second, byte in enumerate(PIECE, 1):
            assert conversation.receive(bytes([byte]), 9, START + second) == []
        assert conversation.frame_began == START + 1
        assert strikes(conversation, START + 1 + 30, Cause.FRAME_LATE)

    @pytest.mark.parametrize("state", OPENLY)
    def test_over_with_the_last_byte(self, state: State) -> None:
        conversation = in_state(state, START)
        conversation.receive(PIECE, 9, START + 1)
        assert len(conversation.receive(REST, 9, START + 2)) == 1
        assert conversation.frame_began == math.inf
        assert conversation.deadline() == math.inf

    @pytest.mark.parametrize("state", OPENLY)
    def test_from_anew_with_the_next_message(self, state: State) -> None:
        conversation = in_state(state, START)
        conversation.receive(PIECE, 9, START + 1)
        assert len(conversation.receive(REST + PIECE, 9, START + 2)) == 1
        assert strikes(conversation, START + 2 + 30, Cause.FRAME_LATE)

    def test_behind_a_message_that_changes_the_state(self) -> None:
        conversation = accepted(START)
        assert len(conversation.receive(hello() + PIECE, 9, START + 2)) == 1
        assert strikes(conversation, START + 2 + 30, Cause.FRAME_LATE)

    def test_in_a_hello_request_it_is_the_hello_timeout_that_counts(self) -> None:
        conversation = accepted(START)
        conversation.receive(hello()[:9], 9, START + 19)
        assert strikes(conversation, START + 20, Cause.HELLO_LATE)

    @pytest.mark.parametrize("state", GREETING)
    def test_in_an_answer_to_our_hello_whichever_is_first(self, state: State) -> None:
        conversation = in_state(state, START)
        conversation.receive(PIECE, 9, START + 1)
        assert strikes(conversation, START + 20, Cause.HELLO_UNANSWERED)
        limits = attrs.evolve(LIMITS, frame_timeout=3)
        conversation = connecting(START, limits)
        conversation.link_opened(START)
        conversation.receive(PIECE, 9, START + 1)
        assert strikes(conversation, START + 4, Cause.FRAME_LATE)

    @pytest.mark.parametrize("state", CLOSING)
    def test_not_when_closing(self, state: State) -> None:
        conversation = in_state(state, START)
        conversation.receive(PIECE, 9, START + 1)
        assert conversation.deadline() == START + 60


class TestSendTimeout:
    @pytest.mark.parametrize("state", [*OPENLY, *ASKING])
    def test_from_when_the_link_was_full(self, state: State) -> None:
        conversation = in_state(state, START)
        conversation.link_is_full(START + 1, taken=True)
        conversation.link_is_full(START + 2, taken=False)
        assert strikes(conversation, START + 1 + 40, Cause.NOTHING_TAKEN)

    @pytest.mark.parametrize("taken", [True, False])
    def test_with_the_first_time_it_is_full(self, taken: bool) -> None:
        conversation = in_state(State.OPEN, START)
        conversation.link_is_full(START + 1, taken=taken)
        assert strikes(conversation, START + 1 + 40, Cause.NOTHING_TAKEN)

    @pytest.mark.parametrize("state", OPENLY)
    def test_from_anew_whenever_it_takes_something(self, state: State) -> None:
        conversation = in_state(state, START)
        conversation.link_is_full(START + 1, taken=True)
        conversation.link_is_full(START + 2, taken=True)
        assert strikes(conversation, START + 2 + 40, Cause.NOTHING_TAKEN)

    @pytest.mark.parametrize("state", OPENLY)
    def test_over_when_all_is_taken(self, state: State) -> None:
        conversation = in_state(state, START)
        conversation.link_is_full(START + 1, taken=True)
        conversation.all_written(START + 2)
        assert conversation.deadline() == math.inf

    @pytest.mark.parametrize("state", GREETING)
    def test_a_full_link_does_not_lengthen_the_hello(self, state: State) -> None:
        conversation = in_state(state, START)
        conversation.link_is_full(START + 1, taken=True)
        assert strikes(conversation, START + 20, Cause.HELLO_UNANSWERED)

    def test_before_a_frame_that_is_later(self) -> None:
        conversation = in_state(State.OPEN, START)
        conversation.link_is_full(START + 1, taken=True)
        conversation.receive(PIECE, 9, START + 12)
        assert strikes(conversation, START + 1 + 40, Cause.NOTHING_TAKEN)

    def test_behind_a_frame_that_is_earlier(self) -> None:
        conversation = in_state(State.OPEN, START)
        conversation.link_is_full(START + 12, taken=True)
        conversation.receive(PIECE, 9, START + 1)
        assert strikes(conversation, START + 1 + 30, Cause.FRAME_LATE)

    @pytest.mark.parametrize("state", CLOSING)
    def test_not_when_closing(self, state: State) -> None:
        conversation = in_state(state, START)
        conversation.link_is_full(START + 1, taken=True)
        assert conversation.deadline() == START + 60


class TestByeTimeout:
    @pytest.mark.parametrize("state", ASKING)
    def test_from_when_the_peer_has_taken_it(self, state: State) -> None:
        conversation = in_state(state, START)
        conversation.link_is_full(START + 1, taken=True)
        conversation.all_written(START + 39)
        assert strikes(conversation, START + 39 + 50, Cause.BYE_UNANSWERED)

    def test_a_link_that_was_full_long_before_counts_not(self) -> None:
        conversation = in_state(State.OPEN, START)
        conversation.link_is_full(START + 1, taken=True)
        conversation.all_written(START + 2)
        post(conversation, OpCode.BYE_REQUEST, now=START + 30)
        assert strikes(conversation, START + 30 + 50, Cause.BYE_UNANSWERED)

    def test_behind_a_hello_from_when_that_is_answered(self) -> None:
        conversation = in_state(State.HELLO_THEN_BYE_SENT, START)
        receive(conversation, OpCode.HELLO_RESPONSE, now=START + 15)
        assert strikes(conversation, START + 15 + 50, Cause.BYE_UNANSWERED)

    def test_from_anew_when_the_peer_asks_as_well(self) -> None:
        conversation = in_state(State.BYE_SENT, START)
        receive(conversation, OpCode.BYE_REQUEST, now=START + 40)
        assert strikes(conversation, START + 40 + 50, Cause.BYE_UNANSWERED)

    def test_no_message_but_an_answer_ends_it(self) -> None:
        conversation = in_state(State.BYE_SENT, START)
        receive(conversation, OpCode.REQUEST, OpCode.SIGNAL, now=START + 40)
        assert strikes(conversation, START + 50, Cause.BYE_UNANSWERED)


class TestPausing:
    """While this side does not read, what the peer sends does not arrive: it is not late."""

    @pytest.mark.parametrize("state", [*OPENLY, *ASKING, *GREETING, State.HELLO_AWAITED])
    def test_only_send_timeout_runs(self, state: State) -> None:
        conversation = in_state(state, START)
        conversation.receive(PIECE if state is not State.HELLO_AWAITED else hello()[:9], 9, START)
        conversation.pause()
        assert conversation.paused
        assert conversation.deadline() == math.inf
        conversation.time_passed(1e18)
        assert conversation.ending is None
        conversation.link_is_full(START + 1, taken=True)
        assert strikes(conversation, START + 1 + 40, Cause.NOTHING_TAKEN)

    @pytest.mark.parametrize(
        ("state", "piece", "time_left", "cause"),
        [
            (State.HELLO_AWAITED, b"", 20, Cause.HELLO_LATE),
            (State.HELLO_SENT, b"", 20, Cause.HELLO_UNANSWERED),
            (State.HELLO_THEN_BYE_SENT, b"", 20, Cause.HELLO_UNANSWERED),
            (State.OPEN, PIECE, 30, Cause.FRAME_LATE),
            (State.BYE_SENT, b"", 50, Cause.BYE_UNANSWERED),
            (State.BYE_SENT, PIECE, 30, Cause.FRAME_LATE),
            (State.BYE_CROSSED, b"", 50, Cause.BYE_UNANSWERED),
        ],
    )
    def test_then_all_of_it_runs_anew(
        self, state: State, piece: bytes, time_left: float, cause: Cause
    ) -> None:
        conversation = in_state(state, START)
        conversation.receive(piece, 9, START + 1)
        conversation.pause()
        conversation.resume(START + 500)
        assert not conversation.paused
        assert strikes(conversation, START + 500 + time_left, cause)

    def test_what_begins_after_a_pause_has_its_own_time(self) -> None:
        conversation = in_state(State.OPEN, START)
        conversation.pause()
        conversation.resume(START + 5)
        conversation.receive(PIECE, 9, START + 100)
        assert strikes(conversation, START + 100 + 30, Cause.FRAME_LATE)

    @pytest.mark.parametrize("state", CLOSING)
    def test_who_closes_waits_no_longer_for_that(self, state: State) -> None:
        conversation = in_state(state, START)
        conversation.pause()
        assert conversation.deadline() == START + 60

    def test_a_part_behind_unread_messages_begins_when_it_is_looked_at(self) -> None:
        conversation = in_state(State.OPEN, START)
        assert conversation.receive(frame(OpCode.SIGNAL) + PIECE, 0, START + 1) == []
        conversation.pause()
        assert conversation.frame_began == math.inf
        assert len(conversation.read(9, START + 90)) == 1
        conversation.resume(START + 90)
        assert strikes(conversation, START + 90 + 30, Cause.FRAME_LATE)


class TestClosing:
    def test_a_link_that_is_not_there_yet_has_only_close_timeout(self) -> None:
        conversation = connecting(START)
        conversation.close(START + 9)
        assert strikes(conversation, START + 9 + 60, Cause.NOT_CLOSED_IN_TIME)

    def test_leaving_twice_gives_no_more_time(self) -> None:
        conversation = in_state(State.OPEN, START)
        conversation.writer.push(message_of(OpCode.SIGNAL))
        conversation.close(START + 1)
        conversation.close(START + 9)
        assert strikes(conversation, START + 1 + 60, Cause.NOT_CLOSED_IN_TIME)

    def test_leaving_after_an_answer_gives_time_anew(self) -> None:
        conversation = in_state(State.BYE_ANSWERED, START)
        conversation.close(START + 9)
        write(conversation)
        assert strikes(conversation, START + 9 + 60, Cause.AGREED)


@every_state
@pytest.mark.parametrize("forever", [True, False])
def test_a_limit_may_be_infinite(state: State, forever: bool) -> None:
    limits = attrs.evolve(LIMITS, **dict.fromkeys(attrs.asdict(LIMITS), math.inf))
    conversation = in_state(state, START, limits if forever else LIMITS)
    conversation.link_is_full(START, taken=True)
    assert (conversation.deadline() == math.inf) == (forever or state is State.CLOSED)
    conversation.time_passed(1e18)
    assert (conversation.ending is None) == (forever and state is not State.CLOSED)


def test_a_broken_link_has_no_time_limit_left() -> None:
    conversation = in_state(State.BYE_SENT, START)
    conversation.link_ended(AmpeError.COMMUNICATION_FAILED, "reset")
    assert conversation.deadline() == math.inf
