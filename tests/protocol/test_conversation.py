"""What a conversation does with messages; time limits have a file of their own."""

from typing import Final

import pytest

from pytofu.protocol.conversation import Conversation
from pytofu.protocol.ending import ENDINGS, Cause, broken, not_connected, violated
from pytofu.protocol.framing import LONGEST_FRAME
from pytofu.protocol.lifecycle import Posting, State
from pytofu.values.header import OpCode
from pytofu.values.status import AmpeError, AmpeStatus
from tests.protocol import conversations
from tests.protocol.conversations import (
    MESSAGE_ID,
    NUMBER,
    accepted,
    connecting,
    events,
    in_state,
    message_of,
    post,
    receive,
    write,
)
from tests.support import HELLO_HEADERS, Event, closed, frame, from_app, from_engine, hello

CLOSED: Final = AmpeStatus.CHANNEL_CLOSED
every_state = pytest.mark.parametrize("state", State, ids=lambda state: state.name)
every_cause = pytest.mark.parametrize("cause", Cause, ids=lambda cause: cause.name)


def all_but(*states: State) -> list[State]:
    return [state for state in State if state not in states]


def returned(
    opcode: OpCode, message_id: int = 1, status: AmpeStatus = AmpeStatus.CHANNEL_CLOSED
) -> Event:
    """A message that comes back."""
    return from_engine(opcode, status, NUMBER, message_id)


def last_events(conversation: Conversation) -> list[Event]:
    return events(list(conversation.last_messages()))


@every_state
def test_the_helper_knows_a_way_into_each_state(state: State) -> None:
    conversation = in_state(state)
    assert (conversation.ending is not None) == (state is State.CLOSED)
    assert conversation.writer.size == 0


class TestMessageId:
    def test_connecting_it_is_that_of_our_hello(self) -> None:
        conversation = in_state(State.OPEN)
        receive(conversation, OpCode.SIGNAL)
        assert conversation.message_id == MESSAGE_ID
        conversation.end(Cause.PEER_LEFT)
        assert last_events(conversation) == [closed(NUMBER, 99, AmpeStatus.PEER_DISCONNECTED)]

    def test_accepted_it_is_that_of_the_first_message_received(self) -> None:
        conversation = accepted()
        assert conversation.message_id == 0
        receive(conversation, OpCode.HELLO_REQUEST, OpCode.SIGNAL)
        assert conversation.message_id == MESSAGE_ID

    def test_accepted_it_is_0_if_nothing_was_received(self) -> None:
        conversation = accepted()
        receive(conversation, OpCode.SIGNAL)
        assert last_events(conversation) == [closed(NUMBER, 0, AmpeStatus.NOT_ALLOWED)]


class TestPosting:
    @pytest.mark.parametrize(
        ("state", "opcode"),
        [
            (State.HELLO_AWAITED, OpCode.SIGNAL),
            (State.HELLO_RECEIVED, OpCode.BYE_REQUEST),
            (State.OPEN, OpCode.HELLO_RESPONSE),
            (State.OPEN, OpCode.WELCOME_REQUEST),
        ],
    )
    def test_refused(self, state: State, opcode: OpCode) -> None:
        conversation = in_state(state)
        assert post(conversation, opcode) is AmpeError.NOT_ALLOWED
        assert conversation.state is state
        assert conversation.take_returned() == []
        assert conversation.writer.size == 0

    @pytest.mark.parametrize("state", [State.BYE_SENT, State.BYE_ANSWERED, State.FINISHING])
    def test_returned_at_once_behind_a_bye(self, state: State) -> None:
        conversation = in_state(state)
        for number in (1, 2):
            assert post(conversation, OpCode.SIGNAL, number) is None
        assert conversation.ending is None
        assert events(conversation.take_returned()) == [
            returned(OpCode.SIGNAL, 1),
            returned(OpCode.SIGNAL, 2),
        ]
        assert conversation.take_returned() == []
        assert conversation.writer.size == 0

    def test_what_is_returned_is_a_copy(self) -> None:
        # Whoever posted it gives the original back to the pool.
        conversation = in_state(State.BYE_SENT)
        message = message_of(OpCode.SIGNAL, 1, b"body")
        assert conversation.post(message, Posting.RETURN, 0) is None
        message.release()
        (copy,) = conversation.take_returned()
        assert copy.payload == b"body"

    def test_returned_after_the_end(self) -> None:
        conversation = in_state(State.CLOSED)
        assert post(conversation, OpCode.SIGNAL) is None
        assert last_events(conversation) == [
            returned(OpCode.SIGNAL),
            closed(NUMBER, MESSAGE_ID, AmpeStatus.SUCCESS),
        ]

    @every_state
    def test_a_bye_signal_aborts_and_comes_back_first(self, state: State) -> None:
        conversation = in_state(state)
        before = conversation.ending
        if state is State.OPEN:
            post(conversation, OpCode.REQUEST, 5)
        assert post(conversation, OpCode.BYE_SIGNAL) is None
        assert conversation.ending is (before or ENDINGS[Cause.ABORTED])
        expected = [returned(OpCode.BYE_SIGNAL)]
        if state is State.OPEN:
            expected.append(returned(OpCode.REQUEST, 5))
        assert last_events(conversation)[:-1] == expected

    @every_state
    def test_another_hello_request_is_denied(self, state: State) -> None:
        conversation = in_state(state)
        before = conversation.ending
        assert post(conversation, OpCode.HELLO_REQUEST) is None
        assert conversation.ending is (before or ENDINGS[Cause.DENIED])
        assert last_events(conversation)[:-1] == [
            from_engine(
                OpCode.HELLO_RESPONSE,
                AmpeStatus.INVALID_CHANNEL_NUMBER,
                NUMBER,
                1,
                headers=HELLO_HEADERS,
            )
        ]


class TestGreeting:
    @pytest.mark.parametrize(
        "answer", [OpCode.HELLO_RESPONSE, OpCode.BYE_RESPONSE, OpCode.BYE_SIGNAL]
    )
    @pytest.mark.parametrize("state", [State.HELLO_SENT, State.HELLO_THEN_BYE_SENT])
    def test_what_was_kept_is_forgotten_on_any_answer(self, state: State, answer: OpCode) -> None:
        conversation = in_state(state)
        assert conversation.writer.held > conversation.writer.size == 0
        assert receive(conversation, answer)
        assert conversation.writer.held == 0
        conversation.end(ENDINGS[Cause.HELLO_UNANSWERED])
        assert len(last_events(conversation)) == 1

    def test_unanswered_everything_comes_back(self) -> None:
        conversation = connecting()
        conversation.link_opened(0)
        post(conversation, OpCode.REQUEST, 1)
        write(conversation, 40)
        post(conversation, OpCode.SIGNAL, 2)
        post(conversation, OpCode.BYE_REQUEST, 3)
        post(conversation, OpCode.REQUEST, 4)
        assert events(conversation.take_returned()) == [returned(OpCode.REQUEST, 4)]
        write(conversation, 40)
        conversation.end(Cause.HELLO_UNANSWERED)
        failed = AmpeStatus.CONNECT_FAILED
        assert last_events(conversation) == [
            from_engine(OpCode.HELLO_REQUEST, failed, NUMBER, MESSAGE_ID, headers=HELLO_HEADERS),
            returned(OpCode.REQUEST, 1, failed),
            returned(OpCode.SIGNAL, 2, failed),
            returned(OpCode.BYE_REQUEST, 3, failed),
            closed(NUMBER, MESSAGE_ID, failed),
        ]

    @every_cause
    def test_for_any_other_cause_what_is_written_does_not_come_back(self, cause: Cause) -> None:
        conversation = in_state(State.HELLO_SENT)
        post(conversation, OpCode.SIGNAL, 2)
        conversation.end(cause)
        ending = ENDINGS[cause]
        *back, last = last_events(conversation)
        assert last == closed(NUMBER, MESSAGE_ID, ending.reason)
        if cause is Cause.HELLO_UNANSWERED:
            assert back.pop(0).opcode is OpCode.HELLO_REQUEST
        assert back == [returned(OpCode.SIGNAL, 2, ending.unsent)]

    @pytest.mark.parametrize("answers_hello", [True, False])
    def test_without_a_link_everything_comes_back(self, answers_hello: bool) -> None:
        conversation = connecting()
        post(conversation, OpCode.HELLO_RESPONSE, 1)
        post(conversation, OpCode.SIGNAL, 2)
        error, status = AmpeError.INVALID_ADDRESS, AmpeStatus.INVALID_ADDRESS
        conversation.link_failed(error, "nobody there", answers_hello=answers_hello)
        assert conversation.ending == not_connected(
            error, "nobody there", answers_hello=answers_hello
        )
        first = OpCode.HELLO_RESPONSE if answers_hello else OpCode.HELLO_REQUEST
        messages = list(conversation.last_messages())
        assert events(messages) == [
            from_engine(first, status, NUMBER, MESSAGE_ID, headers=HELLO_HEADERS),
            returned(OpCode.SIGNAL, 2, status),
            closed(NUMBER, MESSAGE_ID, status),
        ]
        assert messages[-1].text_headers.get("~detail") == "nobody there"

    def test_a_hello_request_that_is_too_large(self) -> None:
        conversation = Conversation(conversations.LIMITS, 0, accepted=True, max_hello_bytes=30)
        assert conversation.receive(hello(body=b"x" * 12), 9, 0) == []
        assert conversation.ending is ENDINGS[Cause.HELLO_TOO_LARGE]

    def test_behind_a_hello_request_any_length_goes(self) -> None:
        conversation = Conversation(conversations.LIMITS, 0, accepted=True, max_hello_bytes=30)
        behind = frame(OpCode.SIGNAL, body=b"x" * 50)
        messages = conversation.receive(hello(body=b"x" * 11) + behind, 9, 0)
        assert [message.opcode for message in messages] == [OpCode.HELLO_REQUEST, OpCode.SIGNAL]
        assert conversation.reader.longest == LONGEST_FRAME
        assert conversation.ending is None

    def test_connecting_any_length_goes(self) -> None:
        conversation = connecting()
        assert conversation.reader.longest == LONGEST_FRAME


class TestReceiving:
    def test_one_chunk_can_bring_a_whole_life(self) -> None:
        conversation = accepted()
        opcodes = (OpCode.HELLO_REQUEST, OpCode.REQUEST, OpCode.BYE_REQUEST, OpCode.BYE_RESPONSE)
        assert receive(conversation, *opcodes, OpCode.REQUEST) == [
            from_app(OpCode.HELLO_REQUEST, NUMBER, MESSAGE_ID),
            from_app(OpCode.REQUEST, NUMBER, 2),
            from_app(OpCode.BYE_REQUEST, NUMBER, 3),
            from_app(OpCode.BYE_RESPONSE, NUMBER, 4),
        ]
        assert conversation.ending is ENDINGS[Cause.AGREED]
        assert not conversation.unread

    def test_as_many_as_there_is_room_for(self) -> None:
        conversation = accepted()
        opcodes = (OpCode.HELLO_REQUEST, OpCode.REQUEST, OpCode.BYE_REQUEST, OpCode.BYE_SIGNAL)
        seen = receive(conversation, *opcodes, room=0)
        states = [conversation.state]
        assert seen == []
        for room in (1, 0, 2, 1):
            assert conversation.unread
            found = events(conversation.read(room, 0))
            assert len(found) == room
            seen += found
            states.append(conversation.state)
        assert [event.opcode for event in seen] == list(opcodes)
        assert states == [
            State.HELLO_AWAITED,
            State.HELLO_RECEIVED,
            State.HELLO_RECEIVED,
            State.HELLO_THEN_BYE_RECEIVED,
            State.CLOSED,
        ]
        assert conversation.ending is ENDINGS[Cause.PEER_LEFT]

    def test_what_came_before_a_violation_is_delivered(self) -> None:
        conversation = in_state(State.OPEN)
        seen = receive(conversation, OpCode.REQUEST, OpCode.WELCOME_REQUEST, OpCode.SIGNAL)
        assert [event.opcode for event in seen] == [OpCode.REQUEST]
        assert conversation.ending == violated(AmpeError.INVALID_OP_CODE)
        assert not conversation.unread

    @pytest.mark.parametrize("data", [b"", b"\0" * 5, frame(OpCode.SIGNAL), b"\xff" * 40])
    def test_in_the_state_finishing_nothing_is_looked_at(self, data: bytes) -> None:
        conversation = in_state(State.FINISHING)
        assert conversation.receive(data, 9, 0) == []
        assert conversation.read(9, 0) == []
        assert (conversation.unread, conversation.reader.busy) == (False, False)
        assert conversation.ending is None

    @pytest.mark.parametrize("left", [frame(OpCode.SIGNAL), frame(OpCode.SIGNAL)[:9]])
    def test_who_leaves_drops_what_is_unread(self, left: bytes) -> None:
        # Looked at again when there is room, it would be a violation: the channel would be reset,
        # and what is queued on it lost.
        conversation = in_state(State.OPEN)
        post(conversation, OpCode.REQUEST)
        assert conversation.receive(left, 0, 0) == []
        assert conversation.reader.busy
        conversation.close(0)
        assert not conversation.reader.busy
        assert conversation.read(9, 0) == []
        assert conversation.ending is None
        assert conversation.writer.size

    def test_who_has_answered_in_crossed_byes_drops_what_is_unread(self) -> None:
        conversation = in_state(State.BYE_CROSSED)
        assert receive(conversation, OpCode.BYE_RESPONSE, room=0) == []
        assert post(conversation, OpCode.BYE_RESPONSE) is None
        assert conversation.state is State.FINISHING
        assert not conversation.unread
        assert conversation.read(9, 0) == []
        assert conversation.ending is None

    @pytest.mark.parametrize("data", [b"\0" * 5, frame(OpCode.BYE_REQUEST), b"\xff" * 40])
    @pytest.mark.parametrize("kept", [b"", frame(OpCode.BYE_REQUEST)[:9]])
    def test_nothing_is_received_after_the_end(self, kept: bytes, data: bytes) -> None:
        conversation = in_state(State.OPEN)
        conversation.receive(kept, 9, 0)
        conversation.end(Cause.ABORTED)
        assert not conversation.reader.busy
        assert conversation.receive(data, 9, 0) == []
        assert conversation.state is State.CLOSED
        assert conversation.ending is ENDINGS[Cause.ABORTED]


class TestClosing:
    def test_who_has_received_nothing_ends_at_once(self) -> None:
        conversation = accepted()
        conversation.receive(b"\0" * 5, 9, 0)
        conversation.close(0)
        assert conversation.ending is ENDINGS[Cause.AGREED]

    @pytest.mark.parametrize("state", all_but(State.HELLO_AWAITED, State.CLOSED))
    def test_everything_queued_is_sent_first(self, state: State) -> None:
        conversation = in_state(state)
        conversation.writer.push(message_of(OpCode.REQUEST))
        conversation.close(0)
        assert conversation.state is State.FINISHING
        assert not conversation.must_end_sending
        write(conversation)
        assert conversation.must_end_sending
        assert conversation.ending is None
        conversation.link_ended(AmpeError.PEER_DISCONNECTED, "")
        assert conversation.ending is ENDINGS[Cause.AGREED]
        assert not conversation.must_end_sending

    def test_after_the_end_it_changes_nothing(self) -> None:
        conversation = in_state(State.CLOSED)
        conversation.close(0)
        assert conversation.state is State.CLOSED
        assert not conversation.must_end_sending

    @pytest.mark.parametrize("state", all_but(State.FINISHING))
    def test_otherwise_sending_goes_on(self, state: State) -> None:
        assert not in_state(state).must_end_sending


class TestTheEnd:
    @every_cause
    @every_state
    def test_the_first_cause_stays(self, state: State, cause: Cause) -> None:
        conversation = in_state(state)
        before = conversation.ending
        conversation.end(cause)
        assert conversation.ending is (before or ENDINGS[cause])
        assert conversation.state is State.CLOSED
        conversation.end(Cause.DEFECT)
        conversation.link_ended(AmpeError.COMMUNICATION_FAILED, "reset")
        assert conversation.ending is (before or ENDINGS[cause])

    @every_cause
    def test_what_was_not_sent_comes_back_in_order_before_the_last_event(
        self, cause: Cause
    ) -> None:
        conversation = in_state(State.OPEN)
        for number in (1, 2, 3):
            post(conversation, OpCode.REQUEST, number)
        write(conversation, 20)
        post(conversation, OpCode.BYE_REQUEST, 4)
        post(conversation, OpCode.SIGNAL, 5)
        conversation.end(cause)
        ending = ENDINGS[cause]
        assert last_events(conversation) == [
            returned(OpCode.SIGNAL, 5),
            returned(OpCode.REQUEST, 2, ending.unsent),
            returned(OpCode.REQUEST, 3, ending.unsent),
            returned(OpCode.BYE_REQUEST, 4, ending.unsent),
            closed(NUMBER, MESSAGE_ID, ending.reason),
        ]
        assert conversation.writer.held == 0


BROKEN: Final = broken(AmpeError.COMMUNICATION_FAILED, "reset by peer")


class TestTheLink:
    @pytest.mark.parametrize("state", all_but(State.CLOSED))
    @pytest.mark.parametrize("orderly", [True, False])
    def test_ended(self, state: State, orderly: bool) -> None:
        conversation = in_state(state)
        if orderly:
            conversation.link_ended(AmpeError.PEER_DISCONNECTED, "")
        else:
            conversation.link_ended(AmpeError.COMMUNICATION_FAILED, "reset by peer")
        if state in {State.BYE_ANSWERED, State.FINISHING}:
            assert conversation.ending is ENDINGS[Cause.AGREED]
        else:
            assert conversation.ending == (ENDINGS[Cause.PEER_LEFT] if orderly else BROKEN)

    @pytest.mark.parametrize("state", [State.BYE_RECEIVED, State.BYE_CROSSED])
    @pytest.mark.parametrize("orderly", [True, False])
    def test_ended_before_it_has_taken_our_answer(self, state: State, orderly: bool) -> None:
        conversation = in_state(state)
        post(conversation, OpCode.BYE_RESPONSE)
        error = AmpeError.PEER_DISCONNECTED if orderly else AmpeError.COMMUNICATION_FAILED
        conversation.link_ended(error, "reset by peer")
        assert conversation.ending == (ENDINGS[Cause.PEER_LEFT] if orderly else BROKEN)
        assert last_events(conversation)[0].opcode is OpCode.BYE_RESPONSE

    @pytest.mark.parametrize("orderly", [True, False])
    def test_refusing_what_has_arrived_is_read_first(self, orderly: bool) -> None:
        conversation = in_state(State.OPEN)
        post(conversation, OpCode.REQUEST)
        conversation.link_is_quiet()
        assert conversation.ending is None
        assert conversation.may_send
        error = AmpeError.PEER_DISCONNECTED if orderly else AmpeError.COMMUNICATION_FAILED
        conversation.link_refuses(error, "reset by peer")
        assert not conversation.may_send
        assert conversation.ending is None
        assert len(receive(conversation, OpCode.SIGNAL)) == 1
        conversation.link_is_quiet()
        assert conversation.ending == (ENDINGS[Cause.PEER_LEFT] if orderly else BROKEN)
        assert last_events(conversation)[0].opcode is OpCode.REQUEST

    def test_refusing_the_peer_may_have_said_why(self) -> None:
        conversation = in_state(State.BYE_SENT)
        conversation.link_refuses(AmpeError.COMMUNICATION_FAILED, "reset by peer")
        receive(conversation, OpCode.BYE_RESPONSE)
        conversation.link_is_quiet()
        assert conversation.ending is ENDINGS[Cause.AGREED]

    @pytest.mark.parametrize("orderly", [True, False])
    def test_refusing_and_then_ended_in_good_order(self, orderly: bool) -> None:
        # A reset seen in sending can look like an orderly end in reading.
        conversation = in_state(State.OPEN)
        error = AmpeError.PEER_DISCONNECTED if orderly else AmpeError.COMMUNICATION_FAILED
        conversation.link_refuses(error, "reset by peer")
        conversation.link_ended(AmpeError.PEER_DISCONNECTED, "")
        assert conversation.ending == (ENDINGS[Cause.PEER_LEFT] if orderly else BROKEN)
