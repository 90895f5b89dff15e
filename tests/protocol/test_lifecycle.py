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
    expected = reference.post_rule(state, opcode)
    assert post_rules(state)[opcode] is expected
    new_state = POSTED[state].get(opcode)
    match expected:
        case Posting():
            assert new_state is None
        case None:
            assert new_state is state
        case _:
            assert new_state is expected


def test_the_tables_have_a_row_for_each_state_and_no_cell_for_what_never_travels() -> None:
    assert set(RECEIVED) == set(POSTED) == set(State)
    for row in RECEIVED.values():
        assert set(row) <= set(WIRE_OPCODES)
    for row in POSTED.values():
        same_everywhere = {OpCode.HELLO_REQUEST, OpCode.BYE_SIGNAL, OpCode.WELCOME_REQUEST}
        assert set(row) <= set(POST_OPCODES) - same_everywhere


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
def test_there_is_a_rule_for_each_opcode_posted(state: State) -> None:
    assert len(post_rules(state)) == len(OpCode)


def test_rules_are_laid_out_once() -> None:
    assert receive_rules(State.OPEN, True) is receive_rules(State.OPEN, True)
    assert post_rules(State.OPEN) is post_rules(State.OPEN)


# ---------------------------------------------------------------------- as a machine


def successors(state: State, accepted: bool) -> Iterator[State]:
    for rule in (*receive_rules(state, accepted), *post_rules(state)):
        if isinstance(rule, State):
            yield rule
        elif rule is Posting.ABORT:
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
    greeting = {State.HELLO_AWAITED, State.HELLO_SENT, State.HELLO_THEN_BYE}
    assert reachable(State.HELLO_AWAITED, True) == set(State) - greeting | {State.HELLO_AWAITED}
    assert reachable(State.HELLO_SENT, False) == set(State) - {State.HELLO_AWAITED}


@every_state
@accepted_or_not
def test_the_end_can_be_reached_from_every_state(state: State, accepted: bool) -> None:
    assert State.CLOSED in reachable(state, accepted)


@pytest.mark.parametrize("over", [State.FINISHING, State.CLOSED], ids=lambda state: state.name)
@accepted_or_not
def test_nothing_leads_out_of_the_end(over: State, accepted: bool) -> None:
    assert not any(isinstance(rule, State) for rule in receive_rules(over, accepted))
    assert not any(isinstance(rule, State) or rule is None for rule in post_rules(over))


# ---------------------------------------------------------------------- as sentences


@attrs.frozen
class History:
    """What has happened on a channel, in the words of PROTOCOL 3 to 5 and without states."""

    accepted: bool
    greeted: bool = False
    """The peer's first message has come, and it was one that may come first."""
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
            first = {OpCode.HELLO_RESPONSE, OpCode.BYE_RESPONSE, OpCode.BYE_SIGNAL}
        if not self.greeted:
            return None if opcode in first else AmpeError.NOT_ALLOWED
        if opcode is OpCode.HELLO_REQUEST:
            return AmpeError.NOT_ALLOWED
        if self.accepted and opcode is OpCode.HELLO_RESPONSE:
            return AmpeError.NOT_ALLOWED
        return None

    def received(self, opcode: OpCode) -> "History":
        """The history behind a message that may be received."""
        if opcode in {OpCode.BYE_RESPONSE, OpCode.BYE_SIGNAL}:
            return attrs.evolve(self, over=True)
        if opcode is OpCode.BYE_REQUEST:
            return attrs.evolve(self, bye_requests=self.bye_requests | {"they"})
        return attrs.evolve(self, greeted=True)

    def is_sent(self, opcode: OpCode) -> bool:
        """PROTOCOL 4: whether a post goes to the peer (else it comes back, or is refused)."""
        if opcode in {OpCode.HELLO_REQUEST, OpCode.BYE_SIGNAL, OpCode.WELCOME_REQUEST}:
            return False
        if self.over or self.answered or (self.accepted and not self.greeted):
            return False
        if opcode is OpCode.BYE_RESPONSE and not self.greeted:  # there is nothing to answer yet
            return False
        if "we" in self.bye_requests:  # nothing follows a ByeRequest but the answer to a crossing
            return opcode is OpCode.BYE_RESPONSE and "they" in self.bye_requests
        return True

    def posted(self, opcode: OpCode) -> "History":
        """The history behind a post that is sent."""
        if opcode is OpCode.BYE_REQUEST:
            return attrs.evolve(self, bye_requests=self.bye_requests | {"we"})
        if opcode is OpCode.BYE_RESPONSE:  # sent both: this side closes
            return attrs.evolve(self, answered=True, over="we" in self.bye_requests)
        return self


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
    sent = rule is None or isinstance(rule, State)
    assert sent == history.is_sent(opcode), f"{opcode.name} in {state.name} after {history}"
    if not isinstance(rule, State):
        return None
    behind = history.posted(opcode)
    assert is_over(rule) == behind.over
    return rule, behind


type Situation = tuple[State, History]


@accepted_or_not
def test_whatever_happens_the_tables_say_what_the_sentences_say(accepted: bool) -> None:
    start = State.HELLO_AWAITED if accepted else State.HELLO_SENT
    found: set[Situation] = {(start, History(accepted))}
    ahead = deque(found)
    while ahead:
        state, history = ahead.popleft()
        for opcode in OpCode:
            behind = [next_received(state, history, opcode, receive_rules(state, accepted)[opcode])]
            if opcode is not OpCode.WELCOME_RESPONSE:
                behind.append(next_posted(state, history, opcode, post_rules(state)[opcode]))
            for situation in behind:
                if situation is not None and situation not in found:
                    found.add(situation)
                    ahead.append(situation)
    assert len(found) > 5
