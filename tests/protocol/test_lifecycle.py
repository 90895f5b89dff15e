from collections import deque
from collections.abc import Iterator
from typing import Final

import attrs
import pytest

from pytofu.protocol.lifecycle import (
    POSTED,
    RECEIVED,
    Posting,
    PostRule,
    Rule,
    State,
    listener_post_rules,
    post_rules,
    receive_rules,
)
from pytofu.values.header import OpCode
from pytofu.values.status import AmpeError
from tests.protocol import reference

WIRE_OPCODES: Final = [opcode for opcode in OpCode if opcode <= OpCode.BYE_SIGNAL]
POST_OPCODES: Final = [opcode for opcode in OpCode if opcode is not OpCode.WELCOME_RESPONSE]

accepted_or_not = pytest.mark.parametrize("accepted", [True, False], ids=["accepted", "connecting"])
every_state = pytest.mark.parametrize("state", State, ids=lambda state: state.name)


# ---------------------------------------------------------------------- cell by cell


@every_state
@pytest.mark.parametrize("opcode", WIRE_OPCODES, ids=lambda opcode: opcode.name)
def test_each_cell_of_the_table_of_received_messages(state: State, opcode: OpCode) -> None:
    expected = reference.receive_rule(state, False, opcode)
    new_state = RECEIVED[state].get(opcode)
    match expected:
        case AmpeError():
            assert new_state is None
        case None:
            assert new_state is state
        case _:
            assert new_state is expected


@every_state
@pytest.mark.parametrize("opcode", POST_OPCODES, ids=lambda opcode: opcode.name)
def test_each_cell_of_the_table_of_posted_messages(state: State, opcode: OpCode) -> None:
    expected = reference.post_rule(state, True, opcode)
    cell = POSTED[state].get(opcode)
    match expected:
        case Posting.REFUSE if opcode is not OpCode.WELCOME_REQUEST:
            assert cell is Posting.REFUSE
        case Posting():
            assert cell is None
        case None:
            assert cell is state
        case _:
            assert cell is expected


def test_the_tables_have_a_row_for_each_state_and_no_cell_for_what_never_travels() -> None:
    assert set(RECEIVED) == set(POSTED) == set(State)
    for row in RECEIVED.values():
        assert set(row) <= set(WIRE_OPCODES)
    for posted in POSTED.values():
        same_everywhere = {OpCode.HELLO_REQUEST, OpCode.BYE_SIGNAL, OpCode.WELCOME_REQUEST}
        assert set(posted) <= set(POST_OPCODES) - same_everywhere


@every_state
@accepted_or_not
@pytest.mark.parametrize("opcode", POST_OPCODES, ids=lambda opcode: opcode.name)
def test_the_rule_for_each_opcode_posted(state: State, accepted: bool, opcode: OpCode) -> None:
    assert post_rules(state, accepted)[opcode] is reference.post_rule(state, accepted, opcode)


@every_state
@accepted_or_not
def test_all_256_proto_bytes(state: State, accepted: bool) -> None:
    rules = receive_rules(state, accepted)
    assert list(rules) == [reference.receive_rule(state, accepted, byte) for byte in range(256)]


@every_state
@accepted_or_not
def test_internal_bits_make_no_difference(state: State, accepted: bool) -> None:
    rules = receive_rules(state, accepted)
    assert rules[:64] == rules[64:128] == rules[128:192] == rules[192:]


@every_state
@accepted_or_not
def test_there_is_a_rule_for_each_opcode_posted(state: State, accepted: bool) -> None:
    assert len(post_rules(state, accepted)) == len(OpCode)


def test_a_listener_takes_a_bye_signal_and_nothing_else() -> None:
    assert len(listener_post_rules) == len(OpCode)
    for opcode in OpCode:
        expected = Posting.ABORT if opcode is OpCode.BYE_SIGNAL else Posting.REFUSE
        assert listener_post_rules[opcode] is expected


def test_rules_are_laid_out_once() -> None:
    assert receive_rules(State.OPEN, True) is receive_rules(State.OPEN, True)
    assert post_rules(State.OPEN, False) is post_rules(State.OPEN, False)


# ---------------------------------------------------------------------- as a machine

START: Final = {True: State.HELLO_AWAITED, False: State.HELLO_SENT}
"""The state in which an accepted and a connecting channel begin."""

ONLY_ACCEPTED: Final = {*(State.HELLO_AWAITED, State.HELLO_RECEIVED, State.HELLO_THEN_BYE_RECEIVED)}
ONLY_CONNECTING: Final = {State.HELLO_SENT, State.HELLO_THEN_BYE_SENT}


def successors(state: State, accepted: bool) -> Iterator[State]:
    for rule in (*receive_rules(state, accepted), *post_rules(state, accepted)):
        if isinstance(rule, State):
            yield rule
        elif rule in {Posting.ABORT, Posting.DENY}:
            yield State.CLOSED


def reachable(start: State, accepted: bool) -> set[State]:
    found, ahead = {start}, deque([start])
    while ahead:
        for state in successors(ahead.popleft(), accepted):
            if state not in found:
                found.add(state)
                ahead.append(state)
    return found


def test_every_state_is_reachable_on_the_side_it_belongs_to() -> None:
    assert reachable(State.HELLO_AWAITED, True) == set(State) - ONLY_CONNECTING
    assert reachable(State.HELLO_SENT, False) == set(State) - ONLY_ACCEPTED


@every_state
@accepted_or_not
def test_the_end_can_be_reached_from_every_state(state: State, accepted: bool) -> None:
    assert State.CLOSED in reachable(state, accepted)


@pytest.mark.parametrize("over", [State.FINISHING, State.CLOSED], ids=lambda state: state.name)
@accepted_or_not
def test_nothing_leads_out_of_the_end(over: State, accepted: bool) -> None:
    assert not any(isinstance(rule, State) for rule in receive_rules(over, accepted))
    assert not any(isinstance(rule, State) or rule is None for rule in post_rules(over, accepted))


# ---------------------------------------------------------------------- as sentences

CLOSING_OPCODES: Final = {OpCode.BYE_RESPONSE, OpCode.BYE_SIGNAL}


@attrs.frozen
class History:
    """What has happened on a channel, in the words of PROTOCOL 3 to 5 and without states."""

    accepted: bool
    greeted: bool = False
    """The peer's first message has come, and it was one that may come first."""
    welcomed: bool = False
    """We have answered the peer's HelloRequest with HelloResponse."""
    bye_requests: frozenset[str] = frozenset()
    """Who has sent a ByeRequest: "we", "they"."""
    answered: bool = False
    """We have sent a ByeResponse."""
    over: bool = False

    def may_receive(self, opcode: OpCode) -> AmpeError | None:
        """PROTOCOL 5: the violation, if it is one."""
        if opcode > OpCode.BYE_SIGNAL:
            return AmpeError.INVALID_OP_CODE
        if self.over:
            return AmpeError.NOT_ALLOWED
        first = {OpCode.HELLO_REQUEST}
        if not self.accepted:
            first = {OpCode.HELLO_RESPONSE, *CLOSING_OPCODES}
        if not self.greeted:
            return None if opcode in first else AmpeError.NOT_ALLOWED
        if opcode is OpCode.HELLO_REQUEST:
            return AmpeError.NOT_ALLOWED
        if self.accepted and opcode is OpCode.HELLO_RESPONSE:
            return AmpeError.NOT_ALLOWED
        return None

    def received(self, opcode: OpCode) -> "History":
        """The history behind a message that may be received."""
        if opcode in CLOSING_OPCODES:
            return attrs.evolve(self, over=True)
        if opcode is OpCode.BYE_REQUEST:
            return attrs.evolve(self, bye_requests=self.bye_requests | {"they"})
        return attrs.evolve(self, greeted=True)

    def on_post(self, opcode: OpCode) -> str:
        """PROTOCOL 3 to 5: what becomes of a post.

        "refused" (it stays with its poster), "sent", "returned", or one that closes the channel
        and comes back first: "aborts", "denied".
        """
        if opcode is OpCode.WELCOME_REQUEST:
            return "refused"
        if opcode is OpCode.BYE_SIGNAL:
            return "aborts"
        if opcode is OpCode.HELLO_REQUEST:
            return "denied"
        if opcode is OpCode.HELLO_RESPONSE and not self.accepted:  # the peer would punish it
            return "refused"
        if self.over or self.answered:
            return "returned"
        if self.accepted and not self.welcomed:
            # A connecting peer takes no other first message, and no answer before it has asked.
            answers = {OpCode.HELLO_RESPONSE, OpCode.BYE_RESPONSE} if self.greeted else set()
            return "sent" if opcode in answers else "refused"
        if opcode is OpCode.BYE_RESPONSE and not self.greeted:  # there is nothing to answer yet
            return "returned"
        if "we" in self.bye_requests:  # nothing follows a ByeRequest but the answer to a crossing
            crossed = opcode is OpCode.BYE_RESPONSE and "they" in self.bye_requests
            return "sent" if crossed else "returned"
        return "sent"

    def posted(self, opcode: OpCode) -> "History":
        """The history behind a post that is sent."""
        if opcode is OpCode.HELLO_RESPONSE:
            return attrs.evolve(self, welcomed=True)
        if opcode is OpCode.BYE_REQUEST:
            return attrs.evolve(self, bye_requests=self.bye_requests | {"we"})
        if opcode is OpCode.BYE_RESPONSE:  # sent both: this side closes
            return attrs.evolve(self, answered=True, over="we" in self.bye_requests)
        return self


WORDS: Final = {
    Posting.REFUSE: "refused",
    Posting.RETURN: "returned",
    Posting.ABORT: "aborts",
    Posting.DENY: "denied",
}


def is_over(state: State) -> bool:
    return state in {State.FINISHING, State.CLOSED}


def next_received(state: State, history: History, opcode: OpCode, rule: Rule) -> "Situation | None":
    """Check a received message; the situation behind it, or None after a violation."""
    violation = history.may_receive(opcode)
    if violation is not None:
        assert rule is violation, f"{opcode.name} in {state.name} after {history}"
        return None
    assert not isinstance(rule, AmpeError), f"{opcode.name} in {state.name} after {history}"
    behind = history.received(opcode)
    new_state = state if rule is None else rule
    assert is_over(new_state) == behind.over
    return new_state, behind


def next_posted(
    state: State, history: History, opcode: OpCode, rule: PostRule
) -> "Situation | None":
    """Check a posted message; the situation behind it, or None when it is not sent."""
    word = WORDS[rule] if isinstance(rule, Posting) else "sent"
    assert word == history.on_post(opcode), f"{opcode.name} in {state.name} after {history}"
    if isinstance(rule, Posting):
        return None
    behind = history.posted(opcode)
    new_state = state if rule is None else rule
    assert is_over(new_state) == behind.over
    return new_state, behind


type Situation = tuple[State, History]


@accepted_or_not
def test_whatever_happens_the_tables_say_what_the_sentences_say(accepted: bool) -> None:
    found: set[Situation] = {(START[accepted], History(accepted))}
    ahead = deque(found)
    while ahead:
        state, history = ahead.popleft()
        for opcode in OpCode:
            behind = [next_received(state, history, opcode, receive_rules(state, accepted)[opcode])]
            if opcode is not OpCode.WELCOME_RESPONSE:
                rule = post_rules(state, accepted)[opcode]
                behind.append(next_posted(state, history, opcode, rule))
            for situation in behind:
                if situation is not None and situation not in found:
                    found.add(situation)
                    ahead.append(situation)
    assert {state for state, _ in found} == reachable(START[accepted], accepted)
