"""Conversations as tuples: cheap to copy, to compare and to look up, for `world`."""

from collections import deque
from collections.abc import Iterator
from operator import attrgetter
from typing import Any, Final

from pytofu.protocol.conversation import Conversation
from pytofu.protocol.framing import FrameReader, FrameWriter
from pytofu.protocol.lifecycle import post_rules, receive_rules

_DERIVED: Final = ("_receive_rules", "post_rules")
_SLOTS: Final = (
    tuple(s for s in Conversation.__slots__ if s not in {"reader", "writer", *_DERIVED}),
    FrameReader.__slots__,
    FrameWriter.__slots__,
)
_VALUES_OF: Final = tuple(attrgetter(*slots) for slots in _SLOTS)

type Frozen = tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]


def _hashable(value: Any) -> Any:
    return (type(value), *value) if isinstance(value, list | deque) else value


def _usable(values: tuple[Any, ...]) -> Iterator[Any]:
    for value in values:
        if type(value) is tuple and value[0] in {list, deque}:
            yield value[0](value[1:])
        else:
            yield value


def freeze(conversation: Conversation) -> Frozen:
    """Everything that makes up a conversation."""
    state, accepted = conversation.state, conversation._accepted
    assert conversation._receive_rules is receive_rules(state, accepted)
    assert conversation.post_rules is post_rules(state, accepted)
    reader, writer = conversation.reader, conversation.writer
    reader.read_len = 0  # a sum of all that ever was
    _put_together(writer)
    conversation_of, reader_of, writer_of = _VALUES_OF
    return (
        tuple(map(_hashable, conversation_of(conversation))),
        tuple(map(_hashable, reader_of(reader))),
        tuple(map(_hashable, writer_of(writer))),
    )


def _put_together(writer: FrameWriter) -> None:
    """Hold the same messages in the one way in which none is behind another for nothing."""
    assert writer._begin == writer._offset
    if writer._keep:
        writer._kept = [b"".join([*writer._kept, writer._block[: writer._offset]])]
    count = writer._block_count if writer._block else 0
    writer._block = writer._block[writer._offset :] + b"".join(writer._open)
    writer._block_count = count + writer._count
    writer._offset = writer._begin = writer._count = writer._open_len = 0
    writer._open = []
    assert writer._sealed is None


def thaw(frozen: Frozen) -> Conversation:
    """A conversation made up of that."""
    conversation = Conversation.__new__(Conversation)
    conversation.reader = FrameReader.__new__(FrameReader)
    conversation.writer = FrameWriter.__new__(FrameWriter)
    things = (conversation, conversation.reader, conversation.writer)
    for thing, slots, values in zip(things, _SLOTS, frozen, strict=True):
        for slot, value in zip(slots, _usable(values), strict=True):
            setattr(thing, slot, value)
    conversation._receive_rules = receive_rules(conversation.state, conversation._accepted)
    conversation.post_rules = post_rules(conversation.state, conversation._accepted)
    return conversation
