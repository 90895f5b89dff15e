"""How a channel ends: one table from the cause to everything that follows from it.

A channel ends once. What ended it decides the reason that the application reads in the last
event, whether the connection is reset or closed in good order, and the status with which what was
not sent comes back (PROTOCOL 4 to 6).
"""

from collections.abc import Mapping
from enum import Enum, auto
from typing import Final

import attrs

from pytofu.values.status import AmpeError, AmpeStatus


@attrs.frozen
class Ending:
    """What follows from a channel's end."""

    reason: AmpeStatus
    """For the application, in the last event."""
    reset: bool = False
    """Whether the connection is reset, so that the peer sees that this is no orderly end."""
    unsent: AmpeStatus = AmpeStatus.CHANNEL_CLOSED
    """The status of messages that come back."""
    by_limit: bool = False
    """Whether a limit was reached: `detail` is the name of its option."""
    detail: str = ""
    """The system's own text, or the option whose limit was reached."""
    answers_hello: bool = False
    """Whether the HelloRequest comes back as its own response: its address leads nowhere."""
    unanswered: bool = False
    """Whether what was written counts as not sent: there was nobody who has taken it."""


class Cause(Enum):
    """What ends a channel, where the cause alone says everything."""

    ABORTED = auto()
    """The application posted a ByeSignal, or its block was left by an exception."""
    DENIED = auto()
    """The application posted a HelloRequest on a channel that had one."""
    AGREED = auto()
    """A ByeResponse came, or everything is sent: up to our ByeResponse, or until we leave."""
    PEER_LEFT = auto()
    """The peer sent a ByeSignal, or closed the connection in good order."""
    HELLO_LATE = auto()
    """The HelloRequest of an accepted connection was not whole in time."""
    HELLO_UNANSWERED = auto()
    """The peer did not answer our HelloRequest in time."""
    NOT_CONNECTED_IN_TIME = auto()
    """The connection was not made in time."""
    FRAME_LATE = auto()
    """The peer began a message and did not finish it in time."""
    NOTHING_TAKEN = auto()
    """The peer took nothing of what is queued for it, for too long."""
    BYE_UNANSWERED = auto()
    """The peer did not answer our ByeRequest in time."""
    NOT_CLOSED_IN_TIME = auto()
    """We are done, or leaving, and the peer did not take the rest and close in time."""
    NOT_WANTED = auto()
    """The application does not want this peer, of which it was asked after the handshake."""
    HELLO_TOO_LARGE = auto()
    """The HelloRequest of an accepted connection is larger than allowed."""
    TOO_MUCH_UNFINISHED = auto()
    """Messages that have begun to arrive take up too much memory, this one for longest."""
    TOO_MUCH_QUEUED = auto()
    """What is queued takes up too much memory, on this channel most."""
    DEFECT = auto()
    """An exception that only a defect in pytofu can cause."""


ENDINGS: Final[Mapping[Cause, Ending]] = {
    Cause.ABORTED: Ending(AmpeStatus.CHANNEL_CLOSED, reset=True),
    Cause.DENIED: Ending(AmpeStatus.INVALID_CHANNEL_NUMBER, reset=True),
    Cause.AGREED: Ending(AmpeStatus.SUCCESS),
    Cause.PEER_LEFT: Ending(AmpeStatus.PEER_DISCONNECTED),
    Cause.HELLO_LATE: Ending(
        AmpeStatus.NOT_ALLOWED, reset=True, by_limit=True, detail="hello_timeout"
    ),
    Cause.NOT_WANTED: Ending(
        AmpeStatus.NOT_ALLOWED, reset=True, by_limit=True, detail="accept_filter"
    ),
    Cause.HELLO_TOO_LARGE: Ending(
        AmpeStatus.NOT_ALLOWED, reset=True, by_limit=True, detail="max_hello_bytes"
    ),
    Cause.HELLO_UNANSWERED: Ending(
        AmpeStatus.CONNECT_FAILED,
        reset=True,
        unsent=AmpeStatus.CONNECT_FAILED,
        by_limit=True,
        detail="hello_timeout",
        unanswered=True,
    ),
    Cause.NOT_CONNECTED_IN_TIME: Ending(
        AmpeStatus.CONNECT_FAILED,
        reset=True,
        unsent=AmpeStatus.CONNECT_FAILED,
        by_limit=True,
        detail="connect_timeout",
    ),
    Cause.FRAME_LATE: Ending(
        AmpeStatus.RECV_FAILED, reset=True, by_limit=True, detail="frame_timeout"
    ),
    Cause.TOO_MUCH_UNFINISHED: Ending(
        AmpeStatus.RECV_FAILED, reset=True, by_limit=True, detail="max_received_bytes"
    ),
    Cause.NOTHING_TAKEN: Ending(
        AmpeStatus.SEND_FAILED,
        reset=True,
        unsent=AmpeStatus.COMMUNICATION_FAILED,
        by_limit=True,
        detail="send_timeout",
    ),
    Cause.TOO_MUCH_QUEUED: Ending(
        AmpeStatus.SEND_FAILED,
        reset=True,
        unsent=AmpeStatus.COMMUNICATION_FAILED,
        by_limit=True,
        detail="max_total_queued_bytes",
    ),
    Cause.BYE_UNANSWERED: Ending(
        AmpeStatus.CHANNEL_CLOSED, reset=True, by_limit=True, detail="bye_timeout"
    ),
    Cause.NOT_CLOSED_IN_TIME: Ending(
        AmpeStatus.CHANNEL_CLOSED, by_limit=True, detail="close_timeout"
    ),
    Cause.DEFECT: Ending(AmpeStatus.PROCESSING_FAILED, reset=True),
}
"""Every cause, and what follows from it."""


def violated(error: AmpeError, detail: str = "") -> Ending:
    """The peer did what it may not do (PROTOCOL 5)."""
    return Ending(error.to_status(), reset=True, detail=detail)


def not_connected(error: AmpeError, detail: str, *, answers_hello: bool) -> Ending:
    """There is no connection: the HelloRequest comes back, and what was posted behind it."""
    status = error.to_status()
    return Ending(status, unsent=status, detail=detail, answers_hello=answers_hello)


def broken(error: AmpeError, detail: str) -> Ending:
    """The connection broke; with CONNECT_FAILED, before anybody took anything (TLS)."""
    status = error.to_status()
    unanswered = error is AmpeError.CONNECT_FAILED
    return Ending(status, reset=True, unsent=status, detail=detail, unanswered=unanswered)
