"""How the contenders that carry bytes, not messages, cut them: length and id, then the body."""

import struct
from collections.abc import Iterator
from typing import Final

HEADER: Final = struct.Struct(">IQ")
"""Length of the body, id of the message."""

ASK: Final = 0
"""The id of the message that asks for the count; ids of messages begin at 1."""


def frame(message_id: int, body: bytes) -> bytes:
    """A message as bytes."""
    return HEADER.pack(len(body), message_id) + body


class Cutter:
    """Cuts a stream into messages; what is not yet whole is kept."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept = bytearray()

    def feed(self, data: bytes | bytearray) -> Iterator[tuple[int, bytes]]:
        """The ids and bodies of the messages that are whole now."""
        kept = self._kept
        kept += data
        pos, end = 0, len(kept)
        while end - pos >= HEADER.size:
            length, message_id = HEADER.unpack_from(kept, pos)
            stop = pos + HEADER.size + length
            if stop > end:
                break
            yield message_id, bytes(kept[pos + HEADER.size : stop])
            pos = stop
        del kept[:pos]


ID: Final = struct.Struct(">Q")


def pack(message_id: int, body: bytes) -> bytes:
    """A message for contenders that keep messages apart themselves: the id, then the body."""
    return ID.pack(message_id) + body


def unpack(data: bytes) -> tuple[int, bytes]:
    """The reverse of `pack`."""
    return ID.unpack_from(data)[0], data[ID.size :]
