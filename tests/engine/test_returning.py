"""What a closed channel gives back, in pieces."""

from types import SimpleNamespace
from typing import Any, Final

import pytest

from pytofu.engine.accounts import UNCOUNTED
from pytofu.engine.queues import SendQueues
from pytofu.engine.returning import Returning
from pytofu.values.message import Message

NOBODY: Final[Any] = SimpleNamespace(group=SimpleNamespace(queues=SendQueues(1, 1)))
"""A channel of which nothing is asked here."""


def of(*sizes: int) -> list[Message]:
    return [Message(None, b"", bytes(size)) for size in sizes]


def pieces(messages: list[Message]) -> list[int]:
    """How many messages each piece has; all are there, in order."""
    made: list[Message] = []

    def make_one_by_one() -> Message | None:
        if len(made) == len(messages):
            return None
        made.append(messages[len(made)])
        return made[-1]

    returning = Returning(NOBODY, [], iter(make_one_by_one, None), 0)
    assert not returning.begun
    counts: list[int] = []
    while not returning.done:
        piece = returning.piece()
        assert returning.begun
        assert all(message._account is UNCOUNTED for message in piece)
        assert piece == messages[sum(counts) : sum(counts) + len(piece)]
        counts.append(len(piece))
        assert len(made) - sum(counts) == (not returning.done)  # no more than the next was made
    assert sum(counts) == len(messages)
    return counts


@pytest.mark.parametrize("count", [1, 127, 128])
def test_a_few_small_ones_are_one_piece(count: int) -> None:
    assert pieces(of(*[1] * count)) == [count]


def test_many_small_ones_come_in_pieces_by_number() -> None:
    assert pieces(of(*[1] * 300)) == [128, 128, 44]
    assert pieces(of(*[1] * 256)) == [128, 128]


def test_large_ones_come_in_pieces_by_bytes() -> None:
    assert pieces(of(*[60_000] * 12)) == [5, 5, 2]
    assert pieces(of(*[60_000] * 10)) == [5, 5]
