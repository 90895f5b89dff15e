"""That the search can fail: tables that are wrong in one cell, and what it finds wrong with them.

A table that is only stricter than the real one (what could be sent is refused) is not found: the
search looks for what must not happen, and `test_lifecycle` for what must.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Final

import pytest

from pytofu.protocol.lifecycle import POSTED, RECEIVED, Posting, State, post_rules, receive_rules
from pytofu.values.header import OpCode
from tests.protocol import reference
from tests.protocol.search import AT_REST, FROM_A_CORRECT_PEER, check_ways_out, explored, quiet
from tests.protocol.side import Wrong

CONNECTING: Final = {State.HELLO_SENT, State.HELLO_THEN_BYE_SENT}
"""States in which HelloResponse is refused because of the side."""

NOT_SENT: Final = [
    (state, opcode)
    for state in State
    for opcode in (
        *(OpCode.REQUEST, OpCode.HELLO_RESPONSE, OpCode.BYE_REQUEST, OpCode.BYE_RESPONSE),
    )
    if state is not State.CLOSED
    and not (opcode is OpCode.HELLO_RESPONSE and state in CONNECTING)
    and reference.post_rule(state, True, opcode) in {Posting.REFUSE, Posting.RETURN}
]
"""What is refused or comes back, and on which side it makes a difference."""


@pytest.fixture
def change(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Changes a cell of a table (without a state: takes it out), until the end of the test."""

    def forget_rules() -> None:
        post_rules.cache_clear()
        receive_rules.cache_clear()

    def change(
        table: Mapping[State, Mapping[OpCode, object]],
        state: State,
        opcode: OpCode,
        cell: State | None = None,
    ) -> None:
        row = table[state]
        assert isinstance(row, dict)
        if cell is None:
            monkeypatch.delitem(row, opcode)
        else:
            monkeypatch.setitem(row, opcode, cell)
        forget_rules()

    yield change
    monkeypatch.undo()
    forget_rules()


def search_finds() -> str:
    """What is wrong with the tables as they are now; nothing with the real ones."""
    try:
        search = explored(wire_len=1, eager=True, scarce=False)
        check_ways_out(search)
    except Wrong as wrong:
        return str(wrong).partition(":\n")[0]
    resting = set(quiet(search))
    return "" if resting == AT_REST else f"{resting - AT_REST} is at rest"


def name_of(value: object) -> str:
    return value.name if isinstance(value, State | OpCode) else str(value)


class TestTheSearchItself:
    def test_finds_nothing_wrong_with_the_real_tables(self) -> None:
        assert search_finds() == ""

    @pytest.mark.parametrize(
        ("state", "opcode"),
        [(state, OpCode[n]) for state, names in FROM_A_CORRECT_PEER.items() for n in names.split()],
        ids=name_of,
    )
    def test_finds_that_a_correct_peer_is_punished(
        self, change: Callable[..., None], state: State, opcode: OpCode
    ) -> None:
        change(RECEIVED, state, opcode)
        assert search_finds().endswith("is a violation")

    @pytest.mark.parametrize(("state", "opcode"), NOT_SENT, ids=name_of)
    def test_finds_that_something_is_sent_which_must_not_be(
        self, change: Callable[..., None], state: State, opcode: OpCode
    ) -> None:
        change(POSTED, state, opcode, state)
        assert search_finds()

    @pytest.mark.parametrize(
        ("table", "state", "opcode", "cell", "found"),
        [
            # A Bye that is not noticed, or noticed where there is none.
            ("received", "BYE_SENT", "BYE_REQUEST", "BYE_SENT", "no way out by messages"),
            ("received", "BYE_SENT", "BYE_RESPONSE", "BYE_SENT", "no way out by messages"),
            ("received", "OPEN", "BYE_RESPONSE", "OPEN", "no way out by messages"),
            ("received", "OPEN", "BYE_REQUEST", "BYE_SENT", "no way out by messages"),
            ("received", "OPEN", "BYE_REQUEST", "CLOSED", "without agreement"),
            ("received", "OPEN", "REQUEST", "BYE_SENT", "no way out by messages"),
            ("posted", "OPEN", "BYE_REQUEST", "OPEN", "dropped"),
            ("posted", "OPEN", "BYE_RESPONSE", "OPEN", "without agreement"),
            ("posted", "BYE_CROSSED", "BYE_RESPONSE", "BYE_CROSSED", "without agreement"),
            ("posted", "BYE_CROSSED", "BYE_RESPONSE", None, "no way out by messages"),
            # A Hello that is not noticed, or answered too early.
            ("received", "HELLO_AWAITED", "HELLO_REQUEST", "HELLO_AWAITED", "violation"),
            ("received", "HELLO_SENT", "HELLO_RESPONSE", "HELLO_SENT", "comes back"),
            ("received", "HELLO_SENT", "BYE_RESPONSE", "OPEN", "no way out by messages"),
            ("received", "HELLO_THEN_BYE_SENT", "HELLO_RESPONSE", "OPEN", "dropped"),
            ("posted", "HELLO_RECEIVED", "HELLO_RESPONSE", "HELLO_RECEIVED", "at rest"),
            ("posted", "HELLO_SENT", "BYE_REQUEST", "HELLO_SENT", "dropped"),
            # One side closes, and the other does not know.
            ("received", "OPEN", "REQUEST", "CLOSED", "without agreement"),
            ("received", "BYE_SENT", "REQUEST", "FINISHING", "dropped"),
            ("posted", "BYE_ANSWERED", "REQUEST", "BYE_ANSWERED", "closed in good order"),
        ],
    )
    def test_finds_a_wrong_state(
        self,
        change: Callable[..., None],
        table: str,
        state: str,
        opcode: str,
        cell: str | None,
        found: str,
    ) -> None:
        tables = {"received": RECEIVED, "posted": POSTED}
        new = None if cell is None else State[cell]
        change(tables[table], State[state], OpCode[opcode], new)
        assert found in search_finds()
