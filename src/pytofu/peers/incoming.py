"""What arrives for a program, and what a handler answers: plain values, whoever sent them how."""

from collections.abc import Mapping
from typing import Final

import attrs

from pytofu.peers.streams import Stream

NO_HEADERS: Final[Mapping[str, str]] = {}


@attrs.define
class Incoming:
    """A request, an answer, a signal or a published message, whole, in however many parts it came.

    Nobody has to give it back.
    """

    body: bytes
    """Bytes of any length, up to 64 MiB."""
    headers: Mapping[str, str] = NO_HEADERS
    """The text headers that the program at the other end has set."""
    method: str = ""
    """Of a request: which method is called; empty if the peer named none."""
    stream: Stream | None = None
    """Of a request that opens a stream: the stream."""
    topic: str = ""
    """Of a published message: its topic."""
    missed: int = 0
    """How many messages have been dropped in front of this one because the reader was slow."""


@attrs.define
class Reply:
    """What a handler returns when it has more to say than bytes."""

    body: bytes = b""
    """Bytes of any length, up to 64 MiB."""
    headers: Mapping[str, str] = NO_HEADERS
    """Text headers for the caller."""
